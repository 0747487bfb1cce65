//! Three-axis rotary positions (M-RoPE) with real timing.
//!
//! Follows `get_rope_index` of transformers 4.51.3 (`modeling_qwen2_5_vl.py`). Later releases number videos
//! otherwise.

use super::Result;
use crate::preprocess::{PositionSpan, PreprocessError};

/// Positions of a sequence of `spans`, as `[temporal, height, width]`, each as long as the sequence.
///
/// Each span starts at the largest id so far plus 1, whichever axis holds it. Within a visual span the
/// temporal id of step `t` is `t * second_per_grid * tokens_per_second`, multiplied in double precision in
/// this order and then cut to an integer. (The reference computes in the precision of its
/// `second_per_grid_ts` tensor; double is the precision in which rates are measured.)
///
/// # Errors
/// [`PreprocessError::InvalidTiming`] for a negative or infinite `second_per_grid`,
/// [`PreprocessError::PositionLimit`] where ids leave 32 bits.
pub fn mrope_positions(spans: &[PositionSpan], tokens_per_second: f64) -> Result<[Vec<u32>; 3]> {
    let num_tokens = spans.iter().map(PositionSpan::num_tokens).fold(0, usize::saturating_add);
    to_id(num_tokens as f64)?;
    let mut positions: [Vec<u32>; 3] = std::array::from_fn(|_| Vec::with_capacity(num_tokens));
    let mut next = 0;
    for span in spans {
        let largest = match *span {
            PositionSpan::Text { len } => push_text(&mut positions, next, len)?,
            PositionSpan::Visual { token_grid_thw, second_per_grid } => {
                if !(second_per_grid.is_finite() && second_per_grid >= 0.0) {
                    return Err(PreprocessError::InvalidTiming {
                        field: "second_per_grid",
                        got: second_per_grid,
                    });
                }
                push_visual(&mut positions, next, token_grid_thw, second_per_grid, tokens_per_second)?
            }
        };
        if let Some(largest) = largest {
            next = to_id(f64::from(largest) + 1.0)?;
        }
    }
    Ok(positions)
}

/// Appends text ids and returns the largest, if there are any.
fn push_text(positions: &mut [Vec<u32>; 3], start: u32, len: usize) -> Result<Option<u32>> {
    let end = to_id(f64::from(start) + len as f64)?;
    for axis in positions {
        axis.extend(start..end);
    }
    Ok((start..end).last())
}

/// Appends the ids of a visual grid and returns the largest, if there are any.
fn push_visual(
    positions: &mut [Vec<u32>; 3],
    start: u32,
    [steps, rows, columns]: [usize; 3],
    second_per_grid: f64,
    tokens_per_second: f64,
) -> Result<Option<u32>> {
    let mut largest = None;
    for step in 0..steps {
        let offset = (step as f64 * second_per_grid * tokens_per_second).trunc();
        let temporal = to_id(f64::from(start) + offset)?;
        for row in 0..rows {
            let height = to_id(f64::from(start) + row as f64)?;
            for column in 0..columns {
                let width = to_id(f64::from(start) + column as f64)?;
                for (axis, id) in positions.iter_mut().zip([temporal, height, width]) {
                    axis.push(id);
                    largest = largest.max(Some(id));
                }
            }
        }
    }
    Ok(largest)
}

/// An id as 32 bits. Doubles hold all of them exactly.
fn to_id(value: f64) -> Result<u32> {
    if (0.0..=f64::from(u32::MAX)).contains(&value) {
        return Ok(value as u32);
    }
    Err(PreprocessError::PositionLimit { got: value, limit: u32::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_after_a_video_starts_after_its_largest_id() {
        let spans = [
            PositionSpan::Text { len: 2 },
            PositionSpan::Visual { token_grid_thw: [3, 1, 2], second_per_grid: 1.32 },
            PositionSpan::Text { len: 2 },
        ];
        let [temporal, height, width] = mrope_positions(&spans, 2.0).unwrap();
        // 1.32 * 2 = 2.64 -> 2, 5.28 -> 5
        assert_eq!(temporal, [0, 1, 2, 2, 4, 4, 7, 7, 8, 9]);
        assert_eq!(height, [0, 1, 2, 2, 2, 2, 2, 2, 8, 9]);
        assert_eq!(width, [0, 1, 2, 3, 2, 3, 2, 3, 8, 9]);
    }

    #[test]
    fn an_image_does_not_advance_in_time() {
        let spans = [
            PositionSpan::Visual { token_grid_thw: [1, 2, 3], second_per_grid: 0.0 },
            PositionSpan::Text { len: 1 },
        ];
        let [temporal, height, width] = mrope_positions(&spans, 2.0).unwrap();
        assert_eq!(temporal, [0, 0, 0, 0, 0, 0, 3]);
        assert_eq!(height, [0, 0, 0, 1, 1, 1, 3]);
        assert_eq!(width, [0, 1, 2, 0, 1, 2, 3]);
    }

    #[test]
    fn empty_spans_advance_nothing() {
        let spans = [
            PositionSpan::Text { len: 0 },
            PositionSpan::Visual { token_grid_thw: [0, 4, 4], second_per_grid: 1.0 },
            PositionSpan::Text { len: 1 },
        ];
        assert_eq!(mrope_positions(&spans, 2.0).unwrap(), [[0], [0], [0]]);
    }

    #[test]
    fn ids_beyond_32_bits_and_bad_timing_are_errors() {
        let video = |steps, second_per_grid| {
            let span = PositionSpan::Visual { token_grid_thw: [steps, 1, 1], second_per_grid };
            mrope_positions(&[span], 2.0)
        };
        assert!(matches!(video(3, 4e9), Err(PreprocessError::PositionLimit { .. })));
        assert!(matches!(video(usize::MAX, 1.0), Err(PreprocessError::PositionLimit { .. })));
        assert!(matches!(video(2, f64::NAN), Err(PreprocessError::InvalidTiming { .. })));
        assert!(matches!(video(2, -1.0), Err(PreprocessError::InvalidTiming { .. })));
    }
}
