//! The tile unit (AMX) of recent Xeons: detection and the two block products that are needed of it.
//!
//! The unit has eight tile registers of 16 rows x 64 bytes. `tdpbf16ps` multiplies a 16 x 32 tile of bf16 by
//! a 32 x 16 one and adds the product to a 16 x 16 tile of f32, at sixteen times the rate of f32 vectors;
//! `tdpbssd` does so with 64 values of int8 for 32 of bf16 and sums of i32, in the same time. The
//! instructions have no stable intrinsics, hence the inline assembly. Linux grants the unit's registers to a
//! process on request only.

use super::gemm_bf16::{BLOCK, Line};
use std::arch::asm;
use std::sync::OnceLock;

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

    /// Adds the product of two packed 32-wide blocks over `steps` steps of 32 to what the tiles start from,
    /// and stores it.
    ///
    /// `start` and `c` come with the number of values between rows. For `start`, 0 repeats one row of bias,
    /// and the stride of `c` continues an earlier product.
    ///
    /// # Safety
    /// `a` and `b` hold `steps * BLOCK` lines. Rows of 32 f32 are readable at `start` and writable at `c`, 32
    /// of them, at their strides. `steps` is not 0.
    #[inline]
    pub(super) unsafe fn multiply_block(
        &self,
        a: *const Line,
        b: *const Line,
        steps: usize,
        (start, start_stride): (*const f32, usize),
        (c, c_stride): (*mut f32, usize),
    ) {
        let (start_stride, c_stride) = (start_stride * size_of::<f32>(), c_stride * size_of::<f32>());
        // SAFETY: the tiles are configured (self), every address is within what the caller vouches for, and
        // the compiler itself never keeps anything in tile registers.
        unsafe {
            asm!(
                "tileloadd tmm0, [{start} + {start_stride}]",
                "tileloadd tmm1, [{start} + {start_stride} + 64]",
                "tileloadd tmm2, [{start_low} + {start_stride}]",
                "tileloadd tmm3, [{start_low} + {start_stride} + 64]",
                "2:",
                "tileloadd tmm6, [{b} + {line}]",
                "tileloadd tmm4, [{a} + {line}]",
                "tileloadd tmm7, [{b} + {line} + 1024]",
                "tileloadd tmm5, [{a} + {line} + 1024]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {a}, 2048",
                "add {b}, 2048",
                "dec {steps}",
                "jnz 2b",
                "tilestored [{c} + {c_stride}], tmm0",
                "tilestored [{c} + {c_stride} + 64], tmm1",
                "tilestored [{c_low} + {c_stride}], tmm2",
                "tilestored [{c_low} + {c_stride} + 64], tmm3",
                a = inout(reg) a => _,
                b = inout(reg) b => _,
                steps = inout(reg) steps => _,
                line = in(reg) size_of::<Line>(),
                start = in(reg) start,
                start_low = in(reg) start.wrapping_byte_add(start_stride * (BLOCK / 2)),
                start_stride = in(reg) start_stride,
                c = in(reg) c,
                c_low = in(reg) c.wrapping_byte_add(c_stride * (BLOCK / 2)),
                c_stride = in(reg) c_stride,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
    }

    /// Multiplies two tiles of rows of `x` with two panels of weights, over `steps` steps of 64 inputs, and
    /// writes the products: those of the first rows with both panels, and those of the second.
    ///
    /// `x` comes with the number of values between rows.
    ///
    /// # Safety
    /// The processor has tiles of int8. Each of `x` has 16 rows of `64 * steps` values, and each of `panels`
    /// `16 * steps` lines of 64 bytes. `steps` is not 0.
    #[inline]
    pub(super) unsafe fn multiply_int8(
        &self,
        (x, stride): ([*const i8; 2], usize),
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
                "tileloadd tmm4, [{a} + {stride}]",
                "tileloadd tmm7, [{b_next} + {line}]",
                "tileloadd tmm5, [{a_low} + {stride}]",
                "tdpbssd tmm0, tmm4, tmm6",
                "tdpbssd tmm1, tmm4, tmm7",
                "tdpbssd tmm2, tmm5, tmm6",
                "tdpbssd tmm3, tmm5, tmm7",
                "add {a}, 64",
                "add {a_low}, 64",
                "add {b}, 1024",
                "add {b_next}, 1024",
                "dec {steps}",
                "jnz 2b",
                "tilestored [{products} + {line}], tmm0",
                "tilestored [{products} + {line} + 1024], tmm1",
                "tilestored [{products} + {line} + 2048], tmm2",
                "tilestored [{products} + {line} + 3072], tmm3",
                a = inout(reg) x[0] => _,
                a_low = inout(reg) x[1] => _,
                b = inout(reg) panels[0] => _,
                b_next = inout(reg) panels[1] => _,
                steps = inout(reg) steps => _,
                line = in(reg) 64_usize,
                stride = in(reg) stride,
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
