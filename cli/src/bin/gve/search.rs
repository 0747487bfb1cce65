use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use gve::hub::NANO;
use gve::indexer::{library_manifest, with_settings_of};
use gve::retrieval::{LibraryHit, SearchOptions, Unit};
use gve::{Embedder, Embedding, Input, Reranker, TimeRange};
use gve_cli::options::{DimOptions, FeedbackOptions, ModelOptions, RerankOptions, whole};
use gve_cli::output::{Outcome, counted, name, note, print, printable, report, warn};

use crate::filters::FilterOptions;
use crate::library::{find_model, open_library, report_damage};
use crate::rerank::{input, score};
use crate::thumbnails::thumbnails;

/// What a line of `--json` has of a hit.
const FIELDS: [&str; 6] = ["confidence", "end", "kind", "path", "score", "start"];

#[derive(Args)]
#[command(after_help = "\
Examples:
  gve search --library lib \"a dog catches a ball\"
  gve search --library lib --image ball.png -k 5
  gve search --library lib --video clip.mp4 \"now in the forest\" --json
  gve search --library lib \"a dog catches a ball\" --moments --thumbnails found
  gve search --library lib \"a dog catches a ball\" --under ~/Videos/2025 --kind video --min-duration 60
  gve search --library lib \"a dog catches a ball\" --min-confidence 0.9
  gve search --library lib \"a dog catches a ball\" --feedback 5 --dim 256
  gve search --library lib \"a dog catches a ball\" --rerank Qwen/Qwen3-VL-Reranker-2B --rerank-top 50

The model and its settings are the library's own. A name that would not be one line is shown as in a JSON string, `\\n` for a
line end and so on; --json has every name as it is. With --min-confidence, exit status 1 if nothing fits.")]
pub(crate) struct Arguments {
    /// Directory of the library.
    #[arg(long, value_name = "DIR")]
    library: PathBuf,
    /// What to look for. With --image or --video, text and picture make one query.
    #[arg(value_name = "TEXT")]
    text: Option<String>,
    /// An image to look for.
    #[arg(long, value_name = "P")]
    image: Option<PathBuf>,
    /// A video to look for.
    #[arg(long, value_name = "P")]
    video: Option<PathBuf>,
    /// What the query asks for, as the system turn; '' for none [default: what the model's recipe says of
    /// such queries].
    #[arg(long, value_name = "S")]
    instruction: Option<String>,
    /// Number of results.
    #[arg(short, value_name = "N", default_value_t = 10, value_parser = whole::<usize>(1))]
    k: usize,
    /// Find every moment that fits, instead of the best one of each video; neighbours in a video that fit
    /// nearly as well are one result.
    #[arg(long)]
    moments: bool,
    /// Find videos by what they are as a whole, instead of by their best moments.
    #[arg(long, conflicts_with = "moments")]
    files: bool,
    /// Show behind its score how unusual each result is for this query in this library, from 0 to 1, and leave
    /// out those below P: the share of made-up queries, each halfway between two rows of the library, that
    /// find nothing as good. A library has to have 50 rows, which are files and moments.
    #[arg(long, value_name = "P", value_parser = share, conflicts_with = "pseudo_query")]
    min_confidence: Option<f32>,
    /// Write a picture of each result there, of the middle of the moment: 001.jpg and so on, by rank. Those
    /// of an earlier search go; files of others stay, and are an error where one has such a name.
    #[arg(long, value_name = "DIR")]
    thumbnails: Option<PathBuf>,
    /// Print JSON lines.
    #[arg(long)]
    json: bool,
    /// Score every embedding of a library that is too large for memory, and not those alone that may be among
    /// the best by their codes of one bit a value.
    #[arg(long)]
    exact: bool,
    #[command(flatten)]
    filters: FilterOptions,
    #[command(flatten)]
    feedback: FeedbackOptions,
    #[command(flatten)]
    rerank: RerankOptions,
    #[command(flatten)]
    model: ModelOptions,
    #[command(flatten)]
    dim: DimOptions,
}

pub(crate) fn run(arguments: Arguments) -> Result<Outcome> {
    let mut query = query(&arguments)?;
    let feedback = arguments.feedback.feedback()?;
    let filter = arguments.filters.filter()?;
    let unit = match (arguments.moments, arguments.files) {
        (true, _) => Unit::Moment,
        (_, true) => Unit::File,
        _ => Unit::BestMoment,
    };
    let library = open_library(&arguments.library, arguments.model.quiet)?;
    report_damage(library.damage());
    let manifest = library.manifest();

    let mut options = arguments.model;
    if options.model.is_none() {
        options.revision = options.revision.or_else(|| manifest.revision.clone());
        // Nobody chose nano here: what is said of it elsewhere is no advice for its library.
        options.model = Some(manifest.model.clone()).filter(|model| model != NANO);
        options.adapter = options.adapter.or_else(|| manifest.adapter.as_ref().map(|a| a.directory.clone()));
    }
    let model = find_model(&options, &arguments.library)?;
    let builder = with_settings_of(manifest, options.builder(&model)?)?;
    let embedder = options.load(builder)?;
    let mut ours = library_manifest(&embedder);
    // It may have been made of embeddings that were cut.
    ours.dim = ours.dim.min(manifest.dim);
    ours.moments = manifest.moments;
    library.require_manifest(&ours)?;
    let dim = arguments.dim.dim.unwrap_or(manifest.dim);
    if dim > manifest.dim {
        bail!("--dim {dim} is more than the {} values of the library's embeddings", manifest.dim);
    }
    embedder.check_dim(dim, arguments.dim.force_dim || dim == manifest.dim)?;
    // A reranker has an instruction of its own.
    let own_instruction = query.instruction.clone();
    // What a library was made with holds for its queries, too.
    if query.instruction.is_none() && manifest.instruction.is_none() {
        query.instruction = embedder.query_instruction(&query).map(str::to_owned);
    }
    if options.verbose {
        let instruction = query.instruction.as_deref().filter(|instruction| !instruction.is_empty());
        note(&match instruction {
            Some(instruction) => format!("instruction of the query: {}", printable(instruction)),
            None => "the query has no instruction of its own".to_owned(),
        });
    }
    let embed = |query: &Input| -> Result<Embedding> {
        let embedding = embedder.embed_one(query)?;
        let embedding = embedding.cut(dim).context("the query has no direction in so few values")?;
        embedding.warnings().iter().for_each(|warning| warn(&format!("the query: {warning}")));
        Ok(embedding)
    };
    let asks_again = arguments.feedback.pseudo_query(&embedder)?;
    let mut failed = 0;
    let mut embedding = embed(&query)?;

    // Before what it would be in vain for.
    let reranker = arguments.rerank.load(&options, |builder| builder)?;
    let most = if reranker.is_some() { arguments.k.max(arguments.rerank.rerank_top) } else { arguments.k };
    if let Some(recipe) = asks_again {
        let wanted = SearchOptions::new(recipe.most_candidates).with_unit(unit).with_filter(filter.clone());
        let wanted = wanted.with_dim(Some(dim)).with_exact(arguments.exact);
        let found = library.search_for(embedding.as_slice().into(), &wanted)?;
        let (asked, unreadable) = asked_again(&embedder, &query, &found)?;
        failed += unreadable;
        embedding = embed(&asked)?;
    }
    let wanted = SearchOptions::new(most).with_unit(unit).with_feedback(feedback).with_filter(filter);
    // All of them, for the best tells how little fits.
    let asks = arguments.min_confidence.map(|_| 0.0);
    let wanted = wanted.with_dim(Some(dim)).with_exact(arguments.exact).with_min_confidence(asks);
    let mut hits = library.search_for(embedding.as_slice().into(), &wanted)?;
    if hits.is_empty() {
        note(match library.entries() {
            [] => "nothing was found: the library is empty",
            _ => "nothing was found: no file of the library is what the filters ask for",
        });
    }
    if let Some(least) = arguments.min_confidence {
        leave_fitting(&mut hits, least, library.entries().len());
    }
    let mut hits: Vec<Hit> = hits.into_iter().map(|hit| Hit { hit, reranked: None }).collect();
    if let Some((reranker, _)) = &reranker {
        query.instruction = own_instruction;
        let top = arguments.rerank.rerank_top.min(hits.len());
        let (first, _) = hits.split_at_mut(top);
        failed += rerank(reranker, &query, first, options.quiet)?;
    }
    if let Some(directory) = &arguments.thumbnails {
        failed += thumbnails(directory, hits.iter().take(arguments.k).map(|hit| &hit.hit))?;
    }
    for (rank, hit) in hits.iter().take(arguments.k).enumerate() {
        print(&if arguments.json { hit.json(rank + 1)? } else { hit.row(rank + 1) })?;
    }
    let decayed = library.take_damage();
    report_damage(&decayed);
    if arguments.min_confidence.is_some() && hits.is_empty() {
        return Ok(Outcome::Nothing);
    }
    Ok(Outcome::of(library.entries().len(), library.damage().len() + decayed.len() + failed))
}

/// Leaves out what is less unusual than `least`, and says so where that is all.
fn leave_fitting(hits: &mut Vec<LibraryHit>, least: f32, rows: usize) {
    let Some(best) = hits.first() else { return };
    let rows = counted(rows, "row", "rows");
    let (score, Some(confidence)) = (best.score, best.confidence) else {
        return warn(&format!(
            "nobody can tell how unusual a score is in a library of {rows}: none is left out"
        ));
    };
    hits.retain(|hit| hit.confidence.is_some_and(|confidence| confidence >= least));
    if hits.is_empty() {
        note(&format!(
            "nothing here fits: the best hit is usual for this library of {rows} (confidence \
             {:.2}, score {score:.4})",
            shown(confidence)
        ));
    }
}

/// A confidence with two digits, cut and not rounded: none is shown as a bound that it is below, such as 1.
fn shown(confidence: f32) -> f32 {
    (confidence * 100.0).floor() / 100.0
}

/// A number from 0 to 1.
fn share(text: &str) -> Result<f32, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "expected a number from 0 to 1".to_owned())
}

/// The query together with what was found for it, and how many files could not be read for that.
fn asked_again(embedder: &Embedder, query: &Input, found: &[LibraryHit]) -> Result<(Input, usize)> {
    let candidates: Vec<Input> = found.iter().map(input).collect();
    let mut unreadable = 0;
    let readable = candidates.iter().filter(|candidate| match embedder.prepare(candidate) {
        Ok(_) => true,
        Err(error) => {
            report(&anyhow::Error::from(error).context("the query is asked again without it"));
            unreadable += 1;
            false
        }
    });
    let asked = embedder.pseudo_query(query, readable)?;
    Ok((asked, unreadable))
}

/// A hit, and what a reranker says of it.
struct Hit {
    hit: LibraryHit,
    reranked: Option<f32>,
}

/// Ranks `hits` by what `reranker` says; those whose files it cannot read come last, in the order they have.
/// Gives how many these are.
fn rerank(reranker: &Reranker, query: &Input, hits: &mut [Hit], quiet: bool) -> Result<usize> {
    let inputs: Vec<Input> = hits.iter().map(|hit| input(&hit.hit)).collect();
    let mut failed = 0;
    for (hit, scored) in hits.iter_mut().zip(score(reranker, query, &inputs, quiet)?) {
        match scored {
            Ok(relevance) => {
                let path = name(&hit.hit.entry.path);
                relevance.warnings.iter().for_each(|warning| warn(&format!("{path}: {warning}")));
                hit.reranked = Some(relevance.score);
            }
            Err(error) => {
                report(&error.context(format!("{} is not scored again", name(&hit.hit.entry.path))));
                failed += 1;
            }
        }
    }
    // No score is below 0.
    hits.sort_by(|a, b| b.reranked.unwrap_or(-1.0).total_cmp(&a.reranked.unwrap_or(-1.0)));
    Ok(failed)
}

fn query(arguments: &Arguments) -> Result<Input> {
    let mut query = Input { instruction: arguments.instruction.clone(), ..Input::default() };
    if let Some(video) = &arguments.video {
        query = query.and_video(video);
    }
    if let Some(image) = &arguments.image {
        query = query.and_image(image);
    }
    if let Some(text) = &arguments.text {
        query = query.and_text(text);
    }
    if query.parts.is_empty() {
        bail!("nothing to search for: give a text, --image or --video");
    }
    Ok(query)
}

impl Hit {
    fn row(&self, rank: usize) -> String {
        let entry = &self.hit.entry;
        let range = self
            .hit
            .time_range
            .and_then(TimeRange::bounds)
            .map_or_else(String::new, |(start, end)| format!("  {start:.1}-{end:.1} s"));
        let reranked = self.reranked.map_or_else(String::new, |score| format!("  {score:.4}"));
        let confidence =
            self.hit.confidence.map_or_else(String::new, |share| format!("  {:.2}", shown(share)));
        format!("{rank:>3}{reranked}  {:.4}{confidence}  {}{range}", self.hit.score, name(&entry.path))
    }

    /// Those of the hit's own fields that are promised, and what is known here.
    fn json(&self, rank: usize) -> Result<String> {
        let mut line = serde_json::to_value(&self.hit)?;
        if let Some(line) = line.as_object_mut() {
            line.retain(|name, _| FIELDS.contains(&name.as_str()));
            line.insert("rank".to_owned(), rank.into());
            line.extend(self.reranked.map(|score| ("rerank_score".to_owned(), score.into())));
        }
        Ok(line.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn no_confidence_is_shown_as_what_it_is_below() {
        for (confidence, expected) in [
            (0.0, "0.00"),
            (0.5, "0.50"),
            (0.897, "0.89"),
            (0.98, "0.98"),
            (0.996, "0.99"),
            (0.999_999_9, "0.99"),
        ] {
            assert_eq!(format!("{:.2}", shown(confidence)), expected, "{confidence}");
        }
    }
}
