//! Queries that are asked once more, together with what was found for them.

use gve::Input;
use gve::recipe::PseudoQuery;
use ndarray::Array2;

use super::encode::{Failures, encode_items};
use super::{EvaluateOptions, Event};
use crate::Error;
use crate::dataset::Dataset;
use crate::encoder::{Encoder, Item, Request, Role};
use crate::ranking::{RankableCorpus, UnitRows, rank};

/// What comes of asking again.
pub(super) struct Asked {
    /// The queries that were embedded again, `[rows, dim]`, and the number of each in the data set.
    pub(super) queries: (Array2<f32>, Vec<usize>),
    /// Those that could not be.
    pub(super) failures: Failures,
}

/// Ranks the corpus for every query, and embeds the query once more together with its best documents.
///
/// # Errors
/// An encoder that is no model of gve or was not trained for that; those of ranking and embedding.
pub(super) fn ask(
    dataset: &Dataset,
    encoder: &dyn Encoder,
    options: &EvaluateOptions,
    recipe: &PseudoQuery,
    (queries, indices): (Array2<f32>, Vec<usize>),
    corpus: &RankableCorpus,
    observe: &mut dyn FnMut(Event<'_>) -> Result<(), Error>,
) -> Result<Asked, Error> {
    let failed = |reason: String| Error::Encoder { encoder: encoder.info().name.clone(), reason };
    let embedder = encoder.embedder().ok_or_else(|| failed("gve does not run it".to_owned()))?;
    let candidates = |row: usize| dataset.queries[indices[row]].candidates.as_deref();
    let mut asked: Vec<Input> = Vec::with_capacity(indices.len());
    rank(queries.view(), corpus, candidates, recipe.most_candidates, &mut |row, ranking| {
        let query = &dataset.queries[indices[row]].input;
        let prompted = options.prompt_style.apply(query, &options.prompt);
        let best = ranking.iter().map(|ranked| &dataset.corpus[ranked.document].input);
        asked.push(embedder.pseudo_query(&prompted, best).map_err(|error| failed(error.to_string()))?);
        Ok(())
    })?;
    let ids = indices.iter().map(|&index| dataset.queries[index].id.as_str());
    let items: Vec<Item<'_>> = ids.zip(&asked).map(|(id, input)| Item { id, input }).collect();
    let mut rows = UnitRows::new(dataset.queries.len());
    let request = Request { dataset: &dataset.id, role: Role::Query, items: &items };
    let mut insert = |row: usize, embedding: &[f32], id: &str| rows.insert(indices[row], embedding, id);
    let failures = encode_items(request, encoder, &mut insert, observe)?;
    let failures = failures.into_iter().map(|(row, error)| (indices[row], error)).collect();
    Ok(Asked { queries: rows.finish(), failures })
}
