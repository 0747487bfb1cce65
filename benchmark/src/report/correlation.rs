//! Correlations over models: which abilities rise and fall together.

/// A coefficient from -1 to 1 and the number of models it rests on. `None`: fewer than three models, or no
/// variation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Coefficient {
    /// The coefficient.
    pub value: Option<f64>,
    /// Models that have both scores.
    pub models: usize,
}

/// How two columns are correlated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Of the scores: do they lie on a line?
    Pearson,
    /// Of their ranks, ties sharing the mean rank: do they order the models alike?
    Spearman,
}

/// Fewer points than this always lie on a line.
const FEWEST_MODELS: usize = 3;

/// Correlates each column with each; `rows` are models, all of one length. A model without one of the two
/// scores is left out of that pair.
pub fn correlations(rows: &[Vec<Option<f64>>], method: Method) -> Vec<Vec<Coefficient>> {
    let columns = rows.first().map_or(0, Vec::len);
    let pair = |a: usize, b: usize| {
        let (x, y): (Vec<f64>, Vec<f64>) = rows.iter().filter_map(|row| Some((row[a]?, row[b]?))).unzip();
        let value = match method {
            _ if x.len() < FEWEST_MODELS => None,
            Method::Pearson => pearson(&x, &y),
            Method::Spearman => pearson(&ranks(&x), &ranks(&y)),
        };
        Coefficient { value, models: x.len() }
    };
    (0..columns).map(|a| (0..columns).map(|b| pair(a, b)).collect()).collect()
}

fn pearson(x: &[f64], y: &[f64]) -> Option<f64> {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (mean_x, mean_y) = (mean(x), mean(y));
    let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
    for (x, y) in x.iter().zip(y) {
        let (dx, dy) = (x - mean_x, y - mean_y);
        xy += dx * dy;
        xx += dx * dx;
        yy += dy * dy;
    }
    // Equal numbers may leave a residue of rounding, which is no variation.
    let varies = |sum: f64, mean: f64| sum > 1e-20 * (1.0 + mean * mean);
    (varies(xx, mean_x) && varies(yy, mean_y)).then(|| (xy / (xx * yy).sqrt()).clamp(-1.0, 1.0))
}

/// Ranks from 1; equal values share the mean of their ranks.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    for group in order.chunk_by(|a, b| values[*a] == values[*b]) {
        let rank = start as f64 + (group.len() + 1) as f64 / 2.0;
        for index in group {
            ranks[*index] = rank;
        }
        start += group.len();
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(x: &[f64], y: &[f64]) -> Vec<Vec<Option<f64>>> {
        x.iter().zip(y).map(|(x, y)| vec![Some(*x), Some(*y)]).collect()
    }

    #[test]
    fn coefficients_are_those_of_scipy() {
        // scipy 1.17: pearsonr(x, y).statistic, spearmanr(x, y).statistic
        let cases: [(&[f64], &[f64], f64, f64); 4] = [
            (&[1.0, 2.0, 3.0], &[2.0, 4.0, 6.0], 1.0, 1.0),
            (&[1.0, 2.0, 3.0], &[9.0, 4.0, 1.0], -0.989743318610787, -1.0),
            (&[1.0, 2.0, 3.0, 4.0, 5.0], &[5.0, 6.0, 7.0, 8.0, 7.0], 0.8320502943378437, 0.8207826816681233),
            (
                &[0.1, 0.1, 0.3, 0.2, 0.9],
                &[0.2, 0.5, 0.5, 0.1, 0.4],
                0.23028309323591917,
                0.07894736842105264,
            ),
        ];
        for (x, y, pearson, spearman) in cases {
            for (method, expected) in [(Method::Pearson, pearson), (Method::Spearman, spearman)] {
                let found = correlations(&rows(x, y), method)[0][1].value.unwrap();
                assert!((found - expected).abs() < 1e-12, "{method:?} {x:?} {y:?}: {found}");
            }
        }
    }

    #[test]
    fn pairs_without_meaning_have_no_value() {
        let mut table = rows(&[0.1, 0.2, 0.3], &[0.3, 0.3, 0.3]);
        let flat = correlations(&table, Method::Pearson);
        assert_eq!(flat[0][1], Coefficient { value: None, models: 3 });
        assert!((flat[0][0].value.unwrap() - 1.0).abs() < 1e-12);
        table[1][0] = None;
        assert_eq!(correlations(&table, Method::Spearman)[0][0], Coefficient { value: None, models: 2 });
        assert!(correlations(&[], Method::Pearson).is_empty());
    }
}
