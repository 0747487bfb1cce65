//! `gve rerank`, and what `gve search` needs of a reranker.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use gve::media::MediaKind;
use gve::retrieval::LibraryHit;
use gve::text::{LineError, Lines};
use gve::{CancelToken, Input, Part, RangeClock, Relevance, Reranker, VideoPart};
use gve_cli::interrupt::{stop_on_ctrl_c, stopped};
use gve_cli::options::ModelOptions;
use gve_cli::output::{Outcome, counted, name, print, progress_bar, report, warn};
use serde_json::{Value, json};

#[derive(Args)]
#[command(after_help = "\
Examples:
  gve rerank --model Qwen/Qwen3-VL-Reranker-2B --input pairs.jsonl
  echo '{\"id\": \"q1\", \"query\": {\"content\": [{\"type\": \"text\", \"text\": \"a dog catches a ball\"}]},
         \"candidates\": [{\"content\": [{\"type\": \"video\", \"video\": \"park.mp4\"}]},
                        {\"id\": \"b\", \"content\": [{\"type\": \"image\", \"image\": \"ball.png\"}]}]}' |
    gve rerank --model ./my-reranker --recipe qwen3-vl-reranker

Each line has a query and its candidates, in the form of the inputs of `gve embed`, and becomes a line: the query's id and its
candidates from the best to the worst, each with its place in the line, its own id if it has one, and its score from 0 to 1.")]
pub(crate) struct Arguments {
    /// JSON lines of queries with their candidates; - is standard input.
    #[arg(long, value_name = "FILE", default_value = "-")]
    input: PathBuf,
    /// What the candidates of queries that say nothing of it are to be [default: what the model's recipe says].
    #[arg(long, value_name = "S")]
    instruction: Option<String>,
    #[command(flatten)]
    model: ModelOptions,
}

/// A line, read.
struct Query {
    id: String,
    query: Input,
    /// With their ids, or with why there is none.
    candidates: Vec<(Option<String>, Result<Input>)>,
}

pub(crate) fn run(arguments: Arguments) -> Result<Outcome> {
    if arguments.model.model.is_none() {
        bail!("no model: give --model, such as Qwen/Qwen3-VL-Reranker-2B");
    }
    let (reader, base): (Box<dyn Read>, _) = if arguments.input == Path::new("-") {
        (Box::new(std::io::stdin()), PathBuf::new())
    } else {
        let opened = File::open(&arguments.input)
            .with_context(|| format!("cannot read {}", arguments.input.display()))?;
        (Box::new(opened), arguments.input.parent().map(Path::to_owned).unwrap_or_default())
    };
    let reranker = arguments.model.reranker(&arguments.model.resolve()?)?;
    let cancel = stop_on_ctrl_c()?;
    let (mut done, mut failed) = (0, 0);
    for line in Lines::new(reader) {
        if cancel.is_cancelled() {
            break;
        }
        let place = |number| format!("{}:{number}", name(&arguments.input));
        let (number, text) = match line {
            Ok(line) => (line.number, Ok(line.text)),
            Err(LineError::Text { number, reason }) => (number, Err(anyhow!(reason))),
            Err(error) => return Err(anyhow!("cannot read {}: {error}", name(&arguments.input))),
        };
        let ranked = text.and_then(|text| {
            let mut query = Query::read(&text, &base, || place(number))?;
            if query.query.instruction.is_none() {
                query.query.instruction.clone_from(&arguments.instruction);
            }
            query.rank(&reranker, &cancel)
        });
        match ranked {
            Ok(_) if cancel.is_cancelled() => break,
            Ok((line, of_candidates)) => {
                print(&line)?;
                (done, failed) = (done + 1, failed + of_candidates);
            }
            Err(error) => {
                report(&error.context(place(number)));
                failed += 1;
            }
        }
    }
    if cancel.is_cancelled() {
        return Ok(stopped(&format!("the candidates of {} are ranked", counted(done, "query", "queries"))));
    }
    if done + failed == 0 {
        bail!("nothing to rank: {} has no line", name(&arguments.input));
    }
    Ok(Outcome::of(done, failed))
}

impl Query {
    fn read(line: &str, base: &Path, place: impl Fn() -> String) -> Result<Self> {
        let mut line: serde_json::Map<String, Value> =
            serde_json::from_str(line).context("not a query with candidates")?;
        let id = match line.remove("id") {
            Some(Value::String(id)) => id,
            Some(id @ Value::Number(_)) => id.to_string(),
            Some(other) => bail!("`id` is {other}, expected a string or a number"),
            None => place(),
        };
        let query = line.remove("query").context("it has no `query`")?;
        let (_, query) = Input::from_json(&query.to_string(), base).context("query")?;
        let candidates = match line.remove("candidates") {
            Some(Value::Array(candidates)) if !candidates.is_empty() => candidates,
            _ => bail!("it has no `candidates`, which is a list of at least one"),
        };
        if let Some(unknown) = line.keys().next() {
            bail!("unknown key `{unknown}`, expected `id`, `query` and `candidates`");
        }
        let candidate = |value: Value| match Input::from_json(&value.to_string(), base) {
            Ok((id, input)) => (id, Ok(input)),
            Err(error) => (None, Err(error.into())),
        };
        Ok(Self { id, query, candidates: candidates.into_iter().map(candidate).collect() })
    }

    /// The line of its result, and how many candidates have none.
    fn rank(self, reranker: &Reranker, cancel: &CancelToken) -> Result<(String, usize)> {
        let (mut inputs, mut faults) = (Vec::new(), Vec::new());
        for (place, (_, candidate)) in self.candidates.iter().enumerate() {
            match candidate {
                Ok(input) => inputs.push((place, input.clone())),
                Err(error) => faults.push((place, format!("{error:#}"))),
            }
        }
        let (places, inputs): (Vec<usize>, Vec<Input>) = inputs.into_iter().unzip();
        let mut ranked = Vec::new();
        for (place, scored) in
            places.into_iter().zip(reranker.score_with(&self.query, &inputs, cancel, |_| {})?)
        {
            match scored {
                Ok(relevance) => {
                    let of = format!("{}, candidate {place}", self.id);
                    relevance.warnings.iter().for_each(|warning| warn(&format!("{of}: {warning}")));
                    ranked.push((place, relevance.score));
                }
                Err(error) => faults.push((place, format!("{:#}", anyhow::Error::from(error)))),
            }
        }
        ranked.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        let id = |place: usize| self.candidates.get(place).and_then(|(id, _)| id.as_deref());
        let results = ranked.iter().enumerate().map(|(rank, &(place, score))| {
            let mut result = json!({"rank": rank + 1, "candidate": place, "score": score});
            if let Some(id) = id(place) {
                result["id"] = json!(id);
            }
            result
        });
        let mut line = json!({"id": self.id, "results": results.collect::<Vec<_>>()});
        for (place, reason) in &faults {
            report(&anyhow!("{}, candidate {place}: {reason}", self.id));
        }
        if !faults.is_empty() {
            let errors = faults.iter().map(|(place, reason)| json!({"candidate": place, "error": reason}));
            line["errors"] = errors.collect();
        }
        Ok((line.to_string(), faults.len()))
    }
}

/// Scores what was found by its files: one result each.
pub(crate) fn score(
    reranker: &Reranker,
    query: &Input,
    inputs: &[Input],
    quiet: bool,
) -> Result<Vec<Result<Relevance>>> {
    let bar = progress_bar(inputs.len(), "hits", quiet);
    let cancel = stop_on_ctrl_c()?;
    let scored =
        reranker.score_with(query, inputs, &cancel, |progress| bar.set_position(progress.done as u64));
    bar.finish_and_clear();
    Ok(scored?.into_iter().map(|scored| Ok(scored?)).collect())
}

/// What a hit stands for.
pub(crate) fn input(hit: &LibraryHit) -> Input {
    match hit.entry.kind {
        MediaKind::Video => {
            let video = VideoPart::new(&hit.entry.path);
            Input::default().and_part(Part::Video(match hit.time_range {
                Some(range) => video.with_range(range).with_clock(RangeClock::Display),
                None => video,
            }))
        }
        _ => Input::image(&hit.entry.path),
    }
}
