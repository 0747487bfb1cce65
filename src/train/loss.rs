//! The contrastive loss and its two masks, and the loss of a reranker.

use std::collections::HashMap;

use candle_core::{D, DType, Result, Tensor};
use serde::{Deserialize, Serialize};

use super::TrainError;
use super::gather::GatherNegatives;

/// Two targets are duplicates if their cosine is within this of 1: an absolute and a relative tolerance of
/// 1e-5, as `torch.isclose(.., atol=1e-5)` in the authors' code adds them up.
const DUPLICATE_TOLERANCE: f64 = 2e-5;
/// A target that scores above the positive by more than this is taken for a second right answer.
const FALSE_NEGATIVE_MARGIN: f64 = 0.1;

/// Symmetric InfoNCE with in-batch and hard negatives (arXiv 2510.27571, section 4, and the authors' code):
/// `(1 - w) CE(query -> target) + w CE(target -> query)`.
///
/// Query `i` should find target `i` among all targets and all hard negatives of the batch, its own and the
/// other queries'. Target `i` should find query `i` among the queries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InfoNce {
    /// Cosines are divided by this. Default: 0.03.
    pub temperature: f64,
    /// The weight `w` of the direction from target to query, from 0 to 1. Default: 0.5.
    pub direction_weight: f64,
    /// Leaves targets out that are right answers again: duplicates of what the row's query has as positive in
    /// any pair of the batch. Queries are the same where their embeddings are, bit for bit. Default: on.
    pub mask_duplicates: bool,
    /// Leaves targets out that score above the row's own by more than 0.1. Default: on.
    pub mask_false_negatives: bool,
    /// Lengths of prefixes of the embedding that shall be embeddings of their own (Matryoshka, arXiv
    /// 2205.13147). The loss is the mean over the full length and these. Default: none.
    pub matryoshka_dims: Vec<usize>,
}

impl Default for InfoNce {
    fn default() -> Self {
        Self {
            temperature: 0.03,
            direction_weight: 0.5,
            mask_duplicates: true,
            mask_false_negatives: true,
            matryoshka_dims: Vec::new(),
        }
    }
}

/// The embeddings of a batch on one device; rows are L2-normalised.
#[derive(Debug, Clone, Copy)]
pub struct Contrast<'a> {
    /// (batch, dim).
    pub queries: &'a Tensor,
    /// (batch, dim): row `i` belongs to query `i`.
    pub positives: &'a Tensor,
    /// (negatives, dim): the hard negatives of all queries, as many of each as it has.
    pub negatives: Option<&'a Tensor>,
}

/// The loss of a batch, and what it says about the model.
#[derive(Debug, Clone)]
pub struct BatchLoss {
    /// The loss, a scalar of f32 that gradients flow back from.
    pub loss: Tensor,
    /// Mean cosine of queries and their positives; of a reranker, their mean probability of yes.
    pub positive_score: f64,
    /// Mean distance of the positive's cosine above that of the best-scoring negative that no mask left out; of a
    /// reranker, that of the mean above the best wrong answer's. `None` without negatives.
    pub hardest_negative_gap: Option<f64>,
}

impl InfoNce {
    /// The first setting that makes no sense, by its name, and why.
    pub(super) fn fault(&self) -> Option<(&'static str, &'static str)> {
        let is_positive = self.temperature.is_finite() && self.temperature > 0.0;
        let faults = [
            ("temperature", !is_positive, "must be a positive number"),
            ("direction_weight", !(0.0..=1.0).contains(&self.direction_weight), "must lie between 0 and 1"),
            ("matryoshka_dims", self.matryoshka_dims.contains(&0), "must not hold 0"),
        ];
        faults.into_iter().find(|(_, is_wrong, _)| *is_wrong).map(|(name, _, reason)| (name, reason))
    }

    /// The loss of `batch`, together with what other devices have.
    ///
    /// # Errors
    /// Shapes that do not fit together, an empty batch, a Matryoshka length beyond the dimension, and failing
    /// tensor operations.
    pub fn forward(
        &self,
        batch: Contrast<'_>,
        devices: &dyn GatherNegatives,
    ) -> std::result::Result<BatchLoss, TrainError> {
        let dim = self.check(&batch)?;
        let rows = |own: &Tensor| devices.gather(&own.to_dtype(DType::F32)?);
        let queries = rows(batch.queries)?;
        let positives = rows(batch.positives)?;
        let targets = match batch.negatives {
            Some(negatives) => Tensor::cat(&[&positives, &rows(negatives)?], 0)?,
            None => positives,
        };
        let same = if self.mask_duplicates { same_queries(&queries)? } else { None };
        let full = self.scores(&queries, &targets, same.as_ref())?;
        let mut loss = self.cross_entropy(&full)?;
        for &prefix in &self.matryoshka_dims {
            if prefix == 0 || prefix > dim {
                return Err(TrainError::Shape(format!(
                    "a Matryoshka dimension of {prefix}, but embeddings have {dim} values"
                )));
            }
            let (queries, targets) = (shortened(&queries, prefix)?, shortened(&targets, prefix)?);
            let scores = self.scores(&queries, &targets, same.as_ref())?;
            loss = (loss + self.cross_entropy(&scores)?)?;
        }
        let loss = (loss / (1 + self.matryoshka_dims.len()) as f64)?;
        let (positive_score, hardest_negative_gap) = full.statistics()?;
        Ok(BatchLoss { loss, positive_score, hardest_negative_gap })
    }

    fn check(&self, batch: &Contrast<'_>) -> std::result::Result<usize, TrainError> {
        let (rows, dim) = batch.queries.dims2()?;
        let negatives = batch.negatives.map_or(Ok((0, dim)), Tensor::dims2)?;
        if rows == 0 || batch.positives.dims2()? != (rows, dim) || negatives.1 != dim {
            return Err(TrainError::Shape(format!(
                "queries {:?}, positives {:?} and negatives {negatives:?} do not make a batch",
                batch.queries.dims(),
                batch.positives.dims(),
            )));
        }
        Ok(dim)
    }

    /// Cosines with the masked ones at minus infinity. `same` is what [`same_queries`] says.
    fn scores(&self, queries: &Tensor, targets: &Tensor, same: Option<&Tensor>) -> Result<Scores> {
        let (rows, columns) = (queries.dim(0)?, targets.dim(0)?);
        let device = queries.device();
        let cosines = queries.matmul(&targets.t()?)?;
        let own: Vec<u32> = (0..rows as u32).collect();
        let positive = cosines.gather(&Tensor::from_vec(own, (rows, 1), device)?, 1)?;

        let others = (0..rows * columns).map(|i| u8::from(i % columns != i / columns)).collect();
        let others = Tensor::from_vec::<_, u8>(others, (rows, columns), device)?;
        let nothing = others.zeros_like()?;
        let detached = cosines.detach();
        let mut masked = nothing.clone();
        if self.mask_duplicates {
            let likeness = targets.narrow(0, 0, rows)?.detach().matmul(&targets.detach().t()?)?;
            let mut right = (likeness - 1.0)?.abs()?.le(DUPLICATE_TOLERANCE)?;
            if let Some(same) = same {
                right = same.matmul(&right.to_dtype(DType::F32)?)?.gt(0f64)?;
            }
            masked = right.where_cond(&others, &nothing)?;
        }
        if self.mask_false_negatives {
            let above = detached.broadcast_gt(&(positive.detach() + FALSE_NEGATIVE_MARGIN)?)?;
            masked = above.where_cond(&above, &masked)?;
        }
        let never = Tensor::full(f32::NEG_INFINITY, (rows, columns), device)?;
        let cosines = masked.where_cond(&never, &cosines)?;
        Ok(Scores { cosines, positive, others })
    }

    fn cross_entropy(&self, scores: &Scores) -> Result<Tensor> {
        let rows = scores.positive.dim(0)?;
        let logits = (&scores.cosines / self.temperature)?;
        let right = (&scores.positive / self.temperature)?.squeeze(1)?;
        let forward = (log_sum_exp(&logits)? - &right)?.mean_all()?;
        let backward = (log_sum_exp(&logits.narrow(1, 0, rows)?.t()?)? - &right)?.mean_all()?;
        (forward * (1.0 - self.direction_weight))? + (backward * self.direction_weight)?
    }
}

/// The cosines of a batch.
struct Scores {
    /// (batch, targets), masked.
    cosines: Tensor,
    /// (batch, 1): each query's with its own positive.
    positive: Tensor,
    /// (batch, targets), u8: 0 where the target is the query's own positive, else 1.
    others: Tensor,
}

impl Scores {
    fn statistics(&self) -> Result<(f64, Option<f64>)> {
        let positive = self.positive.detach().squeeze(1)?.to_vec1::<f32>()?;
        let never = Tensor::full(f32::NEG_INFINITY, self.cosines.shape(), self.cosines.device())?;
        let negatives = self.others.where_cond(&self.cosines.detach(), &never)?;
        let hardest = negatives.max(D::Minus1)?.to_vec1::<f32>()?;
        let gaps: Vec<f64> = positive
            .iter()
            .zip(&hardest)
            .filter(|(_, hardest)| **hardest > f32::NEG_INFINITY)
            .map(|(positive, hardest)| f64::from(*positive) - f64::from(*hardest))
            .collect();
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let positive: Vec<f64> = positive.into_iter().map(f64::from).collect();
        Ok((mean(&positive), (!gaps.is_empty()).then(|| mean(&gaps))))
    }
}

/// The loss of a reranker (arXiv 2510.14824): the mean over pairs of `-log softmax(label)`, over the two tokens
/// that say yes and no. `logits` is (pairs, 2), yes first; the first `right` pairs are right answers, the
/// others wrong ones.
///
/// # Errors
/// Shapes that do not fit together, and failing tensor operations.
pub fn yes_no(logits: &Tensor, right: usize) -> std::result::Result<BatchLoss, TrainError> {
    let (pairs, labels) = logits.dims2()?;
    if labels != 2 || right == 0 || right > pairs {
        let got = logits.dims();
        return Err(TrainError::Shape(format!(
            "{right} right answers among pairs {got:?}, expected (pairs, 2)"
        )));
    }
    let label: Vec<u32> = (0..pairs).map(|pair| u32::from(pair >= right)).collect();
    let chosen = logits.gather(&Tensor::from_vec(label, (pairs, 1), logits.device())?, 1)?.squeeze(1)?;
    let loss = (log_sum_exp(logits)? - chosen)?.mean_all()?;
    let rows = logits.detach().to_vec2::<f32>()?;
    let yes = |row: &Vec<f32>| 1.0 / (1.0 + f64::from(row[1] - row[0]).exp());
    let mean = |rows: &[Vec<f32>]| rows.iter().map(yes).sum::<f64>() / rows.len() as f64;
    let (of_right, of_wrong) = rows.split_at(right);
    let positive_score = mean(of_right);
    let hardest = of_wrong.iter().map(yes).reduce(f64::max);
    Ok(BatchLoss {
        loss,
        positive_score,
        hardest_negative_gap: hardest.map(|hardest| positive_score - hardest),
    })
}

/// Which queries are the same, (batch, batch) in f32: 1 where they are, else 0; `None` where all differ.
fn same_queries(queries: &Tensor) -> Result<Option<Tensor>> {
    let rows = queries.detach().to_vec2::<f32>()?;
    let mut first = HashMap::new();
    let bits = rows.iter().map(|row| row.iter().map(|value| value.to_bits()).collect::<Vec<_>>());
    let number: Vec<usize> = bits.enumerate().map(|(i, bits)| *first.entry(bits).or_insert(i)).collect();
    if first.len() == number.len() {
        return Ok(None);
    }
    let same = number.iter().flat_map(|a| number.iter().map(move |b| f32::from(a == b))).collect();
    Tensor::from_vec::<_, f32>(same, (number.len(), number.len()), queries.device()).map(Some)
}

/// Over the last dimension. The largest value only shifts the sum into range: it takes no part in the
/// gradient, whose shares for it cancel.
fn log_sum_exp(logits: &Tensor) -> Result<Tensor> {
    let largest = logits.detach().max_keepdim(D::Minus1)?;
    let sum = logits.broadcast_sub(&largest)?.exp()?.sum(D::Minus1)?;
    sum.log()? + largest.squeeze(D::Minus1)?
}

/// The first `length` values of each row, L2-normalised.
fn shortened(rows: &Tensor, length: usize) -> Result<Tensor> {
    let prefix = rows.narrow(1, 0, length)?;
    prefix.broadcast_div(&prefix.sqr()?.sum_keepdim(1)?.sqrt()?)
}

#[cfg(test)]
mod tests;
