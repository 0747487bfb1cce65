use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use gve::train::{
    Entry, Finish, ImportedPairs, PairsSource, Start, TrainConfig, TrainError, TrainEstimate, TrainEvent,
    Trainer, estimate,
};
use gve_cli::hub::{data_set, resolve};
use gve_cli::interrupt::{stop_on_ctrl_c, stopped};
use gve_cli::options::warn_of_unknown_settings;
use gve_cli::output::{self, Outcome, counted, name, note, print, progress_bar, warn};
use gve_cli::process::tune_for_training;
use indicatif::{DecimalBytes, HumanCount, HumanDuration, ProgressBar};

use crate::harness::Harness;

/// Batches of each task from which on a run begins with an estimate.
const LONG_RUN: usize = 100;

#[derive(Args)]
#[command(after_help = "\
Examples:
  gve train train.toml
  gve train train.toml --dry-run
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
    /// Say what the run would take (steps, time, memory, and which batches would fit), and stop there.
    #[arg(long, conflicts_with = "resume")]
    dry_run: bool,
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
    let mut config = TrainConfig::load(&arguments.config)?;
    let of_evaluation = config.evaluation.iter_mut().flat_map(|evaluation| &mut evaluation.pairs);
    for source in config.data.pairs.iter_mut().chain(of_evaluation) {
        if let PairsSource::Import(import) = source {
            import.path = data_set(&import.path, None, import.settings.split.as_deref(), arguments.quiet)?;
        }
    }
    let model = resolve(&config.model.path, config.model.revision.as_deref(), arguments.quiet)?;
    warn_of_unknown_settings(&model.directory);
    let cancel = stop_on_ctrl_c()?;
    let harness = Harness::new(&config, &model.directory, &cancel)?;
    let batch_size = config.batch.size;
    if arguments.dry_run {
        let imports = std::env::temp_dir().join(format!("gve-dry-run-{}", std::process::id()));
        let estimate = estimate(config, &model.directory, &imports, &cancel);
        // It is there only where something was imported.
        drop(std::fs::remove_dir_all(&imports));
        let estimate = match estimate {
            Err(TrainError::Cancelled) => return Ok(stopped("nothing is known of the run")),
            estimate => estimate?,
        };
        let largest_task = estimate.tasks.iter().map(|task| task.pairs).max().unwrap_or(0);
        for line in told(&estimate).into_iter().chain(whole_tasks(batch_size, largest_task)) {
            print(&line)?;
        }
        return Ok(Outcome::Complete);
    }
    let bar = progress_bar(0, "steps", arguments.quiet);
    output::show(&bar, "reading pairs and model");
    let trainer = Trainer::new_unless(&cancel, config, &model.directory, &start);
    bar.set_message("");
    let mut trainer = match trainer {
        Ok(trainer) => trainer,
        Err(error) => {
            bar.finish_and_clear();
            return match error {
                TrainError::Cancelled => Ok(stopped("the run has not begun")),
                error => Err(error.into()),
            };
        }
    };
    bar.suspend(|| {
        trainer.imported().iter().for_each(|pairs| tell_imported(pairs, arguments.quiet));
        if let Some(line) = whole_tasks(batch_size, trainer.largest_task()).filter(|_| !arguments.quiet) {
            note(&line);
        }
    });
    let reading = trainer.config().model.clone();
    if !arguments.quiet {
        let area = reading.max_pixels.unwrap_or_default();
        let frames = reading.frames.map(|frames| counted(frames, "frame", "frames"));
        let frames = frames.unwrap_or_else(|| "the recipe's frames".to_owned());
        bar.suspend(|| note(&format!("videos of {frames}, pictures of at most {area} pixels")));
    }
    // Where it costs little of the run.
    let batches = trainer.config().batch.accumulate * trainer.remaining_steps();
    if !arguments.quiet && batches >= LONG_RUN * trainer.tasks() {
        output::show(&bar, "seeing what a batch takes");
        match trainer.estimate(&cancel) {
            Ok(estimate) => told(&estimate).iter().for_each(|line| bar.suspend(|| note(line))),
            // The run says so, and leaves a checkpoint.
            Err(TrainError::Cancelled) => {}
            // Of the few that were looked at none could be read: the run draws others as well.
            Err(error @ TrainError::Input { .. }) if trainer.config().data.max_damaged > 0.0 => {
                bar.suspend(|| warn(&format!("no estimate: {error}")));
            }
            Err(error) => return Err(error.into()),
        }
    }
    if let Some(harness) = harness.map(|harness| harness.reading(&reading)) {
        let bar = bar.clone();
        trainer = trainer.scored_by(Box::new(move |directory| score(&harness, directory, &bar)));
    }
    let mut left_out = 0;
    let finish = trainer.run(&cancel, &mut |event| {
        left_out += usize::from(matches!(event, TrainEvent::Logged(Entry::LeftOut { .. })));
        show(&event, &bar, arguments.quiet);
    });
    bar.finish_and_clear();
    if left_out > 0 {
        let pairs = counted(left_out, "pair was", "pairs were");
        warn(&format!("{pairs} left out: log.jsonl has the reason, as `left_out`"));
    }
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

/// What a run would take, line by line.
fn told(estimate: &TrainEstimate) -> Vec<String> {
    let time = |time: Duration| HumanDuration(time).to_string();
    let tasks = estimate.tasks.iter().map(|task| {
        let pairs = counted(task.pairs, "pair", "pairs");
        format!("{} {pairs}, {:.2} s a batch", task.task, task.batch.as_secs_f64())
    });
    let mut lines = vec![
        tasks.collect::<Vec<_>>().join("; "),
        format!(
            "{}, about {}, and what probes, mines, scores and saves on top; {} values are trained",
            counted(estimate.steps, "step", "steps"),
            time(estimate.time),
            HumanCount(estimate.trained as u64)
        ),
    ];
    if let Some(memory) = &estimate.memory {
        let [peak, model, optimizer, batch, available] = [
            memory.peak_bytes(),
            memory.model_bytes,
            memory.optimizer_bytes,
            memory.batch_bytes,
            memory.available_bytes + memory.model_bytes,
        ]
        .map(DecimalBytes);
        lines.push(format!(
            "{peak} of memory at the most (model {model}, optimiser {optimizer}, batch {batch}); {available} can be had"
        ));
        if let Some(largest) = memory.largest_batch {
            lines.push(format!("batch.size = {largest} would fit"));
        }
    }
    lines
}

/// Where no task has more pairs than a batch takes, an epoch has but one step for each.
fn whole_tasks(batch_size: usize, largest_task: usize) -> Option<String> {
    (largest_task <= batch_size).then(|| {
        format!(
            "a batch has all pairs of its task, {largest_task} at the most, as batch.size is {batch_size}: where that \
             makes too few steps, set a smaller one, or more epochs"
        )
    })
}

fn tell_imported(pairs: &ImportedPairs, quiet: bool) {
    let Some(imported) = &pairs.imported else { return };
    let from = name(&pairs.path);
    if !quiet {
        let made = counted(imported.pairs(), "pair", "pairs");
        note(&format!("{made} of {from}, in {}", name(&pairs.file)));
    }
    if let Some(first) = &pairs.first_refused {
        let refused = counted(imported.refused, "row", "rows");
        warn(&format!("{from}: {refused} refused, the first {first}; `gve pairs import` names all"));
    }
    if imported.left_out > 0 {
        let negatives = counted(imported.left_out, "negative is", "negatives are");
        warn(&format!(
            "{from}: {negatives} of another kind than the positive and left out; `gve pairs import` names all"
        ));
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
        TrainEvent::CardKept(directory) => bar.suspend(|| {
            warn(&format!(
                "{} has a README.md that a person wrote or changed: it stays, and the card of the run is README.gve.md",
                directory.display()
            ));
        }),
        TrainEvent::Saved(directory) => tell(&format!("saved {}", directory.display())),
        TrainEvent::Logged(Entry::Step { step, loss, positive_score, tasks, .. }) => {
            bar.set_position(*step as u64);
            let tasks = tasks.join(" ");
            output::show(bar, &format!("loss {loss:.4}, positives {positive_score:.3}, {tasks}"));
        }
        TrainEvent::Logged(Entry::Epoch { epoch, alignment, separation, probabilities, .. }) => {
            let tasks = probabilities.iter().map(|(task, probability)| {
                let probed = alignment.get(task).zip(separation.get(task));
                let probed = probed.map(|(alignment, separation)| {
                    format!(" (alignment {alignment:.3}, told apart {:.0} %)", 100.0 * separation)
                });
                format!("{task} {:.0} %{}", 100.0 * probability, probed.unwrap_or_default())
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
        TrainEvent::Logged(Entry::LeftOut { pair, reason, .. }) => {
            bar.suspend(|| warn(&format!("left out: {pair}: {reason}")));
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
