//! From a data set and an encoder to a result: the room that joins data, embeddings, rankings and scores.
//!
//! Every query counts. A query that cannot be embedded scores 0, and so does one whose relevant documents
//! could not be embedded, since they cannot be found: [`FAILURE_RULE`] says so in each result.

mod again;
mod encode;
mod second;
mod subsample;
mod widths;

use std::collections::BTreeMap;
use std::time::Instant;

use gve::recipe::{PseudoQuery, RecipeId};
use gve::retrieval::{Feedback, StoreDType};
use gve::store::{self, Differences};
use ndarray::Array2;
use serde_json::json;

pub use subsample::subsample;

use crate::Error;
use crate::dataset::{Dataset, Query};
use crate::encoder::{EncodeError, Encoder, PairScorer, PromptStyle, Role};
use crate::manifest::DatasetSpec;
use crate::metrics::{self, QueryScores};
use crate::ranking::{DEPTH, RankableCorpus, Ranked, UnitRows, move_queries, rank};
use crate::result::{
    Counts, DatasetResult, ModelReference, QueryRecord, RankedDocument, SPLIT, Subsample, SubsetScores,
    Timing,
};
use crate::statistics::mean_interval;
use encode::{Failures, encode};
use second::SecondLook;
use widths::by_width;

/// What failures do to a score, in the words of the result file.
pub const FAILURE_RULE: &str = "Every query counts: one that could not be embedded scores 0, and a document that could \
     not be embedded is not retrieved.";

/// Documents of each query's ranking that its record keeps.
const RECORDED: usize = 10;

/// How a data set is evaluated.
#[derive(Debug, Clone, PartialEq)]
pub struct EvaluateOptions {
    /// How the prompt is put to the encoder.
    pub prompt_style: PromptStyle,
    /// The prompt of the queries; the manifest's, unless the user gave another.
    pub prompt: String,
    /// [`LoadOptions::frame_cache_fps`](crate::dataset::LoadOptions) of the data set: cached frames are not
    /// the video's own.
    pub frame_cache_fps: Option<f64>,
    /// Set where the data set was cut down with [`subsample`] before.
    pub subsample: Option<Subsample>,
    /// The precision in which a library would keep what is looked for, which is searched by what is left
    /// then.
    pub store_dtype: Option<StoreDType>,
    /// Whether what ranks first moves the query.
    pub feedback: Option<Feedback>,
    /// Whether every query is asked once more, together with what was found for it, and how.
    pub pseudo_query: Option<PseudoQuery>,
    /// Widths at which embeddings are scored as well, by their first values, each below their own.
    pub widths: Vec<usize>,
    /// Seed of the confidence interval.
    pub seed: u64,
}

/// What happens on the way.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// An input has its embedding, or failed for good.
    Encoded {
        /// Its side.
        role: Role,
        /// Its id.
        id: &'a str,
        /// Why it failed.
        error: Option<&'a EncodeError>,
    },
    /// A candidate of a query could not be scored again, and stands behind those that were.
    NotScored {
        /// The query's id.
        query: &'a str,
        /// The document's id.
        document: &'a str,
        /// Why.
        error: &'a EncodeError,
    },
    /// A query has its ranking, best first; the document is a row of the corpus.
    Ranked {
        /// The query.
        query: &'a Query,
        /// Its best documents.
        ranking: &'a [Ranked],
    },
}

/// What comes of an evaluation.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// The result file's content.
    pub result: DatasetResult,
    /// One for each query, in the data set's order.
    pub queries: Vec<QueryRecord>,
}

/// All of a result that is known before anything is embedded. A stored result that agrees in this need not be
/// made again: [`differences`].
pub fn describe(
    dataset: &Dataset,
    spec: &DatasetSpec,
    encoder: &dyn Encoder,
    second: Option<&PairScorer>,
    options: &EvaluateOptions,
) -> DatasetResult {
    let info = encoder.info();
    let mut settings = info.settings.clone();
    if let Some(fps) = options.frame_cache_fps {
        settings.insert("frame_cache_fps".to_owned(), fps.into());
    }
    if let Some(dtype) = options.store_dtype {
        settings.insert("store_dtype".to_owned(), dtype.name().into());
    }
    DatasetResult {
        task_name: spec.id.clone(),
        dataset_revision: dataset.revision.clone(),
        gve_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        model: Some(ModelReference { name: info.name.clone(), revision: info.revision.clone() }),
        settings,
        recipe: info.recipe.clone(),
        feedback: options.feedback,
        pseudo_query: options.pseudo_query.clone(),
        reranker: second.map(|second| second.reference().clone()),
        prompt_style: Some(options.prompt_style.to_string()),
        prompt: (options.prompt_style != PromptStyle::None).then(|| options.prompt.clone()),
        metric: Some(spec.metric.to_string()),
        counts: Some(Counts {
            queries: dataset.queries.len(),
            corpus: dataset.corpus.len(),
            failure_rule: FAILURE_RULE.to_owned(),
            ..Counts::default()
        }),
        candidates: Some(spec.candidates),
        subsample: options.subsample,
        by_width: options.widths.iter().map(|&width| (width, BTreeMap::new())).collect(),
        ..DatasetResult::default()
    }
}

/// What tells the data, model and settings that `stored` came of from those that `planned` describes;
/// failures count as well. Nothing where it need not be made again.
pub fn differences(stored: &DatasetResult, planned: &DatasetResult) -> Differences {
    let described = DatasetResult {
        scores: Default::default(),
        first_stage: Default::default(),
        by_width: stored.by_width.keys().map(|&width| (width, BTreeMap::new())).collect(),
        evaluation_time: None,
        confidence_interval: None,
        timing: None,
        // Older results do not say.
        candidates: stored.candidates.or(planned.candidates),
        ..stored.clone()
    };
    // Recipes of one hash embed alike. Where nothing is said of it, as before there were recipes, it is
    // GVE's.
    let by_hash = |result: &DatasetResult| {
        let hash =
            result.recipe.clone().or(planned.recipe.as_ref().map(|_| RecipeId::gve())).map(|id| id.hash);
        let mut json = json!(result);
        json["recipe"] = hash.into();
        json
    };
    store::differences(&by_hash(&described), &by_hash(planned))
}

/// Embeds, ranks and scores `dataset`; with `second`, the best of every ranking are ranked again by what that
/// says, and the scores of both rankings are in the result. `observe` is told of every input and ranking; its
/// error ends the job.
///
/// # Errors
/// [`Error`] where the encoder cannot go on or `observe` fails, and [`Error::NothingEmbedded`] where it gave
/// nothing for all queries or all documents. A single input that fails is an event and counts in the result.
pub fn evaluate(
    dataset: &Dataset,
    spec: &DatasetSpec,
    encoder: &dyn Encoder,
    second: Option<&PairScorer>,
    options: &EvaluateOptions,
    observe: &mut dyn FnMut(Event<'_>) -> Result<(), Error>,
) -> Result<Evaluation, Error> {
    let start = Instant::now();
    let cached_before = encoder.cache_hits();

    let ids: Vec<&str> = dataset.corpus.iter().map(|document| document.id.as_str()).collect();
    let mut corpus = RankableCorpus::builder(&ids);
    let mut insert = |index: usize, embedding: &[f32], id: &str| match options.store_dtype {
        // As a library does: what it rounds has length 1.
        Some(dtype) => {
            let mut unit = embedding.to_vec();
            gve::retrieval::normalize(&mut unit, id)?;
            corpus.insert(index, &dtype.rounded(&unit), id)
        }
        None => corpus.insert(index, embedding, id),
    };
    let failed_documents = encode(dataset, Role::Document, encoder, options, &mut insert, observe)?;
    let corpus = corpus.finish();
    let corpus_seconds = start.elapsed().as_secs_f64();

    let mut queries = UnitRows::new(dataset.queries.len());
    let mut insert = |index: usize, embedding: &[f32], id: &str| queries.insert(index, embedding, id);
    let mut failed_queries = encode(dataset, Role::Query, encoder, options, &mut insert, observe)?;
    let mut queries = queries.finish();
    let mut inputs = dataset.queries.len() + dataset.corpus.len();
    if let Some(recipe) = &options.pseudo_query {
        inputs += queries.1.len();
        let asked = again::ask(dataset, encoder, options, recipe, queries, &corpus, observe)?;
        failed_queries.extend(asked.failures);
        queries = asked.queries;
    }
    let queries_seconds = start.elapsed().as_secs_f64() - corpus_seconds;

    let by_width = by_width(dataset, spec, &queries, &corpus, options)?;
    let again = second.map(|second| SecondLook { second, dataset, options });
    let Scored { scores, first, records, failed_pairs } =
        score(dataset, spec, queries, &corpus, &failed_queries, options.feedback, again.as_ref(), observe)?;
    let main: Vec<f64> = records.iter().map(|record| record.score).collect();

    let mut result = describe(dataset, spec, encoder, second, options);
    result.scores = by_split(&scores, spec);
    result.by_width = by_width;
    if second.is_some() {
        result.first_stage = by_split(&first, spec);
    }
    result.confidence_interval = Some(mean_interval(&main, options.seed));
    if let Some(counts) = &mut result.counts {
        counts.failed_queries = failed_queries.len();
        counts.failed_documents = failed_documents.len();
        counts.failed_pairs = failed_pairs;
    }
    let failed = failed_queries.len() + failed_documents.len();
    let from_cache = encoder.cache_hits() - cached_before;
    let embedded = inputs.saturating_sub(failed + from_cache);
    let encoding_seconds = queries_seconds + corpus_seconds;
    let evaluation_time = start.elapsed().as_secs_f64();
    result.evaluation_time = Some(evaluation_time);
    result.timing = Some(Timing {
        queries_seconds,
        corpus_seconds,
        ranking_seconds: evaluation_time - encoding_seconds,
        embedded,
        from_cache,
        items_per_second: (embedded > 0).then(|| embedded as f64 / encoding_seconds),
    });
    Ok(Evaluation { result, queries: records })
}

/// The means of the scores of all queries, as the result file has them.
fn by_split(scores: &[QueryScores], spec: &DatasetSpec) -> BTreeMap<String, Vec<SubsetScores>> {
    let mean = metrics::mean(scores);
    let subset = SubsetScores::new(mean.main(spec.metric), &mean.named());
    BTreeMap::from([(SPLIT.to_owned(), vec![subset])])
}

/// What is made of rankings.
#[derive(Default)]
struct Scored {
    /// Of each query.
    scores: Vec<QueryScores>,
    /// The same before the second look, where there is one.
    first: Vec<QueryScores>,
    records: Vec<QueryRecord>,
    failed_pairs: usize,
}

/// Ranks the corpus for every query, and scores what comes out.
#[expect(clippy::too_many_arguments, reason = "one caller, which has all of them by name")]
fn score(
    dataset: &Dataset,
    spec: &DatasetSpec,
    (mut queries, indices): (Array2<f32>, Vec<usize>),
    corpus: &RankableCorpus,
    failures: &Failures,
    feedback: Option<Feedback>,
    again: Option<&SecondLook<'_>>,
    observe: &mut dyn FnMut(Event<'_>) -> Result<(), Error>,
) -> Result<Scored, Error> {
    let record = |query: &Query| QueryRecord { qid: query.id.clone(), ..QueryRecord::default() };
    let mut records: Vec<QueryRecord> = dataset.queries.iter().map(record).collect();
    for (query, error) in failures {
        records[*query].failed = Some(error.0.clone());
    }
    let mut scores = vec![QueryScores::default(); dataset.queries.len()];
    let mut first = scores.clone();
    let mut failed_pairs = 0;
    let candidates = |row: usize| dataset.queries[indices[row]].candidates.as_deref();
    if let Some(feedback) = feedback {
        queries = move_queries(queries, corpus, candidates, feedback)?;
    }
    rank(queries.view(), corpus, candidates, DEPTH, &mut |row, ranking| {
        let index = indices[row];
        let query = &dataset.queries[index];
        let ranked_again;
        let ranking = match again {
            None => ranking,
            Some(again) => {
                first[index] = metrics::score_query(query, ranking.iter().map(|ranked| ranked.document));
                let (ranking, failed) = again.rank(query, ranking, observe)?;
                failed_pairs += failed;
                ranked_again = ranking;
                ranked_again.as_slice()
            }
        };
        observe(Event::Ranked { query, ranking })?;
        scores[index] = metrics::score_query(query, ranking.iter().map(|ranked| ranked.document));
        let named =
            |ranked: &Ranked| RankedDocument(dataset.corpus[ranked.document].id.clone(), ranked.score);
        let is_positive = |ranked: &Ranked| query.positives.iter().any(|p| p.document == ranked.document);
        let best = ranking.iter().position(is_positive);
        let record = &mut records[index];
        record.score = scores[index].main(spec.metric);
        record.first_stage_score = again.map(|_| first[index].main(spec.metric));
        record.first_positive_rank = best.map(|best| best + 1);
        record.first_positive = best.map(|best| named(&ranking[best]));
        record.top = ranking.iter().take(RECORDED).map(named).collect();
        Ok(())
    })?;
    Ok(Scored { scores, first, records, failed_pairs })
}
