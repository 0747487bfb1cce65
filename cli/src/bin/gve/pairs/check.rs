use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use gve::review::{Count, Kind, Review, ReviewError, ReviewEvent, ReviewSettings, page, review};
use gve::store::write_file;
use gve_cli::interrupt::{stop_on_ctrl_c, stopped};
use gve_cli::options::whole;
use gve_cli::output::{Outcome, counted, name, note, print, progress_bar};

/// Look through pairs before they are trained on.
#[derive(Args)]
#[command(after_help = "\
Examples:
  gve pairs check pairs.jsonl
  gve pairs check train.jsonl --held-out ~/UVRB --held-out eval.jsonl
  gve pairs check train.jsonl --decode --page look.html --examples 24 --seed 7

Two files are the same by what they hold, whatever they are called; two texts by their words, without case and
punctuation. Below what is held out, every image and video counts, and every text of three words or more in JSON lines, JSON,
CSV, TSV, Parquet, Arrow and text files. Exit status: 0 nothing wrong, 2 something, each named, 1 no pairs.")]
pub(crate) struct Arguments {
    /// JSONL files of pairs.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// A file or folder whose media and texts should not be among the pairs, such as the data sets of UVRB or
    /// pairs to evaluate on; may be given again.
    #[arg(long, value_name = "PATH")]
    held_out: Vec<PathBuf>,
    /// Decode each image, and of each video the first picture, the middle one and the last.
    #[arg(long)]
    decode: bool,
    /// Write a page of examples, with pictures, to look at in a browser.
    #[arg(long, value_name = "FILE.html")]
    page: Option<PathBuf>,
    /// Examples of each task on the page.
    #[arg(long, value_name = "N", default_value_t = ReviewSettings::default().examples, value_parser = whole::<usize>(0))]
    examples: usize,
    /// Of the choice of examples.
    #[arg(long, value_name = "S", default_value_t = ReviewSettings::default().seed, value_parser = whole::<u64>(0))]
    seed: u64,
    /// Print the counts as JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Outcome> {
    let settings = ReviewSettings::default()
        .with_held_out(arguments.held_out.clone())
        .with_examples(if arguments.page.is_some() { arguments.examples } else { 0 })
        .with_seed(arguments.seed)
        .with_decode(arguments.decode);
    let cancel = stop_on_ctrl_c()?;
    let bar = progress_bar(0, "media", !arguments.decode);
    let looked = review(&arguments.files, &settings, &cancel, &mut |event| match event {
        ReviewEvent::Finding(finding) => {
            bar.suspend(|| note(&format!("{}: {}", finding.place, finding.reason)))
        }
        ReviewEvent::Decoded { done, total } => {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
        }
        _ => {}
    });
    bar.finish_and_clear();
    let looked = match looked {
        Err(ReviewError::Cancelled) => return Ok(stopped("no counts")),
        looked => looked?,
    };
    if let Some(path) = &arguments.page {
        let files: Vec<String> = arguments.files.iter().map(|path| path.display().to_string()).collect();
        let page = page(&looked, &files.join(", "));
        write_file(path, |file| file.write_all(page.as_bytes()))?;
    }
    if arguments.json {
        print(&as_json(&looked, arguments.decode))?
    } else {
        tell(&looked)?
    }
    if let Some(path) = &arguments.page {
        note(&format!("{} in {}", counted(looked.examples.len(), "example", "examples"), name(path)));
    }
    Ok(match (looked.pairs(), looked.findings.is_empty()) {
        (0, _) => Outcome::Nothing,
        (_, true) => Outcome::Complete,
        (_, false) => Outcome::Partial,
    })
}

/// Columns that names take at least.
const SHORTEST_NAME: usize = 22;

fn tell(looked: &Review) -> Result<()> {
    let media = counted(looked.media, "different medium", "different media");
    print(&format!("{}, {media}", counted(looked.pairs(), "pair", "pairs")))?;
    let from = |source: &str| format!("from {}", if source.is_empty() { "(no source)" } else { source });
    let tasks = looked.tasks.iter().map(|(task, count)| (task.to_string(), count));
    let lines: Vec<(String, &Count)> =
        tasks.chain(looked.sources.iter().map(|(source, count)| (from(source), count))).collect();
    let longest = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0).max(SHORTEST_NAME);
    for (name, count) in lines {
        print(&format!("{name:<longest$}{:>9} pairs{:>9} negatives", count.pairs, count.negatives))?;
    }
    let (media, texts) = looked.held_out;
    if media + texts > 0 {
        let (media, texts) = (counted(media, "medium", "media"), counted(texts, "text", "texts"));
        print(&format!("compared with {media} and {texts}, held out"))?;
    }
    for kind in Kind::ALL {
        if let Some(count) = looked.findings.get(&kind) {
            print(&format!("{:<longest$}{count:>9} pairs", kind.name()))?;
        }
    }
    Ok(())
}

fn as_json(looked: &Review, decoded: bool) -> String {
    let counts = |counts: Vec<(String, &Count)>| {
        let count = |count: &Count| serde_json::json!({"pairs": count.pairs, "negatives": count.negatives});
        counts.into_iter().map(|(name, of)| (name, count(of))).collect::<serde_json::Map<_, _>>()
    };
    let looked_for = Kind::ALL.into_iter().filter(|kind| decoded || *kind != Kind::Damaged);
    let findings = looked_for
        .map(|kind| (kind.name().to_owned(), looked.findings.get(&kind).copied().unwrap_or(0).into()));
    serde_json::json!({
        "pairs": looked.pairs(), "media": looked.media,
        "tasks": counts(looked.tasks.iter().map(|(task, count)| (task.to_string(), count)).collect()),
        "sources": counts(looked.sources.iter().map(|(source, count)| (source.clone(), count)).collect()),
        "findings": serde_json::Map::from_iter(findings),
    })
    .to_string()
}
