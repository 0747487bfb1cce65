use std::collections::BTreeMap;

use gve::retrieval::cut_rows;
use ndarray::Array2;

use super::EvaluateOptions;
use crate::Error;
use crate::dataset::Dataset;
use crate::manifest::DatasetSpec;
use crate::metrics::{self, QueryScores};
use crate::ranking::{DEPTH, RankableCorpus, move_queries, rank};
use crate::result::{SPLIT, SubsetScores};

/// The scores where only the first values of embeddings count, by their number and split, as in the result
/// file: what a library kept for each of [`EvaluateOptions::widths`] would find, without a reranker.
///
/// # Errors
/// [`Error::Settings`] for a width that is not below that of the embeddings; those of ranking.
pub(super) fn by_width(
    dataset: &Dataset,
    spec: &DatasetSpec,
    queries: &Array2<f32>,
    indices: &[usize],
    corpus: &RankableCorpus,
    options: &EvaluateOptions,
) -> Result<BTreeMap<usize, BTreeMap<String, Vec<SubsetScores>>>, Error> {
    let candidates = |row: usize| dataset.queries[indices[row]].candidates.as_deref();
    let dim = corpus.dim();
    let mut of_widths = BTreeMap::new();
    for &width in &options.widths {
        if width == 0 || (width >= dim && !corpus.is_empty()) {
            return Err(Error::Settings(format!(
                "embeddings of {dim} values cannot be cut to {width}: a width lies between 1 and {}",
                dim.saturating_sub(1)
            )));
        }
        let (corpus, mut queries) = (corpus.cut(width), cut_rows(queries.view(), width));
        if let Some(feedback) = options.feedback {
            queries = move_queries(queries, &corpus, candidates, feedback)?;
        }
        let mut scores = vec![QueryScores::default(); dataset.queries.len()];
        rank(queries.view(), &corpus, candidates, DEPTH, &mut |row, ranking| {
            let query = &dataset.queries[indices[row]];
            scores[indices[row]] = metrics::score_query(query, ranking.iter().map(|ranked| ranked.document));
            Ok(())
        })?;
        let mean = metrics::mean(&scores);
        let subset = SubsetScores::new(mean.main(spec.metric), &mean.named());
        of_widths.insert(width, BTreeMap::from([(SPLIT.to_owned(), vec![subset])]));
    }
    Ok(of_widths)
}
