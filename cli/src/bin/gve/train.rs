use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use gve::train::{Entry, Finish, Start, TrainConfig, TrainEvent, Trainer};
use gve_cli::hub::resolve;
use gve_cli::interrupt::stop_on_ctrl_c;
use gve_cli::options::warn_of_unknown_settings;
use gve_cli::output::{self, Outcome, name, note, print, progress_bar, warn};
use gve_cli::process::tune_for_training;
use indicatif::ProgressBar;

use crate::harness::Harness;

#[derive(Args)]
#[command(after_help = "\
Examples:
  gve train train.toml
  gve train train.toml --resume auto
  gve train train.toml --resume runs/holiday/checkpoints/step-00000200
  gve embed --model Alibaba-NLP/GVE-3B --adapter runs/holiday/final --text \"a dog runs\"

examples/train.toml names every setting; docs/training.md walks through a run. Ctrl-C ends the run at a checkpoint
after the present step; a second Ctrl-C ends it at once, and the checkpoints that are complete stay good.")]
pub(crate) struct Arguments {
    /// The settings.
    #[arg(value_name = "CONFIG.toml")]
    config: PathBuf,
    /// Go on from a checkpoint's directory, which removes newer ones; auto takes the run's newest, and begins
    /// anew if there is none.
    #[arg(long, value_name = "DIR|auto")]
    resume: Option<String>,
    /// No progress bars and no messages about the course of the run.
    #[arg(long)]
    quiet: bool,
}

pub(crate) fn run(arguments: Arguments) -> Result<Outcome> {
    tune_for_training();
    let start = match arguments.resume.as_deref() {
        None => Start::Fresh,
        Some("auto") => Start::Newest,
        Some(directory) => Start::At(directory.into()),
    };
    let config = TrainConfig::load(&arguments.config)?;
    let model = resolve(&config.model.path, config.model.revision.as_deref(), arguments.quiet)?;
    warn_of_unknown_settings(&model.directory);
    let cancel = stop_on_ctrl_c()?;
    let harness = Harness::new(&config, &model.directory, &cancel)?;
    let mut trainer = Trainer::new(config, &model.directory, &start)?;
    let bar = progress_bar(0, "steps", arguments.quiet);
    let reading = trainer.config().model.clone();
    if !arguments.quiet {
        let area = reading.max_pixels.unwrap_or_default();
        let frames = reading.frames.map_or("the recipe's".to_owned(), |frames| frames.to_string());
        note(&format!("videos of {frames} frames, pictures of at most {area} pixels"));
    }
    if let Some(harness) = harness.map(|harness| harness.reading(&reading)) {
        let bar = bar.clone();
        trainer = trainer.scored_by(Box::new(move |directory| score(&harness, directory, &bar)));
    }
    let finish = trainer.run(&cancel, &mut |event| show(&event, &bar, arguments.quiet));
    bar.finish_and_clear();
    match finish? {
        Finish::Complete(directory) => {
            print(&name(&directory))?;
            Ok(Outcome::Complete)
        }
        Finish::Stopped(checkpoint) => {
            warn(&format!("stopped at {}; --resume auto goes on from there", checkpoint.display()));
            Ok(Outcome::Partial)
        }
    }
}

/// The scores of the harness. What goes wrong is told and ends nothing.
fn score(harness: &Harness, directory: &Path, bar: &ProgressBar) -> BTreeMap<String, f64> {
    let tell = |complaint: &str| {
        bar.suspend(|| warn(&format!("UVRB at {}: {complaint}", directory.display())));
    };
    match harness.score(directory) {
        Ok(Some(scored)) => {
            scored.complaint.iter().for_each(|complaint| tell(complaint));
            scored.scores
        }
        Ok(None) => BTreeMap::new(),
        Err(error) => {
            tell(&format!("{error:#}"));
            BTreeMap::new()
        }
    }
}

fn show(event: &TrainEvent<'_>, bar: &ProgressBar, quiet: bool) {
    let tell = |line: &str| {
        if !quiet {
            bar.suspend(|| note(line));
        }
    };
    match event {
        TrainEvent::Started { step, total_steps } => {
            bar.set_length(*total_steps as u64);
            bar.set_position(*step as u64);
        }
        TrainEvent::Extended { before, now } => tell(&format!(
            "{now} epochs instead of {before}: learning rate and curriculum are those of the new number from here on"
        )),
        TrainEvent::Preparing(what) => output::show(bar, what),
        TrainEvent::Saved(directory) => tell(&format!("saved {}", directory.display())),
        TrainEvent::Logged(Entry::Step { step, loss, positive_score, tasks, .. }) => {
            bar.set_position(*step as u64);
            let tasks = tasks.join(" ");
            output::show(bar, &format!("loss {loss:.4}, positives {positive_score:.3}, {tasks}"));
        }
        TrainEvent::Logged(Entry::Epoch { epoch, alignment, probabilities, .. }) => {
            let tasks = probabilities.iter().map(|(task, probability)| {
                let alignment =
                    alignment.get(task).map(|a| format!(" (alignment {a:.3})")).unwrap_or_default();
                format!("{task} {:.0} %{alignment}", 100.0 * probability)
            });
            tell(&format!("epoch {}: {}", epoch + 1, tasks.collect::<Vec<_>>().join(", ")));
        }
        TrainEvent::Logged(Entry::Evaluation { step, recall }) => {
            let tasks =
                recall.iter().map(|(task, r)| format!("{task} R@1 {:.3} R@10 {:.3}", r.at_1, r.at_10));
            tell(&format!("step {step}: {}", tasks.collect::<Vec<_>>().join(", ")));
        }
        TrainEvent::Logged(Entry::Best { step, metric, value }) => {
            tell(&format!("step {step}: the best so far, {metric} {value:.3}"));
        }
        TrainEvent::Logged(Entry::Stopped { step, reason }) => {
            tell(&format!("ended at step {step}: {reason}"))
        }
        TrainEvent::Logged(Entry::Scores { step, scores }) => {
            let scores = scores.iter().map(|(name, score)| format!("{name} {score:.3}"));
            tell(&format!("step {step}: {}", scores.collect::<Vec<_>>().join(", ")));
        }
        _ => {}
    }
}
