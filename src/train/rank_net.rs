use candle_core::{Result, Tensor};
use serde::{Deserialize, Serialize};

/// RankNet (Burges et al. 2005) as E2Rank has it beside InfoNCE (arXiv 2510.22733): of two documents of a
/// query, the better one shall have the higher cosine.
///
/// The mean over all such twos of `-log sigmoid(scale * (cosine of the better - cosine of the other))`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct RankNet {
    /// Its share of the loss, where InfoNCE has 1. Default: 2.
    pub weight: f64,
    /// Cosines are multiplied by this. Default: 10.
    pub scale: f64,
    /// Whether a pair's negatives stand in their order, the best first. Where not, its positive is better than
    /// each of them, and that is all. Default: not.
    pub ordered: bool,
    /// Whether documents are ranked by a query that is asked together with them, as the recipe's
    /// [`PseudoQuery`](crate::recipe::PseudoQuery) has it, rather than by the query alone. Default: it is.
    pub pseudo_query: bool,
}

impl Default for RankNet {
    fn default() -> Self {
        Self { weight: 2.0, scale: 10.0, ordered: false, pseudo_query: true }
    }
}

impl RankNet {
    /// The first setting that makes no sense, by its name, and why.
    pub(super) fn fault(&self) -> Option<(&'static str, &'static str)> {
        let is_positive = |x: f64| x.is_finite() && x > 0.0;
        let faults = [
            ("rank_net.weight", !is_positive(self.weight), "must be a positive number"),
            ("rank_net.scale", !is_positive(self.scale), "must be a positive number"),
        ];
        faults.into_iter().find(|(_, is_wrong, _)| *is_wrong).map(|(name, _, reason)| (name, reason))
    }

    /// The loss, times its weight: a scalar of f32. `embeddings` is `(items, dim)`, each of length 1; a list has
    /// the numbers of the item that asks and of its documents, the best first. 0 where no list has two.
    ///
    /// # Errors
    /// A tensor operation that failed, such as a number beyond the items.
    pub fn forward(&self, embeddings: &Tensor, lists: &[(usize, Vec<usize>)]) -> Result<Tensor> {
        let (mut asking, mut asked) = (Vec::new(), Vec::new());
        let (mut better, mut other) = (Vec::new(), Vec::new());
        for (query, documents) in lists {
            let first = asked.len();
            asking.extend(documents.iter().map(|_| *query as u32));
            asked.extend(documents.iter().map(|&document| document as u32));
            let above = if self.ordered { documents.len() } else { documents.len().min(1) };
            for i in 0..above {
                for j in i + 1..documents.len() {
                    better.push((first + i) as u32);
                    other.push((first + j) as u32);
                }
            }
        }
        let device = embeddings.device();
        if better.is_empty() {
            return Tensor::new(0f32, device);
        }
        let rows = |numbers: Vec<u32>| embeddings.index_select(&Tensor::new(numbers, device)?, 0);
        let cosines = (rows(asking)? * rows(asked)?)?.sum(1)?;
        let of = |numbers: Vec<u32>| cosines.index_select(&Tensor::new(numbers, device)?, 0);
        let above = ((of(better)? - of(other)?)? * self.scale)?;
        // Minus log sigmoid, which neither end of takes out of range.
        let loss = (above.neg()?.relu()? + (above.abs()?.neg()?.exp()? + 1.0)?.log()?)?;
        loss.mean_all()? * self.weight
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    /// ```python
    /// e = F.normalize(torch.tensor([[1., 2, 3], [2, -1, 0.5], [0.3, 1, 2], [-1, 0, 1], [4, 4, -2]]), dim=1)
    /// e.requires_grad_()
    /// def rank_net(lists, ordered):
    ///     d = [10 * (e[q] @ e[i] - e[q] @ e[j]) for q, ds in lists for k, i in enumerate(ds[: None if ordered else 1])
    ///          for j in ds[k + 1 :]]
    ///     return 2.0 * F.binary_cross_entropy_with_logits(torch.stack(d), torch.ones(len(d)))
    /// ```
    #[test]
    fn losses_and_gradients_are_pytorchs() {
        let rows = [[1f32, 2., 3.], [2., -1., 0.5], [0.3, 1., 2.], [-1., 0., 1.], [4., 4., -2.]];
        let rows = rows.map(|row| {
            let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
            row.map(|x| x / length)
        });
        let first = [
            [-5.878418, 7.727219, 3.067525],
            [0.652755, -1.360902, -7.374175],
            [3.734449, 4.803164, 1.873278],
            [-7.053714, -6.108772, 6.834152],
            [13.575694, 2.164737, -0.859423],
        ];
        let ordered = [
            [-2.564004, 4.996753, 1.350163],
            [-0.874543, -1.993241, -3.478172],
            [2.604321, 3.196658, 0.77102],
            [-3.917336, -3.390974, 3.800931],
            [6.31121, 2.931806, 0.672977],
        ];
        let lists = [(0, vec![1, 2, 3]), (4, vec![3, 1, 0, 2])];
        for (ordered, loss, gradient) in [(false, 14.876547, first), (true, 8.568607, ordered)] {
            let e = Var::from_tensor(&Tensor::new(&rows, &Device::Cpu).unwrap()).unwrap();
            let got = RankNet { ordered, ..RankNet::default() }.forward(&e, &lists).unwrap();
            assert!((got.to_scalar::<f32>().unwrap() - loss).abs() < 1e-5, "{got:?}, expected {loss}");
            let slopes = got.backward().unwrap().get(&e).unwrap().to_vec2::<f32>().unwrap();
            for (got, expected) in slopes.iter().flatten().zip(gradient.iter().flatten()) {
                assert!((got - expected).abs() < 1e-4, "{slopes:?}, expected {gradient:?}");
            }
        }
    }
}
