use ndarray::{Array2, ArrayView2, Axis, s};

/// The first `dim` values of each of `rows`, `[rows, width]`, and each of length 1 again: embeddings as a
/// model of Matryoshka widths would have them. A row whose first values are all zero stays as it is, and so
/// do all where there are no more than `dim` values.
#[must_use]
pub fn cut_rows(rows: ArrayView2<'_, f32>, dim: usize) -> Array2<f32> {
    if dim >= rows.ncols() {
        return rows.to_owned();
    }
    let mut cut = rows.slice(s![.., ..dim]).to_owned();
    for mut row in cut.axis_iter_mut(Axis(0)) {
        let length = row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        if length > 0.0 {
            row.mapv_inplace(|x| (f64::from(x) / length) as f32);
        }
    }
    cut
}

/// The same of one row.
#[cfg(feature = "library")]
pub(super) fn cut_row(row: &[f32], dim: usize) -> Vec<f32> {
    let row = ArrayView2::from_shape((1, row.len()), row).map(|row| cut_rows(row, dim));
    row.map(|row| row.into_iter().collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use ndarray::arr2;

    use super::*;

    #[test]
    fn rows_are_cut_and_of_length_1_again() {
        let rows = arr2(&[[3.0, 4.0, 12.0], [0.0, 0.0, 1.0]]);
        assert_eq!(cut_rows(rows.view(), 2), arr2(&[[0.6, 0.8], [0.0, 0.0]]));
        assert_eq!(cut_rows(rows.view(), 1), arr2(&[[1.0], [0.0]]));
        assert_eq!(cut_rows(rows.view(), 3), rows);
    }
}
