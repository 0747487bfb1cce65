//! General matrix products in f32: any of the operands may be read transposed. [`matmul`] and [`product`] serve
//! training, [`gemm_strided`] all kernels that call the `gemm` crate.

use super::error::{KernelError, check_length};
use super::parallel::SharedMut;
use gemm::Parallelism;
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// Rows or columns of a task are a multiple of this, the widest inner loop of the `gemm` crate.
const UNIT: usize = 64;
/// Multiplications below which a call stays on the calling thread.
const SMALLEST_PARALLEL: usize = 1 << 16;

/// A matrix as a slice and its strides.
#[derive(Debug, Clone, Copy)]
pub struct MatrixRef<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> MatrixRef<'a> {
    /// A row-major matrix without gaps.
    ///
    /// # Errors
    /// [`KernelError::Length`] when `values` does not hold rows x columns values.
    pub fn new(values: &'a [f32], rows: usize, columns: usize) -> Result<Self, KernelError> {
        check_length("matmul", "matrix", rows * columns, values.len())?;
        Ok(Self { values, rows, columns, row_stride: columns, column_stride: 1 })
    }

    /// The same values with rows and columns exchanged.
    pub fn t(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// Writes `scale * a * b`, or adds it where `add` is set, to `c`, which is row-major.
///
/// # Errors
/// [`KernelError`] when the sizes do not agree.
pub fn matmul(
    a: MatrixRef<'_>,
    b: MatrixRef<'_>,
    scale: f32,
    add: bool,
    c: &mut [f32],
) -> Result<(), KernelError> {
    // SAFETY: values that are there may be seen as such that need not be, and nothing else is written over them.
    let c = unsafe { std::slice::from_raw_parts_mut(c.as_mut_ptr().cast(), c.len()) };
    multiply(a, b, scale, if add { Start::Values } else { Start::Zero }, c)
}

/// `scale * a * b`, row-major, with `bias` added to each of its rows. Memory that is new is written once.
///
/// # Errors
/// As [`matmul`].
pub fn product(
    a: MatrixRef<'_>,
    b: MatrixRef<'_>,
    scale: f32,
    bias: Option<&[f32]>,
) -> Result<Vec<f32>, KernelError> {
    if let Some(bias) = bias {
        check_length("matmul", "bias", b.columns, bias.len())?;
    }
    let len = a.rows * b.columns;
    let mut c = Vec::with_capacity(len);
    multiply(a, b, scale, bias.map_or(Start::Zero, Start::Row), &mut c.spare_capacity_mut()[..len])?;
    // SAFETY: as many values were written.
    unsafe { c.set_len(len) };
    Ok(c)
}

/// What a product is added to.
#[derive(Clone, Copy)]
enum Start<'a> {
    Zero,
    /// What is there.
    Values,
    /// The same in each row.
    Row(&'a [f32]),
}

/// Adds `scale * a * b` to `start`, and writes it to all of `c`, whose values are there where it starts with them.
fn multiply(
    a: MatrixRef<'_>,
    b: MatrixRef<'_>,
    scale: f32,
    start: Start<'_>,
    c: &mut [MaybeUninit<f32>],
) -> Result<(), KernelError> {
    if a.columns != b.rows {
        return Err(KernelError::Shape {
            kernel: "matmul",
            what: "the columns of the first matrix are not the rows of the second",
            first: a.columns,
            second: b.rows,
        });
    }
    let (rows, columns, depth) = (a.rows, b.columns, a.columns);
    check_length("matmul", "c", rows * columns, c.len())?;
    if c.is_empty() {
        return Ok(());
    }
    let c = SharedMut::new(c);
    let block = |row: usize, num_rows: usize, column: usize, num_columns: usize| {
        // SAFETY: the block lies within all three matrices, whose lengths were checked, and no two blocks of
        // a call overlap.
        unsafe {
            let c = c.as_ptr().add(row * columns + column).cast::<f32>();
            let fill = |values: &dyn Fn(*mut f32)| (0..num_rows).for_each(|row| values(c.add(row * columns)));
            match start {
                Start::Row(bias) => fill(&|row| {
                    row.copy_from_nonoverlapping(bias.as_ptr().add(column), num_columns);
                }),
                // A product of nothing writes nothing.
                Start::Zero if depth == 0 => fill(&|row| row.write_bytes(0, num_columns)),
                Start::Zero | Start::Values => {}
            }
            gemm_strided(
                (num_rows, num_columns, depth),
                (a.values.as_ptr().add(row * a.row_stride), a.row_stride, a.column_stride),
                (b.values.as_ptr().add(column * b.column_stride), b.row_stride, b.column_stride),
                (c, columns),
                !matches!(start, Start::Zero),
                scale,
            );
        }
    };
    if rows * columns * depth < SMALLEST_PARALLEL {
        block(0, rows, 0, columns);
        return Ok(());
    }
    let share = |length: usize| length.div_ceil(rayon::current_num_threads()).next_multiple_of(UNIT);
    if columns >= rows {
        let width = share(columns);
        (0..columns).into_par_iter().step_by(width).for_each(|first| {
            block(0, rows, first, width.min(columns - first));
        });
    } else {
        let height = share(rows);
        (0..rows).into_par_iter().step_by(height).for_each(|first| {
            block(first, height.min(rows - first), 0, columns);
        });
    }
    Ok(())
}

/// `c (+)= scale * a * b` for `(rows, columns, depth)` on the calling thread; `a` and `b` come with their row
/// and column strides, `c` with its row stride.
///
/// # Safety
/// The matrices are readable, and `c` writable, over those extents.
pub(super) unsafe fn gemm_strided(
    (rows, columns, depth): (usize, usize, usize),
    (a, a_row, a_column): (*const f32, usize, usize),
    (b, b_row, b_column): (*const f32, usize, usize),
    (c, c_row): (*mut f32, usize),
    add: bool,
    scale: f32,
) {
    // SAFETY: the caller vouches for the extents.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            depth,
            c,
            1,
            c_row as isize,
            add,
            a,
            a_column as isize,
            a_row as isize,
            b,
            b_column as isize,
            b_row as isize,
            if add { 1.0 } else { 0.0 },
            scale,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_data::{assert_close, values};
    use super::*;

    #[test]
    fn products_match_the_definition_transposed_or_not() {
        for (rows, columns, depth) in [(1, 1, 1), (3, 5, 7), (70, 33, 65), (16, 300, 200), (300, 16, 200)] {
            let (a, b, c) = (values(rows * depth, 1), values(depth * columns, 2), values(rows * columns, 3));
            let transposed = |values: &[f32], rows: usize, columns: usize| -> Vec<f32> {
                (0..values.len()).map(|i| values[i % rows * columns + i / rows]).collect()
            };
            let (at, bt) = (transposed(&a, rows, depth), transposed(&b, depth, columns));
            for (scale, add) in [(1.0, false), (0.5, true)] {
                let want: Vec<f64> = (0..rows * columns)
                    .map(|i| {
                        let (row, column) = (i / columns, i % columns);
                        let sum: f64 = (0..depth)
                            .map(|d| f64::from(a[row * depth + d]) * f64::from(b[d * columns + column]))
                            .sum();
                        sum * f64::from(scale) + if add { f64::from(c[i]) } else { 0.0 }
                    })
                    .collect();
                let plain =
                    [MatrixRef::new(&a, rows, depth).unwrap(), MatrixRef::new(&at, depth, rows).unwrap().t()];
                let other = [
                    MatrixRef::new(&b, depth, columns).unwrap(),
                    MatrixRef::new(&bt, columns, depth).unwrap().t(),
                ];
                for (a, b) in plain.into_iter().flat_map(|a| other.map(|b| (a, b))) {
                    let mut got = if add { c.clone() } else { vec![f32::NAN; c.len()] };
                    matmul(a, b, scale, add, &mut got).unwrap();
                    assert_close(&got, &want, 1e-5);
                    if !add {
                        assert!(product(a, b, scale, None).unwrap() == got);
                        let bias = values(columns, 4);
                        let got = product(a, b, scale, Some(&bias)).unwrap();
                        let want: Vec<f64> =
                            want.iter().zip(bias.iter().cycle()).map(|(v, &b)| v + f64::from(b)).collect();
                        assert_close(&got, &want, 1e-5);
                    }
                }
            }
        }
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused() {
        let six = [1.0; 6];
        assert!(MatrixRef::new(&six, 2, 2).is_err());
        let a = MatrixRef::new(&six, 2, 3).unwrap();
        assert!(matmul(a, a, 1.0, false, &mut [0.0; 4]).is_err());
        assert!(matmul(a, a.t(), 1.0, false, &mut [0.0; 5]).is_err());
        let mut c = [7.0; 4];
        let none = MatrixRef::new(&[], 2, 0).unwrap();
        matmul(none, none.t(), 1.0, true, &mut c).unwrap();
        assert_eq!(c, [7.0; 4]);
        matmul(none, none.t(), 1.0, false, &mut c).unwrap();
        assert_eq!(c, [0.0; 4]);
        assert_eq!(product(none, none.t(), 1.0, None).unwrap(), [0.0; 4]);
        assert_eq!(product(none, none.t(), 1.0, Some(&[1.0, 2.0])).unwrap(), [1.0, 2.0, 1.0, 2.0]);
        assert!(product(none, none.t(), 1.0, Some(&[1.0])).is_err());
    }
}
