//! How good the weights are on the way: the best are kept, and a run that gains nothing more may end.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use super::super::TrainError;
use super::super::card::{RunFacts, State};
use super::super::checkpoint::Best;
use super::super::config::TrainConfig;
use super::super::evaluation::evaluate;
use super::super::log::Entry;
use super::super::page::{self, Curves};
use super::step::Progress;
use super::{TrainEvent, write_weights};
use crate::card::{BEST_FILE, Card};
use crate::embedder::CancelToken;
use crate::model::sentence_transformers;
use crate::pairs::PairIndex;
use crate::store::IoError;

impl Progress<'_> {
    /// Scores the model at the steps and times that are set for it, before the first step and behind the last,
    /// unless the step has ruined it.
    pub(super) fn evaluate_if_due(&mut self, cancel: &CancelToken) -> Result<(), TrainError> {
        let Some(section) = &self.config.evaluation else { return Ok(()) };
        let step = self.state.step;
        let minutes = section.every_minutes.map(|minutes| Duration::from_secs_f64(60.0 * minutes));
        let is_due = match step {
            0 => section.at_start,
            _ => {
                step.is_multiple_of(section.every_steps)
                    || step == self.schedule.total_steps
                    || minutes.is_some_and(|minutes| self.evaluated_at.elapsed() >= minutes)
            }
        };
        if !is_due || self.state.evaluated == Some(step) {
            return Ok(());
        }
        match self.evaluate(cancel) {
            // The checkpoint that is asked for needs no score.
            Err(TrainError::Cancelled) => return Ok(()),
            scores => self.select(&scores?)?,
        }
        self.state.evaluated = Some(step);
        *self.evaluated_at = Instant::now();
        self.show()
    }

    /// Writes down how the run looks.
    pub(super) fn show(&self) -> Result<(), TrainError> {
        page::write(self.config, self.schedule.total_steps)
    }

    /// Writes the weights with a card that says what they are, over those that are there.
    pub(super) fn write_described(&mut self, directory: &Path, state: State<'_>) -> Result<(), TrainError> {
        let card = self.card(state)?;
        let step = self.state.step;
        let mut is_kept = false;
        write_weights(self.model, directory, self.config, |into: &Path| {
            if let State::Best { metric, value } = state {
                let path = into.join(BEST_FILE);
                let told = json!({ "step": step, "metric": metric, "value": value });
                fs::write(&path, format!("{told}\n")).map_err(IoError::of("write", path))?;
            }
            if self.model.describes_adapter() {
                sentence_transformers::describe_adapter(self.model.directory(), into)?;
            }
            is_kept = card.write(into, directory)?;
            Ok(())
        })?;
        if is_kept {
            (self.watch)(TrainEvent::CardKept(directory));
        }
        Ok(())
    }

    fn card(&self, state: State<'_>) -> Result<Card, TrainError> {
        let log = self.config.output.join("log.jsonl");
        let text = fs::read_to_string(&log).map_err(IoError::of("read", log))?;
        let run = RunFacts {
            config: self.config,
            pairs: self.index,
            held_out: self.held_out,
            imported: self.imported,
            model: self.model,
            curves: &Curves::read(&text),
            step: self.state.step,
            total_steps: self.schedule.total_steps,
        };
        Ok(run.card(state))
    }

    /// Whether there were so many evaluations without a gain that the run ends.
    pub(super) fn gains_nothing(&self) -> bool {
        let patience = self.config.evaluation.as_ref().and_then(|section| section.patience);
        patience.zip(self.state.best).is_some_and(|(patience, best)| best.since >= patience)
    }

    /// Writes down that the run ends before its last step.
    pub(super) fn tell_end(&mut self) -> Result<(), TrainError> {
        let step = self.state.step;
        if step == self.schedule.total_steps {
            return Ok(());
        }
        let count = self.state.best.map_or(0, |best| best.since);
        let reason = format!("{count} evaluations in a row without a gain");
        self.record(&Entry::Stopped { step, reason })
    }

    /// Scores the model and writes down how; gives the scores by name.
    fn evaluate(&mut self, cancel: &CancelToken) -> Result<BTreeMap<String, f64>, TrainError> {
        self.require_good_model()?;
        (self.watch)(TrainEvent::Preparing("evaluating"));
        let step = self.state.step;
        let mut scores = BTreeMap::new();
        if let Some(held_out) = self.held_out {
            let entry = Entry::Evaluation { step, recall: evaluate(self.model, held_out, cancel)? };
            self.record(&entry)?;
            scores.extend(entry.scalars().1);
        }
        let Some(scorer) = &mut self.scorer else { return Ok(scores) };
        let directory = self.config.output.join("evaluations").join(format!("step-{step:08}"));
        let weights = directory.join("weights");
        write_weights(self.model, &weights, self.config, |_| Ok(()))?;
        let of_scorer = scorer(&directory);
        fs::remove_dir_all(&weights).map_err(IoError::of("remove", &weights))?;
        if !of_scorer.is_empty() {
            self.record(&Entry::Scores { step, scores: of_scorer.clone() })?;
        }
        scores.extend(of_scorer);
        Ok(scores)
    }

    /// Keeps the weights if they are the best so far. Where the score that tells is missing, because a data set
    /// could not be scored, it is as if nobody had asked.
    fn select(&mut self, scores: &BTreeMap<String, f64>) -> Result<(), TrainError> {
        let Some(section) = &self.config.evaluation else { return Ok(()) };
        let (step, metric) = (self.state.step, section.metric());
        let Some(&value) = scores.get(metric) else { return Ok(()) };
        if let Some(best) = &mut self.state.best
            && value <= best.value + section.min_gain
        {
            best.since += 1;
            return Ok(());
        }
        let directory = self.config.output.join("best");
        self.write_described(&directory, State::Best { metric, value })?;
        self.state.best = Some(Best { step, value, since: 0 });
        self.record(&Entry::Best { step, metric: metric.to_owned(), value })
    }
}

/// A task whose recall says which weights are best is among the held-out pairs.
pub(super) fn require_metric(held_out: Option<&PairIndex>, config: &TrainConfig) -> Result<(), TrainError> {
    let metric = config.evaluation.as_ref().map_or("", |evaluation| evaluation.metric());
    let Some((_, task)) = metric.split_once('/').filter(|(of, _)| of.starts_with("recall@")) else {
        return Ok(());
    };
    let tasks: Vec<String> =
        held_out.iter().flat_map(|held_out| held_out.tasks()).map(|pairs| pairs.task().to_string()).collect();
    if tasks.iter().any(|name| name == task) {
        return Ok(());
    }
    let reason =
        format!("is {metric:?}, but `evaluation.pairs` have no task {task}: they have {}", tasks.join(", "));
    Err(TrainError::Config { place: "evaluation.metric".to_owned(), reason })
}
