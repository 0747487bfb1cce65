//! The tile unit (AMX) of recent Xeons: detection and the two block products that are needed of it.
//!
//! The unit has eight tile registers of 16 rows x 64 bytes. `tdpbf16ps` multiplies a 16 x 32 tile of bf16 by
//! a 32 x 16 one and adds the product to a 16 x 16 tile of f32, at sixteen times the rate of f32 vectors;
//! `tdpbssd` does so with 64 values of int8 for 32 of bf16 and sums of i32, in the same time. The
//! instructions have no stable intrinsics, hence the inline assembly. Linux grants the unit's registers to a
//! process on request only.

use super::line::{BLOCK, Line};
use std::arch::asm;
use std::sync::OnceLock;

/// Lines of the weights ahead that a step fetches.
pub(super) const LINES_AHEAD: usize = 2;
/// Rows of a tile.
pub(super) const TILE_ROWS: usize = 16;

/// What the processor says of its tiles, in leaf 7 of `cpuid`.
const AMX_BF16: u32 = 1 << 22;
const AMX_TILE: u32 = 1 << 24;
const AMX_INT8: u32 = 1 << 25;

/// Whether this process may use tiles of bf16. The first call asks the kernel for permission.
pub(super) fn has_bf16() -> bool {
    features() & AMX_BF16 != 0
}

/// Whether this process may use tiles of int8, as [`has_bf16`].
pub(super) fn has_int8() -> bool {
    features() & AMX_INT8 != 0
}

/// What tiles may be used for; nothing without permission.
fn features() -> u32 {
    static FEATURES: OnceLock<u32> = OnceLock::new();
    *FEATURES.get_or_init(|| {
        let highest_leaf = std::arch::x86_64::__cpuid(0).eax;
        if highest_leaf < 7 {
            return 0;
        }
        let features = std::arch::x86_64::__cpuid_count(7, 0).edx;
        if features & AMX_TILE != 0 && request_permission() { features } else { 0 }
    })
}

#[cfg(target_os = "linux")]
fn request_permission() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_ulong = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_ulong = 18;
    // SAFETY: this request takes two integers and touches no memory of ours; kernels that do not know it
    // answer with an error.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn request_permission() -> bool {
    false
}

/// The layout `ldtilecfg` reads: all eight tiles as 16 rows of 64 bytes.
#[repr(C, align(64))]
struct TileConfig {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// What the steps of two blocks of f32 are cut into: values of bf16 that add up to them, the largest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parts {
    /// Both are bf16.
    One,
    /// Those of the first block into three, which is exact.
    Activations,
    /// Those of both into three: six of the nine products, without those below the precision of f32.
    Both,
}

impl Parts {
    /// Of a step of the first block and of the second.
    pub(super) fn count(self) -> [usize; 2] {
        match self {
            Self::One => [1, 1],
            Self::Activations => [3, 1],
            Self::Both => [3, 3],
        }
    }
}

/// Loads two tiles of a step, so many bytes behind its start.
macro_rules! load {
    (a, $at:literal) => {
        concat!(
            "tileloaddt1 tmm4, [{a} + {line} + ",
            $at,
            "]\n",
            "tileloaddt1 tmm5, [{a} + {line} + 1024 + ",
            $at,
            "]",
        )
    };
    (b, $at:literal) => {
        concat!(
            "tileloadd tmm6, [{b} + {line} + ",
            $at,
            "]\n",
            "tileloadd tmm7, [{b} + {line} + 1024 + ",
            $at,
            "]",
        )
    };
}

/// Adds the products of the tiles that were loaded last, and meanwhile fetches so many lines of the next sums: all 64
/// of them in a pass.
macro_rules! add {
    (2) => {
        "tdpbf16ps tmm0, tmm4, tmm6
         tdpbf16ps tmm1, tmm4, tmm7
         prefetcht0 [{next}]
         prefetcht0 [{next} + 64]
         add {next}, 128
         tdpbf16ps tmm2, tmm5, tmm6
         tdpbf16ps tmm3, tmm5, tmm7"
    };
    (4) => {
        "tdpbf16ps tmm0, tmm4, tmm6
         prefetcht0 [{next}]
         prefetcht0 [{next} + 64]
         tdpbf16ps tmm1, tmm4, tmm7
         tdpbf16ps tmm2, tmm5, tmm6
         prefetcht0 [{next} + 128]
         prefetcht0 [{next} + 192]
         add {next}, 256
         tdpbf16ps tmm3, tmm5, tmm7"
    };
}

/// Goes through all steps, which have so many bytes, and fetches two lines of the weights ahead in each.
macro_rules! multiply_steps {
    (($a:ident, $a_bytes:literal), ($b:ident, $b_bytes:literal), $steps:ident, $next:ident, $ahead:ident, $($step:tt)+) => {
        asm!(
            "2:",
            $($step)+,
            "prefetcht1 [{ahead}]",
            "prefetcht1 [{ahead} + 64]",
            "add {ahead}, 128",
            concat!("add {a}, ", $a_bytes),
            concat!("add {b}, ", $b_bytes),
            "dec {steps}",
            "jnz 2b",
            a = inout(reg) $a => _,
            b = inout(reg) $b => _,
            steps = inout(reg) $steps => _,
            next = inout(reg) $next => _,
            ahead = inout(reg) $ahead => _,
            line = in(reg) size_of::<Line>(),
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        )
    };
}

/// The calling thread's tiles, configured as long as this lives.
///
/// Released on drop, so that the registers need not be saved at every later context switch.
pub(super) struct Tiles(std::marker::PhantomData<*const ()>);

impl Tiles {
    /// Configures the tiles of this thread.
    ///
    /// # Safety
    /// [`has_bf16`] or [`has_int8`] has returned true.
    pub(super) unsafe fn configure() -> Self {
        let mut config =
            TileConfig { palette: 1, start_row: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
        config.row_bytes[..8].fill(64);
        config.rows[..8].fill(TILE_ROWS as u8);
        // SAFETY: the processor has the instruction (caller), and the 64 bytes read are a valid
        // configuration.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &config, options(nostack, preserves_flags)) };
        Self(std::marker::PhantomData)
    }

    /// Writes the product of two packed 32-wide blocks over `steps` steps of 32 to `c`, or adds it to what is
    /// there. `c` comes with the number of values between rows. Steps of either may be cut into
    /// [parts](Parts), one behind the other, whose products are summed.
    ///
    /// `a` is read as data that is not needed again, so that it does not push `b` out of the first-level cache. What
    /// comes next is fetched meanwhile: sums that lie behind `c`, and a share of the lines from `ahead` on.
    ///
    /// # Safety
    /// `a` and `b` hold as many steps of as many parts of [`BLOCK`] lines. 32 rows of 32 f32 are readable and
    /// writable at `c`, at its stride. `steps` is not 0.
    #[inline]
    pub(super) unsafe fn multiply_block(
        &self,
        parts: Parts,
        (a, b, ahead): (*const Line, *const Line, *const Line),
        steps: usize,
        add: bool,
        (c, stride): (*mut f32, usize),
    ) {
        let next = c.wrapping_add(BLOCK * BLOCK);
        let stride = stride * size_of::<f32>();
        let c_low = c.wrapping_byte_add(stride * (BLOCK / 2));
        // SAFETY: the tiles are configured (self), every address is within what the caller vouches for, and
        // the compiler itself never keeps anything in tile registers, so that they last from one `asm!` to the next.
        unsafe {
            if add {
                asm!(
                    "tileloadd tmm0, [{c} + {stride}]",
                    "tileloadd tmm1, [{c} + {stride} + 64]",
                    "tileloadd tmm2, [{c_low} + {stride}]",
                    "tileloadd tmm3, [{c_low} + {stride} + 64]",
                    c = in(reg) c,
                    c_low = in(reg) c_low,
                    stride = in(reg) stride,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    options(nostack, preserves_flags),
                );
            } else {
                asm!(
                    "tilezero tmm0",
                    "tilezero tmm1",
                    "tilezero tmm2",
                    "tilezero tmm3",
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    options(nostack, preserves_flags),
                );
            }
            match parts {
                Parts::One => {
                    multiply_steps!(
                        (a, 2048),
                        (b, 2048),
                        steps,
                        next,
                        ahead,
                        load!(a, 0),
                        load!(b, 0),
                        add!(4)
                    );
                }
                Parts::Activations => multiply_steps!(
                    (a, 6144),
                    (b, 2048),
                    steps,
                    next,
                    ahead,
                    load!(b, 0),
                    load!(a, 4096),
                    add!(2),
                    load!(a, 2048),
                    add!(2),
                    load!(a, 0),
                    add!(2)
                ),
                // The products of parts that matter to an f32: the least first.
                Parts::Both => multiply_steps!(
                    (a, 6144),
                    (b, 6144),
                    steps,
                    next,
                    ahead,
                    load!(a, 4096),
                    load!(b, 0),
                    add!(2),
                    load!(a, 2048),
                    add!(2),
                    load!(b, 2048),
                    add!(2),
                    load!(a, 0),
                    add!(2),
                    load!(b, 4096),
                    add!(2),
                    load!(b, 0),
                    add!(2)
                ),
            }
            asm!(
                "tilestored [{c} + {stride}], tmm0",
                "tilestored [{c} + {stride} + 64], tmm1",
                "tilestored [{c_low} + {stride}], tmm2",
                "tilestored [{c_low} + {stride} + 64], tmm3",
                c = in(reg) c,
                c_low = in(reg) c_low,
                stride = in(reg) stride,
                options(nostack, preserves_flags),
            );
        }
    }

    /// Writes the products of a packed block of 32 rows with two panels of 16 outputs over `steps` steps of 64
    /// inputs: those of the first 16 rows with both panels, and those of the others. As in
    /// [`multiply_block`](Self::multiply_block), the rows do not push the panels out of the first-level cache.
    ///
    /// # Safety
    /// The processor has tiles of int8. `rows` has `32 * steps` lines of 64 bytes, and each of `panels`
    /// `16 * steps`. `steps` is not 0.
    #[inline]
    pub(super) unsafe fn multiply_int8(
        &self,
        rows: *const Line,
        panels: [*const i8; 2],
        steps: usize,
        products: &mut [[[i32; TILE_ROWS]; TILE_ROWS]; 4],
    ) {
        // SAFETY: the tiles are configured (self), every address is within what the caller vouches for, and
        // the compiler itself never keeps anything in tile registers.
        unsafe {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "2:",
                "tileloadd tmm6, [{b} + {line}]",
                "tileloaddt1 tmm4, [{a} + {line}]",
                "tileloadd tmm7, [{b_next} + {line}]",
                "tileloaddt1 tmm5, [{a} + {line} + 1024]",
                "tdpbssd tmm0, tmm4, tmm6",
                "tdpbssd tmm1, tmm4, tmm7",
                "tdpbssd tmm2, tmm5, tmm6",
                "tdpbssd tmm3, tmm5, tmm7",
                "add {a}, 2048",
                "add {b}, 1024",
                "add {b_next}, 1024",
                "dec {steps}",
                "jnz 2b",
                "tilestored [{products} + {line}], tmm0",
                "tilestored [{products} + {line} + 1024], tmm1",
                "tilestored [{products} + {line} + 2048], tmm2",
                "tilestored [{products} + {line} + 3072], tmm3",
                a = inout(reg) rows => _,
                b = inout(reg) panels[0] => _,
                b_next = inout(reg) panels[1] => _,
                steps = inout(reg) steps => _,
                line = in(reg) size_of::<Line>(),
                products = in(reg) products.as_mut_ptr(),
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: only a configured thread owns a `Tiles`, and it cannot move to another thread (not `Send`).
        unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) };
    }
}
