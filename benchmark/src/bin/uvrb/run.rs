use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, ValueEnum};
use gve::CancelToken;
use gve::embedder::FRAME_FACTOR;
use gve::recipe::PseudoQuery;
use gve::retrieval::{Feedback, StoreDType};
use gve::video::FrameCount;
use gve_cli::interrupt::{stop_on_ctrl_c, stopped};
use gve_cli::options::{FeedbackOptions, RerankOptions, store_dtype, whole};
use gve_cli::output::{Outcome, is_reader_gone, name, print, progress_bar, put_path, report, show, warn};
use uvrb::dataset::{self, Dataset, LoadOptions};
use uvrb::encoder::{Encoder, PairScorer, PromptStyle, Role};
use uvrb::evaluate::{EvaluateOptions, Evaluation, Event, describe, differences, evaluate, subsample};
use uvrb::manifest::{DatasetSpec, Manifest};
use uvrb::result::{DatasetResult, Subsample, queries_path, result_path, write_queries};
use uvrb::run_file::{RunFormat, RunWriter, check_trec_ids};
use uvrb::statistics::SEED;

use crate::source::SourceOptions;

#[derive(Args)]
#[command(after_help = "\
Examples:
  uvrb run ~/UVRB --model Alibaba-NLP/GVE-3B
  uvrb run ~/UVRB MSRVTT CRB-S --model ./GVE-3B --frames 16 --out results-16
  uvrb run ~/UVRB --precomputed ~/embeddings --name my-org/my-model
  uvrb run ~/UVRB MSRVTT --server http://127.0.0.1:8000/v1 --name Qwen/Qwen3-VL-Embedding-2B
  uvrb run ~/UVRB --baseline mean-colour
  uvrb run ~/UVRB --model ./runs/mrl/final --widths 64,128,256
  uvrb run ~/UVRB --model Alibaba-NLP/GVE-3B --reranker Qwen/Qwen3-VL-Reranker-2B --rerank-top 100 --out reranked

Results lie in OUT/<org>__<model>/<revision>/<DATASET>.json. A run that was stopped goes on where it was. Ctrl-C stops after
what is under way; a second Ctrl-C ends at once.")]
pub(crate) struct Arguments {
    /// Directory of the data sets.
    #[arg(value_name = "DATA")]
    data: PathBuf,
    /// Data sets [default: those of the manifest that are found in DATA].
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// Where results go.
    #[arg(long, value_name = "DIR", default_value = "results")]
    out: PathBuf,
    /// A file of further data sets, in the form of datasets.toml.
    #[arg(long, value_name = "FILE")]
    datasets_file: Option<PathBuf>,
    /// How the prompt of a query is given: system turn, text in front, or none [default: system, but none
    /// where the model reads no instructions].
    #[arg(long, value_name = "system|text|none")]
    prompt_style: Option<PromptStyle>,
    /// A TOML file of prompts by data set, instead of the manifest's.
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    /// At most this many queries and about as many documents, for a quick look; the result is marked.
    #[arg(long, value_name = "N", value_parser = whole::<usize>(1))]
    limit: Option<usize>,
    /// Seed of --limit and of the confidence intervals.
    #[arg(long, value_name = "S", default_value_t = SEED, value_parser = whole::<u64>(0))]
    seed: u64,
    /// Use cached frames of `videos_frames/`, taken at F frames per second, where there are any.
    #[arg(long, value_name = "F")]
    frame_cache_fps: Option<f64>,
    /// Also write the rankings: DATASET.trec, or DATASET.run.jsonl.
    #[arg(long, value_name = "FORMAT")]
    rankings: Option<Rankings>,
    /// Print JSON lines.
    #[arg(long)]
    json: bool,
    /// Make results anew that are there already.
    #[arg(long)]
    overwrite: bool,
    /// Round what is looked for as a library does that keeps embeddings in this precision.
    #[arg(long, value_name = "f32|f16|int8", value_parser = store_dtype)]
    store_dtype: Option<StoreDType>,
    /// Score embeddings also by their first N values, for each of these [default: the widths that the model's
    /// recipe lists].
    #[arg(long, value_name = "N,N,..", value_delimiter = ',',
        value_parser = whole::<usize>(1))]
    widths: Vec<usize>,
    #[command(flatten)]
    feedback: FeedbackOptions,
    #[command(flatten)]
    rerank: RerankOptions,
    #[command(flatten)]
    source: SourceOptions,
}

#[derive(Clone, Copy, ValueEnum)]
enum Rankings {
    /// Lines of `qid Q0 docid rank score tag`.
    Trec,
    /// JSON lines, for ids with white space.
    Jsonl,
}

/// Endings of the files of rankings, beside a result.
const TREC: &str = "trec";
const JSON_LINES: &str = "run.jsonl";

/// What all data sets of a run share.
struct Job<'a> {
    arguments: &'a Arguments,
    encoder: &'a dyn Encoder,
    feedback: Option<Feedback>,
    pseudo_query: Option<PseudoQuery>,
    second: Option<PairScorer>,
    widths: Vec<usize>,
    prompts: BTreeMap<String, String>,
    cancel: CancelToken,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Outcome> {
    let manifest = Manifest::builtin_with(arguments.datasets_file.as_deref())?;
    let specs = select(&manifest, arguments)?;
    let prompts = match &arguments.prompts {
        Some(path) => manifest.read_prompts(path)?,
        None => BTreeMap::new(),
    };
    let feedback = arguments.feedback.feedback()?;
    let encoder = arguments.source.open(&arguments.out)?;
    let (encoder, cancel) = (encoder.as_ref(), stop_on_ctrl_c()?);
    let pseudo_query = match encoder.embedder() {
        Some(embedder) => arguments.feedback.pseudo_query(embedder)?,
        None if arguments.feedback.pseudo_query.is_some() => {
            bail!("--pseudo-query needs a model that gve runs, not {}", encoder.info().name)
        }
        None => None,
    };
    let second = arguments.source.second(&arguments.rerank, &arguments.out)?;
    let widths = arguments.source.widths(encoder, &arguments.widths)?;
    let job = Job { arguments, encoder, feedback, pseudo_query, second, widths, prompts, cancel };
    let (mut done, mut failed) = (0, 0);
    for spec in specs {
        match job.run(spec) {
            Ok(failures) => {
                done += 1;
                failed += failures;
            }
            Err(error) if is_reader_gone(&error) => return Err(error),
            Err(error) if matches!(error.downcast_ref(), Some(uvrb::Error::Cancelled)) => {
                return Ok(stopped("what is done is kept, and the same command goes on from there"));
            }
            // Without the encoder, the other data sets would fail alike.
            Err(error) if is_encoder_failure(&error) && done == 0 => return Err(error),
            Err(error) => {
                let ends = is_encoder_failure(&error);
                report(&error.context(spec.id.clone()));
                failed += 1;
                if ends {
                    break;
                }
            }
        }
    }
    Ok(Outcome::of(done, failed))
}

fn is_encoder_failure(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(uvrb::Error::Encoder { .. }))
}

/// The data sets that were named, or those in DATA that the manifest knows.
fn select<'a>(manifest: &'a Manifest, arguments: &Arguments) -> Result<Vec<&'a DatasetSpec>> {
    if !arguments.ids.is_empty() {
        return Ok(arguments.ids.iter().map(|id| manifest.get(id)).collect::<Result<_, _>>()?);
    }
    let mut specs = Vec::new();
    for found in dataset::find(&arguments.data)? {
        match manifest.get(&found.id) {
            Ok(spec) => specs.push(spec),
            Err(error) => warn(&format!("{}: passed over: {error}", found.directory.display())),
        }
    }
    if specs.is_empty() {
        bail!("no data set of the manifest is in {}: `uvrb list` shows them", arguments.data.display());
    }
    Ok(specs)
}

impl Job<'_> {
    /// Evaluates one data set and writes its files. Gives the number of inputs that failed.
    fn run(&self, spec: &DatasetSpec) -> Result<usize> {
        self.go_on()?;
        let options =
            LoadOptions { frame_cache_fps: self.arguments.frame_cache_fps, ..LoadOptions::default() };
        let mut dataset = dataset::load(spec, &self.arguments.data, &options)?;
        let usual = self.arguments.source.sampling()?;
        let (sampling, count) =
            self.encoder.frames().unwrap_or((&usual, FrameCount::MultipleOf(FRAME_FACTOR)));
        dataset.sample_cached_frames(sampling, count)?;
        let limit = self.arguments.limit.map(|limit| Subsample { limit, seed: self.arguments.seed });
        let part = limit.and_then(|limit| subsample(&dataset, limit));
        let options = EvaluateOptions {
            prompt_style: self.arguments.prompt_style.unwrap_or(self.encoder.prompt_style()),
            prompt: self.prompts.get(&spec.id).unwrap_or(&spec.prompt).clone(),
            frame_cache_fps: self.arguments.frame_cache_fps,
            subsample: part.is_some().then_some(limit).flatten(),
            store_dtype: self.arguments.store_dtype,
            feedback: self.feedback,
            pseudo_query: self.pseudo_query.clone(),
            widths: self.widths.clone(),
            seed: self.arguments.seed,
        };
        let dataset = part.unwrap_or(dataset);

        let planned = describe(&dataset, spec, self.encoder, self.second.as_ref(), &options);
        let info = self.encoder.info();
        let path = result_path(&self.arguments.out, &info.name, &info.revision, &spec.id);
        let rankings = self.arguments.rankings.map(|format| match format {
            Rankings::Trec => (path.with_extension(TREC), RunFormat::Trec { tag: info.name.clone() }),
            Rankings::Jsonl => (path.with_extension(JSON_LINES), RunFormat::JsonLines),
        });
        let stored = stored(&path);
        let differences = stored.as_ref().map(|stored| differences(stored, &planned)).unwrap_or_default();
        // Embeddings that were made elsewhere may be others by now, and cost nothing.
        let current = stored.as_ref().filter(|_| info.cacheable && differences.is_empty());
        if !self.arguments.overwrite {
            let has_rankings = rankings.as_ref().is_none_or(|(path, _)| path.exists());
            if let Some(stored) = current.filter(|_| has_rankings) {
                self.print(stored, &path, "  (there already)")?;
                return Ok(0);
            }
            let has_whole = stored.as_ref().is_some_and(|stored| stored.subsample.is_none());
            if has_whole && planned.subsample.is_some() {
                bail!(
                    "{} is the result of all of the data set, which one of a part would replace: choose \
                     another --out, or --overwrite",
                    path.display()
                );
            }
        }
        if let Some((_, RunFormat::Trec { .. })) = &rankings {
            check_trec_ids(&dataset)?;
        }
        if !differences.is_empty() && !self.arguments.overwrite {
            warn(&format!("{}: made anew, for it differs in {differences}", path.display()));
        }
        let Evaluation { result, queries } = self.evaluate(&dataset, spec, &options, rankings.as_ref())?;
        write_queries(&queries_path(&path), &queries)?;
        if current.is_none() || self.arguments.overwrite {
            remove_rankings(&path, rankings.as_ref().map(|(path, _)| path.as_path()))?;
        }
        // Last: where it lies, all of the data set is done.
        result.write(&path)?;
        self.print(&result, &path, "")?;
        Ok(result
            .counts
            .map_or(0, |counts| counts.failed_queries + counts.failed_documents + counts.failed_pairs))
    }

    /// An error once the user has asked to stop.
    fn go_on(&self) -> Result<(), uvrb::Error> {
        if self.cancel.is_cancelled() { Err(uvrb::Error::Cancelled) } else { Ok(()) }
    }

    /// Evaluates with a progress bar, naming each input that fails; writes the rankings where they are asked
    /// for.
    fn evaluate(
        &self,
        dataset: &Dataset,
        spec: &DatasetSpec,
        options: &EvaluateOptions,
        rankings: Option<&(PathBuf, RunFormat)>,
    ) -> Result<Evaluation> {
        let asked = if self.pseudo_query.is_some() { 2 } else { 1 };
        let bar = progress_bar(
            dataset.corpus.len() + asked * dataset.queries.len(),
            "inputs",
            self.arguments.source.quiet(),
        );
        show(&bar, &spec.id);
        let mut writer =
            rankings.map(|(path, format)| RunWriter::create(path, format.clone())).transpose()?;
        let second = self.second.as_ref();
        let evaluation = evaluate(dataset, spec, self.encoder, second, options, &mut |event| {
            match event {
                Event::Encoded { role, id, error } => {
                    bar.inc(1);
                    if let Some(error) = error {
                        let side = if role == Role::Query { "query" } else { "document" };
                        bar.suspend(|| report(&anyhow!("{} {side} {id}: {error}", spec.id)));
                    }
                }
                Event::NotScored { query, document, error } => {
                    let of = format!("{} query {query}, document {document}", spec.id);
                    bar.suspend(|| report(&anyhow!("{of}, is not scored again: {error}")));
                }
                Event::Ranked { query, ranking } => {
                    if let Some(writer) = &mut writer {
                        let ranking = ranking
                            .iter()
                            .map(|ranked| (dataset.corpus[ranked.document].id.as_str(), ranked.score));
                        writer.write(&query.id, ranking)?;
                    }
                }
                _ => {}
            }
            self.go_on()
        });
        bar.finish_and_clear();
        let evaluation = evaluation?;
        if let Some(writer) = writer {
            writer.finish()?;
        }
        Ok(evaluation)
    }

    /// One line about a result.
    fn print(&self, result: &DatasetResult, path: &Path, note: &str) -> Result<()> {
        let score = result.main_score().map_err(|reason| anyhow!(reason))?;
        let interval = result.confidence_interval.unwrap_or_default();
        let metric = result.metric.as_deref().unwrap_or_default();
        let widths = result.by_width.keys().filter_map(|&width| Some((width, result.score_at_width(width)?)));
        let by_width: BTreeMap<usize, f64> = widths.collect();
        if self.arguments.json {
            let mut line = serde_json::json!({
                "dataset": result.task_name, "metric": metric, "score": score, "low": interval.low, "high": interval.high,
                "first_stage_score": result.first_stage_score(), "by_width": by_width, "subsample": result.subsample, "counts": result.counts, "timing": result.timing,
            });
            put_path(&mut line, "path", path);
            return Ok(print(&line.to_string())?);
        }
        let first = result.first_stage_score();
        let first = first.map_or_else(String::new, |score| format!("  (first stage {score:.4})"));
        let widths = by_width.iter().map(|(width, score)| format!("  ({width} values {score:.4})"));
        let widths: String = widths.collect();
        let part = if result.subsample.is_some() { "  (part of the data set)" } else { "" };
        let dataset = &result.task_name;
        Ok(print(&format!(
            "{dataset:<12} {metric:<5} {score:.4}  [{:.4}, {:.4}]  {}{first}{widths}{part}{note}",
            interval.low,
            interval.high,
            name(path)
        ))?)
    }
}

/// The result that is at `path`. One that cannot be read is reported, and made anew.
fn stored(path: &Path) -> Option<DatasetResult> {
    match DatasetResult::read(path) {
        Ok(stored) => Some(stored),
        Err(uvrb::Error::Io(error)) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            warn(&format!("made anew: {error}"));
            None
        }
    }
}

/// Removes the rankings beside the result at `path` but for `kept`: they are of the result that was there
/// before.
fn remove_rankings(path: &Path, kept: Option<&Path>) -> Result<()> {
    for stale in [TREC, JSON_LINES].map(|ending| path.with_extension(ending)) {
        if Some(stale.as_path()) != kept && stale.exists() {
            fs::remove_file(&stale).with_context(|| format!("cannot remove {}", stale.display()))?;
        }
    }
    Ok(())
}
