//! Rotary position embedding (Su et al. 2021) in the half layout of Qwen and LLaMA: value `i` of a head turns
//! together with value `i + head_dim / 2`. The angles come from the caller, who knows about sections and
//! axes.

use super::error::{KernelError, check_length};
use super::parallel::for_each_rows;
use super::simd::vectorised;

/// Where the heads lie that are to be turned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadsShape {
    /// Rows, one per token.
    pub rows: usize,
    /// Heads per row, one after the other.
    pub heads: usize,
    /// Values per head.
    pub head_dim: usize,
    /// Values from one row to the next; at least `heads * head_dim`.
    pub row_stride: usize,
}

impl HeadsShape {
    /// Rows that follow each other without a gap.
    #[cfg(test)]
    pub fn contiguous(rows: usize, heads: usize, head_dim: usize) -> Self {
        Self { rows, heads, head_dim, row_stride: heads * head_dim }
    }

    /// Values in one row that belong to the heads.
    pub(super) fn width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Checks the strides, and that the rows fit a slice of `got` values.
    pub(super) fn check(
        &self,
        kernel: &'static str,
        operand: &'static str,
        got: usize,
    ) -> Result<(), KernelError> {
        if self.row_stride < self.width() {
            return Err(KernelError::Shape {
                kernel,
                what: "the row stride is smaller than the heads of a row",
                first: self.row_stride,
                second: self.width(),
            });
        }
        let expected = self.rows.checked_sub(1).map_or(0, |last| last * self.row_stride + self.width());
        if got < expected {
            return Err(KernelError::Length { kernel, operand, expected, got });
        }
        Ok(())
    }
}

/// Turns the heads of every row of `x` in place. `cos` and `sin` are `[rows, head_dim / 2]`.
///
/// Values between the heads of one row and the next row are left alone, so `x` may start at the queries or
/// keys of a fused projection.
///
/// # Errors
/// [`KernelError`] when the head size is odd or a slice does not fit the shape.
pub fn apply_rope(x: &mut [f32], shape: HeadsShape, cos: &[f32], sin: &[f32]) -> Result<(), KernelError> {
    shape.check("apply_rope", "x", x.len())?;
    let HeadsShape { rows, head_dim, row_stride, .. } = shape;
    if head_dim % 2 != 0 {
        return Err(KernelError::Shape {
            kernel: "apply_rope",
            what: "the head size is odd; heads and head size are",
            first: shape.heads,
            second: head_dim,
        });
    }
    let half = head_dim / 2;
    check_length("apply_rope", "cos", rows * half, cos.len())?;
    check_length("apply_rope", "sin", rows * half, sin.len())?;
    let width = shape.width();
    if rows == 0 || width == 0 {
        return Ok(());
    }
    let end = (rows - 1) * row_stride + width;
    for_each_rows(&mut x[..end], row_stride, |first_row, x| {
        let (cos, sin) = (&cos[first_row * half..], &sin[first_row * half..]);
        vectorised(
            #[inline(always)]
            || {
                for ((row, cos), sin) in
                    x.chunks_mut(row_stride).zip(cos.chunks_exact(half)).zip(sin.chunks_exact(half))
                {
                    for head in row[..width].chunks_exact_mut(head_dim) {
                        turn(head, cos, sin);
                    }
                }
            },
        );
    });
    Ok(())
}

#[inline(always)]
fn turn(head: &mut [f32], cos: &[f32], sin: &[f32]) {
    let (first, second) = head.split_at_mut(cos.len());
    for (((a, b), &cos), &sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
        (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_data::{assert_close, values};
    use super::*;

    #[test]
    fn heads_turn_and_gaps_stay() {
        for (rows, heads, head_dim, gap) in [(1, 1, 2, 0), (7, 3, 10, 5), (900, 4, 64, 128)] {
            let shape = HeadsShape { rows, heads, head_dim, row_stride: heads * head_dim + gap };
            let half = head_dim / 2;
            let x = values(rows * shape.row_stride - gap, 1);
            let (cos, sin) = (values(rows * half, 2), values(rows * half, 3));
            let want: Vec<f64> = (0..x.len())
                .map(|at| {
                    let (row, column) = (at / shape.row_stride, at % shape.row_stride);
                    let i = column % head_dim % half;
                    let (c, s) = (f64::from(cos[row * half + i]), f64::from(sin[row * half + i]));
                    let v = f64::from(x[at]);
                    match column {
                        column if column >= shape.width() => v,
                        column if column % head_dim < half => v * c - f64::from(x[at + half]) * s,
                        _ => v * c + f64::from(x[at - half]) * s,
                    }
                })
                .collect();
            let mut got = x;
            apply_rope(&mut got, shape, &cos, &sin).unwrap();
            assert_close(&got, &want, 1e-6);
        }
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let shape = HeadsShape::contiguous(2, 1, 4);
        let refused = |shape, x: usize, angles: usize| {
            apply_rope(&mut vec![0.0; x], shape, &vec![0.0; angles], &vec![0.0; angles]).is_err()
        };
        assert!(!refused(shape, 8, 4));
        assert!(refused(shape, 7, 4));
        assert!(refused(shape, 8, 3));
        assert!(refused(HeadsShape::contiguous(2, 1, 3), 8, 4));
        assert!(refused(HeadsShape { row_stride: 3, ..shape }, 8, 4));
        assert!(!refused(HeadsShape::contiguous(0, 1, 4), 0, 0));
    }
}
