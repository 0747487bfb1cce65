mod damage;
mod told;
mod watching;

use std::io::{IsTerminal, stderr, stdin};
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use clap::Args;
use gve::indexer::{
    Doubt, Estimate, Extent, FindOptions, Found, IndexError, IndexOptions, MediaFile, PassedOver, PrunePlan,
    Recognition, estimate, find_with, index_with, library_manifest, plan_prune, remember_mounts,
};
use gve::retrieval::{LibraryManifest, LibraryWriter, PathPattern, RetrievalError, StoreDType};
use gve::{CancelToken, Moments};
use gve_cli::interrupt::{stop_on_ctrl_c, stopped};
use gve_cli::options::{DimOptions, ModelOptions, PixelOptions, SamplingOptions, store_dtype};
use gve_cli::output::{Outcome, counted, name, note, print, progress_bar, report, warn};
use gve_cli::process::tune_for_indexing;
use indicatif::{HumanBytes, HumanDuration};

use damage::Damage;
use told::{Counts, tell_kept};

use crate::library::{find_model, open_library, tell_format, tell_passed_over};

/// Files of a run that says first what it will cost.
const LONG_RUN: usize = 100;
/// Files to be forgotten that are named.
const MOST_NAMED: usize = 24;

#[derive(Args)]
#[command(after_help = "\
Examples:
  gve index ~/Videos --library ~/.local/share/gve --model Alibaba-NLP/GVE-3B
  gve index ~/Videos --library moments --model Alibaba-NLP/GVE-3B --moments shots
  gve index ~/Videos --library lib --model Alibaba-NLP/GVE-3B --dry-run
  gve index ~/Videos --library lib --model Alibaba-NLP/GVE-3B --watch
  gve index ~/Videos --library lib --model Alibaba-NLP/GVE-3B --exclude cache --exclude \"*-draft.mp4\"
  gve index holiday.mp4 more/ --library lib --model ./GVE-3B --fps 1 --max-frames 64

A second run adds only what is new or changed; a run that was stopped goes on where it was. Files are known by what they
hold: one that was moved or renamed keeps its embeddings, and a copy gets those of the other. Ctrl-C stops after what is
under way; a second Ctrl-C ends at once.")]
pub(crate) struct Arguments {
    /// Files and folders; folders are searched for videos and images.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// Directory of the library, made if need be.
    #[arg(long, value_name = "DIR")]
    library: PathBuf,
    /// Take a file for what its content is, whatever its name ends in.
    #[arg(long)]
    any_name: bool,
    /// Leave out files and folders of such a name (cache, *-draft.mp4), or such a path (raw/*.mov); may be
    /// given more than once. What the library has of them stays; with --prune it is forgotten.
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<PathPattern>,
    /// Cut videos into moments, each to be found by itself: shots, or stretches of so many seconds, which may
    /// overlap by at most half of that (10, 10:2). A library is of one kind.
    #[arg(long, value_name = "shots|S[:OVERLAP]", value_parser = moments)]
    moments: Option<Moments>,
    /// In which precision embeddings are kept on disk: f32, f16 (half as large) or int8 (a quarter). One that
    /// a library was made with stays.
    #[arg(long, value_name = "f32|f16|int8", value_parser = store_dtype)]
    store_dtype: Option<StoreDType>,
    /// Forget files under PATH that are gone or left out by --exclude. Those of a folder that is not there, cannot be read, has become
    /// empty or is on another mount than before are kept: a drive may be away. Asks before much of the
    /// library is forgotten.
    #[arg(long)]
    prune: bool,
    /// Forget every file that is not there now, under PATH or not, whatever the reason.
    #[arg(long)]
    prune_all: bool,
    /// Forget much of the library without asking.
    #[arg(long)]
    yes: bool,
    /// Go on: add what comes to the folders or changes there once it is written, follow what moves, forget
    /// what is deleted. Nothing is forgotten with a drive that goes away. Ctrl-C ends it.
    #[arg(long, conflicts_with = "dry_run")]
    watch: bool,
    /// With --watch, how long a file has to stay as it is before it is taken up.
    #[arg(long, value_name = "SECONDS", requires = "watch", default_value = "2", value_parser = seconds)]
    settle: Duration,
    /// With --watch, how often all folders are searched besides, for what the system does not tell of, as
    /// changes that others make on a network drive.
    #[arg(long, value_name = "SECONDS", requires = "watch", default_value = "900", value_parser = pause)]
    rescan: Duration,
    /// Say what it would cost (files, hours of video, tokens, time, size), and stop there.
    #[arg(long, conflicts_with_all = ["prune", "prune_all"])]
    dry_run: bool,
    /// Print the summary as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    model: ModelOptions,
    #[command(flatten)]
    dim: DimOptions,
    #[command(flatten)]
    sampling: SamplingOptions,
    #[command(flatten)]
    pixels: PixelOptions,
}

impl Arguments {
    fn recognition(&self) -> Recognition {
        if self.any_name { Recognition::ByContent } else { Recognition::ByName }
    }

    /// Refuses a precision that the library was not made with.
    fn require_dtype(&self, manifest: &LibraryManifest) -> Result<()> {
        let kept = manifest.store_dtype;
        match self.store_dtype {
            Some(wanted) if wanted != kept => bail!(
                "the library {} keeps embeddings in {}, not in {}: leave --store-dtype out, or use another library directory",
                name(&self.library),
                kept.name(),
                wanted.name()
            ),
            _ => Ok(()),
        }
    }
}

pub(crate) fn run(arguments: Arguments) -> Result<Outcome> {
    tune_for_indexing();
    let sampling = arguments.sampling.sampling()?;
    let mut searched = Searched::new(&arguments);
    let mut counts = Counts::default();
    searched.tell_failures(&mut counts);
    searched.tell_passed_over(&arguments);

    let model = find_model(&arguments.model, &arguments.library)?;
    let builder = arguments.model.builder(&model)?.sampling(sampling);
    let builder = arguments.dim.set(arguments.pixels.apply_to(builder));
    let embedder = arguments.model.load(builder)?;
    let mut manifest = library_manifest(&embedder);
    manifest.moments = arguments.moments;
    manifest.store_dtype = arguments.store_dtype.unwrap_or_default();
    let cancel = stop_on_ctrl_c()?;
    if arguments.dry_run || searched.files.len() >= LONG_RUN {
        let library = match open_library(&arguments.library, arguments.model.quiet) {
            Err(RetrievalError::NotALibrary { .. }) => None,
            library => Some(library?),
        };
        if let Some(library) = &library {
            library.require_manifest(&manifest)?;
            arguments.require_dtype(library.manifest())?;
        }
        match estimate(&embedder, library.as_ref(), &manifest, &searched.files, &cancel) {
            Ok(cost) if arguments.dry_run => {
                print(&if arguments.json { as_json(&cost) } else { in_words(&cost) })?;
                return Ok(Outcome::of(1, counts.totals.failed));
            }
            Ok(cost) if !arguments.model.quiet => note(&in_words(&cost)),
            Err(IndexError::Cancelled) => return Ok(stopped("nothing was added")),
            cost => drop(cost?),
        }
    }
    let Some((mut library, has_waited)) = open_writer(&arguments, &manifest, &searched, &cancel)? else {
        if cancel.is_cancelled() {
            return Ok(stopped("nothing was added"));
        }
        counts.print(&searched.passed_over, arguments.json)?;
        return Ok(Outcome::Nothing);
    };
    if has_waited {
        // What was found may be gone by now, and there may be more.
        searched = Searched::new(&arguments);
        searched.tell_failures(&mut counts);
    }
    tell_format(&library);
    arguments.require_dtype(library.manifest())?;
    let mut damage = Damage::in_library(&library, arguments.model.quiet);
    remember_mounts(&library, &searched.found)?;

    let bar = progress_bar(searched.files.len(), "files", arguments.model.quiet);
    let roots = searched.found.iter().map(|found| found.root.clone()).collect();
    let options = IndexOptions::default().with_cancel(cancel.clone()).with_searched(roots);
    let indexed = index_with(&embedder, &mut library, &searched.files, &options, |event| {
        damage.see(&event);
        counts.tell(&event, &bar);
    });
    let mut pruned = Ok(());
    let is_stopped = match indexed {
        Ok(_) => {
            bar.finish_and_clear();
            // Last, so that what only moved is not forgotten.
            pruned = prune(&mut library, &searched.found, &arguments, &mut counts);
            counts.totals.failed += damage.tell_lost(&library, &searched, &counts.totals)?;
            library.finish()?;
            false
        }
        Err(IndexError::Cancelled) => true,
        Err(error) => return Err(error.into()),
    };
    bar.finish_and_clear();
    counts.print(&searched.passed_over, arguments.json)?;
    if let Err(error) = pruned {
        report(&error);
        return Ok(counts.outcome_with(1));
    }
    if is_stopped || cancel.is_cancelled() {
        return Ok(stopped("what was added is in the library, and the same command goes on from there"));
    }
    if arguments.watch {
        return watching::watch(&embedder, &manifest, &arguments, cancel, counts);
    }
    Ok(searched.outcome(&counts))
}

/// The library for writing, and whether others had to be waited for. `None` where somebody asks to stop
/// before, and where there is none, and nothing that one could be made of: it would have its settings for
/// ever.
fn open_writer(
    arguments: &Arguments,
    manifest: &LibraryManifest,
    searched: &Searched,
    cancel: &CancelToken,
) -> Result<Option<(LibraryWriter, bool)>> {
    let directory = &arguments.library;
    let is_library = || !matches!(LibraryManifest::read(directory), Err(RetrievalError::NotALibrary { .. }));
    // Something may come to a path that is there. One that is not may be mistyped.
    if arguments.watch && (is_library() || arguments.paths.iter().any(|path| path.exists())) {
        return watching::open(directory, manifest, cancel);
    }
    if !searched.files.is_empty() {
        return Ok(Some((LibraryWriter::create_or_open(directory, manifest.clone())?, false)));
    }
    match LibraryWriter::open(directory, manifest.clone()) {
        Err(RetrievalError::NotALibrary { .. }) => {
            warn(&format!("no library is made in {}, as nothing was found to index", name(directory)));
            Ok(None)
        }
        library => Ok(Some((library?, false))),
    }
}

/// What a run would cost, as a line.
fn in_words(cost: &Estimate) -> String {
    let Estimate { videos, images, known, video_seconds, rows, tokens, time, bytes, probed, .. } = cost;
    let others = match known {
        0 => String::new(),
        _ => format!("; {} in the library by another name or date", counted(*known, "file is", "files are")),
    };
    if videos + images == 0 {
        return format!("nothing new to embed{others}");
    }
    let length = HumanDuration(Duration::from_secs_f64(*video_seconds));
    let size = HumanBytes(*bytes);
    let time = match probed {
        0 => "how long it takes is not known: none of the videos, or none of the images, that were tried could be embedded".to_owned(),
        _ => format!(
            "about {} here, by a probe of {}",
            HumanDuration(*time),
            counted(*probed, "file", "files")
        ),
    };
    let (videos, images) = (counted(*videos, "video", "videos"), counted(*images, "image", "images"));
    let rows = counted(*rows, "embedding", "embeddings");
    format!("{videos} ({length} in all) and {images}: {rows}, {tokens} tokens, {size}; {time}{others}")
}

fn as_json(cost: &Estimate) -> String {
    let Estimate { videos, images, known, video_seconds, rows, tokens, time, bytes, probed, .. } = cost;
    serde_json::json!({
        "videos": videos, "images": images, "known": known, "video_seconds": video_seconds, "rows": rows, "tokens": tokens,
        "seconds": time.as_secs_f64(), "bytes": bytes, "probed": probed,
    })
    .to_string()
}

/// A time as options have it.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.ok_or_else(|| format!("{text:?} is no number of seconds"))
}

/// A time between two searches: without one they would take all of the machine.
fn pause(text: &str) -> Result<Duration, String> {
    let pause = seconds(text)?;
    if pause.is_zero() { Err("expected more than 0 seconds".to_owned()) } else { Ok(pause) }
}

/// How `--moments` has it.
fn moments(text: &str) -> Result<Moments, String> {
    if text == "shots" {
        return Ok(Moments::shots());
    }
    let seconds = |text: &str| {
        text.parse().map_err(|_| format!("{text:?} is no number of seconds; expected shots, 10 or 10:2"))
    };
    let (length, overlap) = text.split_once(':').unwrap_or((text, "0"));
    let moments = Moments::Windows { length_seconds: seconds(length)?, overlap_seconds: seconds(overlap)? };
    moments.fault().map_or(Ok(moments), Err)
}

/// What lies at the paths.
struct Searched {
    found: Vec<Found>,
    /// All files, each once, in order.
    files: Vec<MediaFile>,
    passed_over: PassedOver,
    /// What cannot be looked at.
    failures: Vec<IndexError>,
}

impl Searched {
    /// Searches all paths.
    fn new(arguments: &Arguments) -> Self {
        let options = FindOptions::default()
            .with_recognition(arguments.recognition())
            .with_exclude(arguments.exclude.clone());
        let mut found: Vec<Found> = arguments.paths.iter().map(|path| find_with(path, &options)).collect();
        let mut files: Vec<MediaFile> = found.iter().flat_map(|found| found.files.iter().cloned()).collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        files.dedup();
        let mut passed_over = PassedOver::default();
        found.iter().for_each(|found| passed_over.add(&found.passed_over));
        let failures: Vec<IndexError> = found.iter_mut().flat_map(|found| found.failures.drain(..)).collect();
        Self { found, files, passed_over, failures }
    }

    /// Says what cannot be looked at, as far as that was not said, and counts it anew.
    fn tell_failures(&self, counts: &mut Counts) {
        for message in self.failures.iter().map(ToString::to_string) {
            if counts.failures.insert(message.clone()) {
                report(&anyhow!(message));
            }
        }
        counts.totals.failed = self.failures.len();
    }

    fn tell_passed_over(&self, arguments: &Arguments) {
        let remedy = "--any-name looks at what is in files whose name does not say";
        let remedy = (!arguments.any_name).then_some(remedy);
        tell_passed_over(&self.passed_over, remedy, self.files.is_empty(), arguments.model.quiet);
        if arguments.model.verbose {
            self.passed_over.paths.iter().for_each(|path| note(&format!("passed over: {}", name(path))));
        }
    }

    /// How the run over these ended.
    fn outcome(&self, counts: &Counts) -> Outcome {
        let has_forgotten = counts.totals.forgotten > 0;
        if self.files.is_empty() && !self.passed_over.is_empty() && !has_forgotten {
            return Outcome::Nothing;
        }
        counts.outcome_with(0)
    }
}

/// Names what is to be forgotten, and not all of it where that is much.
fn tell_gone(plan: &PrunePlan) {
    for path in plan.gone.iter().take(MOST_NAMED) {
        let what = if path.exists() { "left out" } else { "gone" };
        note(&format!("{what}: {}", name(path)));
    }
    if plan.gone.len() > MOST_NAMED {
        note(&format!("gone: {} more", plan.gone.len() - MOST_NAMED));
    }
}

/// Asks before much is forgotten. Who asks to stop meanwhile says no.
fn may_forget(plan: &PrunePlan, yes: bool) -> Result<bool> {
    let gone = plan.gone.len();
    if yes || !plan.is_much() {
        return Ok(gone > 0);
    }
    let much = format!("{gone} of the {} files of the library are gone", plan.files);
    if !(stdin().is_terminal() && stderr().is_terminal()) {
        bail!("{much}, which is much: none is forgotten; --yes forgets them");
    }
    note(&format!("{much}: forget them? [y/N]"));
    let is_yes =
        answer()?.is_some_and(|answer| ["y", "yes"].contains(&answer.trim().to_lowercase().as_str()));
    if !is_yes {
        note("none is forgotten");
    }
    Ok(is_yes)
}

/// A line of the user, unless somebody asks to stop first.
fn answer() -> Result<Option<String>> {
    let (sender, lines) = mpsc::channel();
    // It waits for the line as long as there is the program.
    thread::spawn(move || {
        let mut line = String::new();
        // Nobody may wait any more.
        drop(sender.send(stdin().read_line(&mut line).map(|_| line)));
    });
    let cancel = stop_on_ctrl_c()?;
    loop {
        match lines.recv_timeout(Duration::from_millis(100)) {
            Ok(line) => return Ok(Some(line?)),
            Err(RecvTimeoutError::Timeout) if !cancel.is_cancelled() => {}
            Err(_) => return Ok(None),
        }
    }
}

/// Forgets what is gone, as far as that is asked for.
fn prune(
    library: &mut LibraryWriter,
    searched: &[Found],
    arguments: &Arguments,
    counts: &mut Counts,
) -> Result<()> {
    let extent = match (arguments.prune, arguments.prune_all) {
        (_, true) => Extent::NotThere,
        (true, false) => Extent::Gone,
        (false, false) => return Ok(()),
    };
    let plan = plan_prune(library, searched, extent)?;
    for ((folder, doubt), &count) in &plan.kept {
        tell_kept(folder, doubt, count);
        counts.kept += count;
        counts.in_doubt += if *doubt == Doubt::NotSearched { 0 } else { count };
    }
    if !arguments.model.quiet {
        tell_gone(&plan);
    }
    if may_forget(&plan, arguments.yes)? {
        counts.totals.forgotten += plan.carry_out(library)?;
    }
    Ok(())
}
