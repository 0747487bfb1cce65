//! What a processor multiplies blocks by.

use std::sync::OnceLock;

use super::super::amx::{self, Parts, Tiles};
use super::super::linear::Products;

/// The fastest of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in super::super) struct Units {
    pub(in super::super) bf16: Option<Bf16Unit>,
    pub(in super::super) f32: Option<F32Unit>,
    pub(in super::super) int8: Option<Int8Unit>,
}

impl Units {
    /// Those of this processor, found once.
    pub(in super::super) fn best() -> Self {
        static BEST: OnceLock<Units> = OnceLock::new();
        *BEST.get_or_init(|| Self {
            bf16: Bf16Unit::available().first().copied(),
            f32: F32Unit::available().first().copied(),
            int8: Int8Unit::available().first().copied(),
        })
    }
}

/// What multiplies bf16.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Bf16Unit {
    Tiles,
    Vectors,
}

impl Bf16Unit {
    /// Units of this processor, the fastest first.
    pub(in super::super) fn available() -> Vec<Self> {
        let vectors = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512bf16");
        let mut units = Vec::new();
        if vectors && amx::has_bf16() {
            units.push(Self::Tiles);
        }
        if vectors {
            units.push(Self::Vectors);
        }
        units
    }

    /// What this unit cuts the operands of `products` with bf16 weights into; `None` where vectors of f32 are
    /// faster.
    pub(in super::super) fn parts(self, products: Products) -> Option<Parts> {
        match (products, self) {
            (Products::Rounded, _) => Some(Parts::One),
            (Products::Exact, Self::Tiles) => Some(Parts::Activations),
            (Products::Exact, Self::Vectors) => None,
        }
    }

    /// The tiles of this thread, if this is the tile unit.
    ///
    /// # Safety
    /// It is one of [`available`](Self::available).
    pub(in super::super) unsafe fn tiles(self) -> Option<Tiles> {
        // SAFETY: as the caller says.
        (self == Self::Tiles).then(|| unsafe { Tiles::configure() })
    }
}

/// What multiplies blocks of int8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Int8Unit {
    Tiles,
    /// What [`Tiles`](Self::Tiles) does, on processors without it.
    #[cfg(test)]
    Emulated,
}

impl Int8Unit {
    /// Units of this processor, the fastest first.
    pub(in super::super) fn available() -> Vec<Self> {
        match Bf16Unit::available().contains(&Bf16Unit::Tiles) && amx::has_int8() {
            true => vec![Self::Tiles],
            false => Vec::new(),
        }
    }
}

/// Vectors of f32, by the instructions they take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum F32Unit {
    Avx512,
    Avx2,
    /// What [`Avx512`](Self::Avx512) does, on processors without it.
    #[cfg(test)]
    Emulated,
}

impl F32Unit {
    /// Units of this processor, the fastest first.
    pub(in super::super) fn available() -> Vec<Self> {
        let mut units = Vec::new();
        if is_x86_feature_detected!("avx512f") {
            units.push(Self::Avx512);
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            units.push(Self::Avx2);
        }
        units
    }
}
