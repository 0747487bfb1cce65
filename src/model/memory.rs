//! How much memory a model needs, and whether there is as much.

use super::{Checkpoint, ModelError, WeightPrecision};
use crate::device::DType;

/// Memory that a model's weights take on the CPU.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryNeed {
    /// Bytes of the weights, once they are loaded.
    pub weights_bytes: u64,
    /// Bytes that loading takes on top for a while: copies of the largest tensor.
    pub loading_bytes: u64,
}

impl MemoryNeed {
    /// Bytes that must be there for loading to succeed. What inputs take comes on top.
    pub fn total_bytes(self) -> u64 {
        self.weights_bytes.saturating_add(self.loading_bytes)
    }
}

/// Fails where the weights of `checkpoint` need more than the `available` bytes. What the system does not
/// tell is taken for enough.
pub(super) fn require(
    checkpoint: &Checkpoint,
    precision: WeightPrecision,
    widened: &dyn Fn(&str) -> bool,
    available: Option<u64>,
) -> Result<(), ModelError> {
    let need = |precision| checkpoint.memory(precision, widened).total_bytes();
    let needed = need(precision);
    let Some(available) = available.filter(|available| *available < needed) else { return Ok(()) };
    let others = [DType::Auto, DType::Bf16, DType::F16, DType::Int8].map(|dtype| (dtype, need(dtype.into())));
    Err(ModelError::Memory {
        path: checkpoint.directory().to_owned(),
        reason: shortage(needed, available, &others),
    })
}

/// What to say where `needed` bytes are more than the `available` ones, and what `others` would take.
pub(super) fn shortage(needed: u64, available: u64, others: &[(DType, u64)]) -> String {
    let lack =
        format!("the weights need {} of memory, {} are available", gigabytes(needed), gigabytes(available));
    match others.iter().find(|(_, bytes)| *bytes <= available) {
        Some((dtype, bytes)) => format!("{lack}; with dtype {dtype} they need {}", gigabytes(*bytes)),
        None if others.is_empty() => lack,
        None => format!("{lack}; no precision makes them fit: free memory, or take a smaller model or a GPU"),
    }
}

fn gigabytes(bytes: u64) -> String {
    format!("{:.1} GB", bytes as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn open(model: &str) -> Checkpoint {
        Checkpoint::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join(model)).unwrap()
    }

    #[test]
    fn halves_take_half_and_what_is_stored_is_kept() {
        let nano = open("assets/nano");
        assert_eq!(nano.dtypes(), ["bf16"]);
        let weights = |dtype: DType| nano.memory_as(dtype).weights_bytes;
        let (auto, f32) = (weights(DType::Auto), weights(DType::F32));
        assert_eq!(auto, weights(DType::Bf16));
        assert_eq!(f32, 4 * nano.num_parameters() as u64);
        // Norms and biases are f32 in either.
        assert!(auto > f32 / 2 && auto < f32 / 2 + f32 / 50, "{auto} of {f32}");
        assert!(nano.memory_as(DType::Auto).loading_bytes < nano.memory_as(DType::F32).loading_bytes);
        assert_eq!(nano.memory(WeightPrecision::Stored, &|_| true).weights_bytes, f32);
        let tiny = open("tests/golden/tiny-a/model");
        assert_eq!(tiny.memory_as(DType::Auto), tiny.memory_as(DType::F32));
    }

    #[test]
    fn a_shortage_says_what_would_fit() {
        let nano = open("assets/nano");
        let all = |dtype: DType| nano.memory_as(dtype).total_bytes();
        let f32 = DType::F32.into();
        let require = |available| require(&nano, f32, &|_| false, available).map_err(|e| e.to_string());
        assert_eq!(require(None), Ok(()));
        assert_eq!(require(Some(all(DType::F32))), Ok(()));
        let message = require(Some(all(DType::F32) - 1)).unwrap_err();
        assert!(message.contains("nano") && message.contains("with dtype auto they need"), "{message}");
        assert!(require(Some(all(DType::Bf16) - 1)).unwrap_err().contains("with dtype int8 they need"));
        assert!(require(Some(all(DType::Int8) - 1)).unwrap_err().contains("no precision makes them fit"));
        let others = [(DType::Auto, 14_900_000_000), (DType::Bf16, 7_400_000_000)];
        assert_eq!(
            shortage(14_900_000_000, 8_000_000_000, &others),
            "the weights need 14.9 GB of memory, 8.0 GB are available; with dtype bf16 they need 7.4 GB"
        );
    }
}
