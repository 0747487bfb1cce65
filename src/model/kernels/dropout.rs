//! Dropout whose masks can be had again: a value's fate is a hash of its row's key, the layer and its column,
//! and of nothing else. Passes that cut a batch differently, or compute a layer twice, therefore drop the
//! same values, and no mask is stored.

use super::error::{KernelError, check_length};
use super::parallel::for_each_rows;
use super::simd::vectorised;

/// What is dropped.
#[derive(Debug, Clone, Copy)]
pub struct DropoutMask<'a> {
    /// A key per row.
    pub row_keys: &'a [u64],
    /// Tells layers apart.
    pub salt: u64,
    /// Chance of a value to be dropped, in `[0, 1)`.
    pub probability: f32,
}

/// Sets dropped values of `x` `[rows, width]` to zero and scales the others by `1 / (1 - probability)`.
///
/// # Errors
/// [`KernelError::Length`] when `x` is not a whole number of values per row key.
pub fn dropout(x: &mut [f32], mask: DropoutMask<'_>) -> Result<(), KernelError> {
    let rows = mask.row_keys.len();
    let width = x.len().checked_div(rows).unwrap_or(0);
    check_length("dropout", "x", rows * width, x.len())?;
    if x.is_empty() {
        return Ok(());
    }
    // A hash is uniform over u32.
    let threshold = (f64::from(mask.probability) * 2f64.powi(32)) as u32;
    let kept = 1.0 / (1.0 - mask.probability);
    for_each_rows(x, width, |first_row, x| {
        vectorised(
            #[inline(always)]
            || {
                for (row, &key) in x.chunks_mut(width).zip(&mask.row_keys[first_row..]) {
                    let key = mix64(key ^ mask.salt) as u32;
                    for (column, value) in (0u32..).zip(row) {
                        let hash = mix32(key.wrapping_add(column.wrapping_mul(0x9E37_79B9)));
                        *value *= if hash < threshold { 0.0 } else { kept };
                    }
                }
            },
        );
    });
    Ok(())
}

/// A bijection of u64 that scatters neighbours (the finaliser of SplitMix64, Steele et al. 2014).
pub fn mix64(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The same for u32 (`lowbias32`, Wellons 2018).
#[inline(always)]
fn mix32(mut x: u32) -> u32 {
    x = (x ^ (x >> 16)).wrapping_mul(0x21F0_AAAD);
    x = (x ^ (x >> 15)).wrapping_mul(0x735A_2D97);
    x ^ (x >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dropped(row_keys: &[u64], salt: u64, probability: f32, width: usize) -> Vec<f32> {
        let mut x = vec![1.0; row_keys.len() * width];
        dropout(&mut x, DropoutMask { row_keys, salt, probability }).unwrap();
        x
    }

    #[test]
    fn a_share_is_dropped_and_the_mean_is_kept() {
        let keys: Vec<u64> = (0..300).collect();
        for probability in [0.0, 0.1, 0.5] {
            let x = dropped(&keys, 5, probability, 400);
            let zeros = x.iter().filter(|&&v| v == 0.0).count() as f32 / x.len() as f32;
            let mean = x.iter().sum::<f32>() / x.len() as f32;
            assert!((zeros - probability).abs() < 0.005, "{zeros} of {probability}");
            assert!((mean - 1.0).abs() < 0.01, "{mean}");
            // Neither rows nor columns are dropped as a whole.
            for row in x.chunks(400) {
                let zeros = row.iter().filter(|&&v| v == 0.0).count() as f32 / 400.0;
                assert!((zeros - probability).abs() < 0.12);
            }
            for column in 0..400 {
                let zeros = x.iter().skip(column).step_by(400).filter(|&&v| v == 0.0).count() as f32 / 300.0;
                assert!((zeros - probability).abs() < 0.14);
            }
        }
    }

    #[test]
    fn a_row_s_mask_follows_its_key_alone() {
        let together = dropped(&[1, 2, 3], 9, 0.3, 100);
        assert_eq!(together[200..], dropped(&[3], 9, 0.3, 100));
        assert_ne!(together[200..], dropped(&[3], 8, 0.3, 100));
        assert_ne!(together[200..], dropped(&[2], 9, 0.3, 100));
        assert!(
            dropout(&mut [1.0; 5], DropoutMask { row_keys: &[1, 2], salt: 0, probability: 0.1 }).is_err()
        );
    }
}
