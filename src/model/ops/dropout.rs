use std::sync::Arc;

use candle_core::{Device, Result, Tensor};

use super::cpu::kernel;
use crate::model::kernels::{self, DropoutMask, mix64};

/// Dropout over the rows of a pass. A row's mask is a function of its key, so every pass over the same tokens
/// drops the same values however the batch is cut.
#[derive(Debug, Clone)]
pub(crate) struct Dropout {
    probability: f32,
    row_keys: Arc<Vec<u64>>,
}

impl Dropout {
    /// Dropout for packed sequences of `lengths`, each known by a number of its own.
    pub(crate) fn new(
        probability: f32,
        seed: u64,
        sequences: impl IntoIterator<Item = (u64, usize)>,
    ) -> Self {
        let row_keys = sequences
            .into_iter()
            .flat_map(|(number, length)| {
                let sequence = mix64(seed ^ mix64(number));
                (0..length as u64).map(move |row| mix64(sequence.wrapping_add(row)))
            })
            .collect();
        Self { probability, row_keys: Arc::new(row_keys) }
    }

    /// The rows `rows`, in that order.
    pub(in crate::model) fn select(&self, rows: &[u32]) -> Self {
        let row_keys = rows.iter().filter_map(|&row| self.row_keys.get(row as usize).copied()).collect();
        Self { row_keys: Arc::new(row_keys), ..*self }
    }

    /// Rows that are not among these: `length` for each of `rows`, by its key and their places.
    pub(in crate::model) fn spread(&self, rows: &[u32], length: usize) -> Self {
        let key = |row: &u32| self.row_keys.get(*row as usize).copied();
        let keys = rows.iter().filter_map(key);
        let row_keys = keys.flat_map(|key| (0..length as u64).map(move |row| mix64(key.wrapping_add(row))));
        Self { row_keys: Arc::new(row_keys.collect()), ..*self }
    }

    /// Drops values of (rows, width), or scales up what is kept, in place.
    pub(super) fn apply(&self, salt: u64, x: &mut [f32]) -> Result<()> {
        let mask = DropoutMask { row_keys: &self.row_keys, salt, probability: self.probability };
        kernels::dropout(x, mask).map_err(kernel)
    }

    /// The factors of (rows, width) as a tensor on `device`.
    pub(super) fn factors(&self, salt: u64, width: usize, device: &Device) -> Result<Tensor> {
        let rows = self.row_keys.len();
        let mut factors = vec![1.0f32; rows * width];
        self.apply(salt, &mut factors)?;
        Tensor::from_vec(factors, (rows, width), device)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const WIDTH: usize = 64;

    fn rows(dropout: &Dropout, salt: u64) -> Vec<Vec<bool>> {
        let factors = dropout.factors(salt, WIDTH, &Device::Cpu).unwrap().to_vec2::<f32>().unwrap();
        factors.iter().map(|row| row.iter().map(|&factor| factor == 0.0).collect()).collect()
    }

    /// Half of 64 values: two masks that should differ are the same once in 2^64.
    #[test]
    fn every_token_sequence_layer_and_seed_has_a_mask_of_its_own() {
        let mut masks = BTreeSet::new();
        let mut expected = 0;
        for seed in 0..3 {
            for salt in 0..3 {
                let dropout = Dropout::new(0.5, seed, [(0, 20), (1, 20), (7, 5)]);
                masks.extend(rows(&dropout, salt));
                expected += 45;
            }
        }
        assert_eq!(masks.len(), expected);
    }

    #[test]
    fn a_tokens_mask_is_a_matter_of_its_sequence_and_place_alone() {
        let all = rows(&Dropout::new(0.5, 3, [(4, 10), (5, 6), (6, 8)]), 2);
        assert_eq!(all[10..16], rows(&Dropout::new(0.5, 3, [(5, 6)]), 2));
        // A longer sequence begins as the shorter one.
        assert_eq!(all[..10], rows(&Dropout::new(0.5, 3, [(4, 30)]), 2)[..10]);
        let selected = rows(&Dropout::new(0.5, 3, [(4, 10), (5, 6), (6, 8)]).select(&[9, 15, 0]), 2);
        assert_eq!(selected, [&all[9], &all[15], &all[0]].map(Clone::clone));
        // What is made of a row is a matter of that row, and no two are the same.
        let spread = |number| rows(&Dropout::new(0.5, 3, [(number, 10)]).spread(&[4, 7], 3), 2);
        let masks: BTreeSet<_> = [spread(4), spread(5), all[..10].to_vec()].concat().into_iter().collect();
        assert_eq!(
            (masks.len(), spread(4)),
            (22, rows(&Dropout::new(0.5, 3, [(4, 30)]).spread(&[4, 7], 3), 2))
        );
    }
}
