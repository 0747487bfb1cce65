use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::{Args, Subcommand, ValueEnum};
use gve::indexer::{PassedOver, Recognition, find, library_manifest};
use gve::media::MediaKind;
use gve::synth::SynthError;
use gve::synth::flow::{
    BUILT_IN_PROMPTS, Captioner, CaptionerSettings, Flow, FlowEvent, FlowPlan, FlowSettings, FlowSummary,
    Judgement, Prompts, SourceCaptions, Stage, StageReport,
};
use gve_cli::interrupt::stop_on_ctrl_c;
use gve_cli::options::{ModelOptions, PixelOptions, SamplingOptions, whole};
use gve_cli::output::{Outcome, counted, name, note, print, progress_bar, report, warn};
use gve_cli::proxies;
use indicatif::ProgressBar;

use crate::library::tell_passed_over;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make pairs of seven kinds from videos, with a multimodal model that describes them (V-SynFlow).
    Flow(Box<FlowArguments>),
    /// Write the built-in prompts into a folder, to be edited and given to `gve synth flow --prompts`.
    #[command(after_help = "\
Examples:
  gve synth prompts my-prompts")]
    Prompts {
        /// The folder, made if need be. Files that are there are kept.
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
}

#[derive(Args)]
#[command(after_help = "\
Examples:
  gve synth flow ~/Videos --out pairs --model Alibaba-NLP/GVE-3B \\
      --captioner http://localhost:8000/v1 --captioner-model Qwen/Qwen2.5-VL-72B-Instruct
  gve synth flow ~/Videos --out pairs --model Alibaba-NLP/GVE-3B --until quality \\
      --captioner http://localhost:11434/v1 --captioner-model qwen2.5vl
  GVE_CAPTIONER_KEY=sk-... gve synth flow clips/ --captions clips.jsonl --out pairs --model ./GVE-3B \\
      --captioner https://api.openai.com/v1 --captioner-model gpt-4o-mini --concurrency 16

The pairs are in DIR/pairs.jsonl, ready for gve train; what was dropped, and why, in DIR/report. A run that was
stopped, or left something without a usable answer, goes on when the same command is given again, and asks nothing
twice that was answered. Ctrl-C waits for the answers that are under way; a second one does not.
docs/synthesis.md walks through a run.")]
pub(crate) struct FlowArguments {
    /// Videos, and folders that are searched for videos.
    #[arg(value_name = "PATH", required = true)]
    videos: Vec<PathBuf>,
    /// Folder of the run, made if need be.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Captions that came with the videos, as JSON lines of video, caption and perhaps start and end in
    /// seconds.
    #[arg(long, value_name = "FILE")]
    captions: Option<PathBuf>,
    /// Folder of prompts that replace the built-in ones of the same name.
    #[arg(long, value_name = "DIR")]
    prompts: Option<PathBuf>,
    /// The last stage to run.
    #[arg(long, value_enum, default_value = "extension")]
    until: Until,
    /// What profiles, clips, frames and partners are drawn from.
    #[arg(long, value_name = "S", default_value_t = FlowSettings::default().seed, value_parser = whole::<u64>(0))]
    seed: u64,
    /// Print the summary as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    captioner: CaptionerOptions,
    #[command(flatten)]
    filters: FilterOptions,
    #[command(flatten)]
    model: ModelOptions,
    #[command(flatten)]
    sampling: SamplingOptions,
    #[command(flatten)]
    pixels: PixelOptions,
}

/// The multimodal model that describes videos.
#[derive(Args)]
#[command(next_help_heading = "Captioner")]
struct CaptionerOptions {
    /// Base URL of an OpenAI-compatible chat endpoint.
    #[arg(long, value_name = "URL")]
    captioner: String,
    /// Name of the model there.
    #[arg(long, value_name = "NAME")]
    captioner_model: String,
    /// Environment variable that holds the key [default: GVE_CAPTIONER_KEY, and no key if that is not set].
    #[arg(long, value_name = "VARIABLE")]
    captioner_key_env: Option<String>,
    /// Requests under way at a time.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = whole::<usize>(0))]
    concurrency: usize,
    /// Longest time for an answer, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 300.0)]
    timeout: f64,
    /// Tries after the first, with waits that double from a second.
    #[arg(long, value_name = "N", default_value_t = 6)]
    retries: u32,
    /// Do not send the schema as response_format, for servers that know none; answers are checked all the
    /// same.
    #[arg(long)]
    no_response_format: bool,
    /// Frames of a clip that it is shown.
    #[arg(long, value_name = "N", default_value_t = FlowSettings::default().frames, value_parser = whole::<usize>(0))]
    captioner_frames: usize,
    /// Longest side of pictures that it is shown, in pixels.
    #[arg(long, value_name = "PIXELS", default_value_t = FlowSettings::default().picture_side)]
    captioner_side: u32,
}

/// What becomes a clip, and what is dropped.
#[derive(Args)]
#[command(next_help_heading = "Clips and filters")]
struct FilterOptions {
    /// Longest clip, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = FlowSettings::default().clip_seconds)]
    clip_seconds: f64,
    /// Most clips of a video.
    #[arg(long, value_name = "N", default_value_t = FlowSettings::default().clips_per_video)]
    #[arg(value_parser = whole::<usize>(0))]
    clips_per_video: usize,
    /// Drop clips that move less: mean difference of brightness between sampled frames, 0 to 1.
    #[arg(long, value_name = "M", default_value_t = FlowSettings::default().min_motion)]
    min_motion: f64,
    /// Drop texts whose embedding has a lower cosine with that of their clip or frame. What is low depends on
    /// the model: report/ has the cosine of every text, and another run into the same folder may have another
    /// threshold.
    #[arg(long, value_name = "C", default_value_t = FlowSettings::default().min_cosine)]
    min_cosine: f64,
    /// Drop texts with fewer words. Another run into the same folder may have another number.
    #[arg(long, value_name = "N", default_value_t = FlowSettings::default().min_words, value_parser = whole::<usize>(0))]
    min_words: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum Until {
    Quality,
    Enrichment,
    Extension,
}

pub(crate) fn run(command: Command) -> Result<Outcome> {
    match command {
        Command::Flow(arguments) => flow(*arguments),
        Command::Prompts { folder } => write_prompts(&folder),
    }
}

fn flow(arguments: FlowArguments) -> Result<Outcome> {
    let until = match arguments.until {
        Until::Quality => Stage::Quality,
        Until::Enrichment => Stage::Enrichment,
        Until::Extension => Stage::Extension,
    };
    let (quiet, json) = (arguments.model.quiet, arguments.json);
    let cancel = stop_on_ctrl_c()?;
    let (flow, mut failed) = open(arguments)?;
    let bar = progress_bar(0, "", quiet);
    let result = flow.run(until, &cancel, &mut |event| match event {
        FlowEvent::Progress(what, progress) => {
            bar.set_length(progress.total as u64);
            bar.set_position(progress.done as u64);
            bar.set_message(what);
        }
        FlowEvent::Failed(judgement) => {
            failed += 1;
            bar.suspend(|| report(&failure(judgement)));
        }
        FlowEvent::Report(stage) => tell(stage, &bar, quiet),
        _ => {}
    });
    bar.finish_and_clear();
    let outdated = flow.num_replies_outdated();
    if outdated > 0 {
        let replies = counted(outdated, "stored reply does", "stored replies do");
        warn(&format!("{replies} not fit what is asked for now: that was asked for again"));
    }
    match result {
        Ok(summary) => {
            let pairs: usize = summary.pairs.values().sum();
            show(&summary, &flow, until, json)?;
            let done =
                if until == Stage::Extension { pairs } else { summary.reports.iter().map(|r| r.kept).sum() };
            Ok(Outcome::of(done, failed))
        }
        // What is on disk stays: another run goes on from there.
        Err(error @ (SynthError::Cancelled | SynthError::Captioner { .. })) => {
            let kept = flow.num_replies();
            let answers = counted(kept, "answer is", "answers are");
            report(&anyhow!("{error}; {answers} kept, and the same command goes on from there"));
            let done = kept + usize::from(matches!(error, SynthError::Cancelled));
            Ok(Outcome::of(done, 1))
        }
        Err(error) => Err(error.into()),
    }
}

/// Everything a run is made of, from the arguments, and how many paths could not be used.
fn open(arguments: FlowArguments) -> Result<(Flow, usize)> {
    let (videos, failed) = find_videos(&arguments.videos, arguments.model.quiet)?;
    let captions = match &arguments.captions {
        Some(path) => SourceCaptions::read(path, &videos)?,
        None => SourceCaptions::default(),
    };
    let prompts = Prompts::load(arguments.prompts.as_deref())?;
    let filters = &arguments.filters;
    let settings = FlowSettings::default()
        .with_seed(arguments.seed)
        .with_clip_seconds(filters.clip_seconds)
        .with_clips_per_video(filters.clips_per_video)
        .with_min_motion(filters.min_motion)
        .with_min_cosine(filters.min_cosine)
        .with_min_words(filters.min_words)
        .with_frames(arguments.captioner.captioner_frames)
        .with_picture_side(arguments.captioner.captioner_side);
    let captioner = Captioner::new(arguments.captioner.settings()?)?;
    let sampling = arguments.sampling.sampling()?;
    let model = arguments.model.resolve()?;
    let builder = arguments.model.builder(&model)?.sampling(sampling);
    let embedder = arguments.model.load(arguments.pixels.apply_to(builder))?;
    let library_manifest = library_manifest(&embedder);
    let plan = FlowPlan { videos, captions, settings, prompts, captioner, embedder, library_manifest };
    Ok((Flow::open(plan, &arguments.out)?, failed))
}

/// The videos at `paths`. What else lies there is passed over, and said; each path that cannot be used is
/// reported, and counted.
fn find_videos(paths: &[PathBuf], quiet: bool) -> Result<(Vec<PathBuf>, usize)> {
    let (mut videos, mut failed, mut passed_over) = (Vec::new(), 0, PassedOver::default());
    let mut fail = |error: anyhow::Error| {
        report(&error);
        failed += 1;
    };
    for found in paths.iter().map(|path| find(path, Recognition::ByName)) {
        passed_over.add(&found.passed_over);
        found.failures.into_iter().for_each(|error| fail(error.into()));
        for file in found.files.into_iter().filter(|file| file.kind == MediaKind::Video) {
            match usable(&file.path) {
                Ok(()) => videos.push(file.path),
                Err(error) => fail(error),
            }
        }
    }
    tell_passed_over(&passed_over, None, videos.is_empty(), quiet);
    if videos.is_empty() {
        bail!("there are no videos in the paths given");
    }
    Ok((videos, failed))
}

/// Whether a file is there, which a link's may not be, and has a name that can stand in files of text.
fn usable(video: &Path) -> Result<()> {
    fs::metadata(video).with_context(|| format!("cannot use {}", video.display()))?;
    ensure!(video.to_str().is_some(), "cannot use {}: its path is not UTF-8", video.display());
    Ok(())
}

impl CaptionerOptions {
    fn settings(&self) -> Result<CaptionerSettings> {
        let timeout = Duration::try_from_secs_f64(self.timeout)
            .map_err(|_| anyhow!("--timeout must be a positive number of seconds, got {}", self.timeout))?;
        let mut settings = CaptionerSettings::new(&self.captioner, &self.captioner_model);
        let variable = self.captioner_key_env.as_deref();
        settings.api_key =
            env::var(variable.unwrap_or("GVE_CAPTIONER_KEY")).ok().filter(|key| !key.is_empty());
        if variable.is_some() && settings.api_key.is_none() {
            // Its name is left out: it may be a key, given by mistake.
            bail!("--captioner-key-env names an environment variable that is not set");
        }
        settings.proxies = proxies::from_environment();
        settings.concurrency = self.concurrency;
        settings.timeout = timeout;
        settings.retry.retries = self.retries;
        settings.send_schema = !self.no_response_format;
        Ok(settings)
    }
}

fn failure(judgement: &Judgement) -> anyhow::Error {
    let reason = judgement.reason.as_deref().unwrap_or_default();
    // The reasons of videos name the video themselves.
    if reason.starts_with(&judgement.item) {
        return anyhow!("{reason}");
    }
    let style = judgement.style.map(|style| format!(", {style}")).unwrap_or_default();
    anyhow!("{}{style}: {reason}", judgement.item)
}

/// A line about a stage while the run goes on.
fn tell(stage: &StageReport, bar: &ProgressBar, quiet: bool) {
    if !quiet {
        bar.suspend(|| note(&format!("{} done: {} of {} kept", stage.stage, stage.kept, stage.items)));
    }
}

fn show(summary: &FlowSummary, flow: &Flow, until: Stage, json: bool) -> Result<()> {
    if json {
        let out = serde_json::json!({
            "stages": summary.reports, "pairs": summary.pairs, "replies": flow.num_replies(),
            "replies_taken_out": flow.num_replies_taken_out(),
            "replies_outdated": flow.num_replies_outdated(),
        });
        return Ok(print(&out.to_string())?);
    }
    print(&format!("{:<12} {:>8} {:>8}  dropped by", "stage", "items", "kept"))?;
    for stage in &summary.reports {
        let dropped: Vec<String> =
            stage.dropped.iter().map(|(filter, count)| format!("{filter} {count}")).collect();
        let stage_name = stage.stage.to_string();
        let line = format!("{stage_name:<12} {:>8} {:>8}  {}", stage.items, stage.kept, dropped.join(", "));
        print(line.trim_end())?;
    }
    if flow.num_replies_taken_out() > 0 {
        let replies = counted(flow.num_replies(), "reply", "replies");
        let [one, several] = ["was", "were"].map(|verb| format!("of {replies} {verb}"));
        let taken_out = counted(flow.num_replies_taken_out(), &one, &several);
        print(&format!("{taken_out} taken out of longer answers"))?;
    }
    if until == Stage::Extension {
        let pairs: Vec<String> =
            summary.pairs.iter().map(|(task, count)| format!("{task} {count}")).collect();
        print(&format!("pairs: {}", pairs.join(", ")))?;
        print(&name(&flow.pairs_path()))?;
    }
    Ok(())
}

fn write_prompts(folder: &Path) -> Result<Outcome> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let (mut written, mut kept) = (0, 0);
    for (file, text) in BUILT_IN_PROMPTS {
        let path = folder.join(file);
        match fs::File::create_new(&path)
            .and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()))
        {
            Ok(()) => {
                print(&name(&path))?;
                written += 1;
            }
            Err(error) => {
                report(&anyhow!("cannot write {}: {error}", path.display()));
                kept += 1;
            }
        }
    }
    Ok(Outcome::of(written, kept))
}
