use std::collections::BTreeMap;

use gve::retrieval::cut_rows;
use ndarray::Array2;

use super::encode::Failures;
use super::{EvaluateOptions, by_split, score};
use crate::Error;
use crate::dataset::Dataset;
use crate::manifest::DatasetSpec;
use crate::ranking::RankableCorpus;
use crate::result::SubsetScores;

/// The scores where only the first values of embeddings count, by their number and split, as in the result
/// file: what a library kept for each of [`EvaluateOptions::widths`] would find, without a reranker.
///
/// # Errors
/// [`Error::Settings`] for a width that is not below that of the embeddings; those of ranking.
pub(super) fn by_width(
    dataset: &Dataset,
    spec: &DatasetSpec,
    (queries, indices): &(Array2<f32>, Vec<usize>),
    corpus: &RankableCorpus,
    options: &EvaluateOptions,
) -> Result<BTreeMap<usize, BTreeMap<String, Vec<SubsetScores>>>, Error> {
    let dim = corpus.dim();
    let mut of_widths = BTreeMap::new();
    for &width in &options.widths {
        if width == 0 || (width >= dim && !corpus.is_empty()) {
            return Err(Error::Settings(format!(
                "embeddings of {dim} values cannot be cut to {width}: a width lies between 1 and {}",
                dim.saturating_sub(1)
            )));
        }
        let (queries, corpus) = ((cut_rows(queries.view(), width), indices.clone()), corpus.cut(width));
        let nobody = &mut |_: super::Event<'_>| Ok(());
        let scored =
            score(dataset, spec, queries, &corpus, &Failures::new(), options.feedback, None, nobody)?;
        of_widths.insert(width, by_split(&scored.scores, spec));
    }
    Ok(of_widths)
}
