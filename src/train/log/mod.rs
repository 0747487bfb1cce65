//! What a run writes down while it goes: `log.jsonl`, and event files for TensorBoard.

mod tensorboard;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::TrainError;
use super::evaluation::Recall;
use crate::options::shown_by;
use crate::store::IoError;
use tensorboard::EventFile;

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Entry {
    /// The start of an epoch.
    Epoch {
        /// Steps done before it.
        step: usize,
        /// From 0.
        epoch: usize,
        /// Mean cosine of each task's positive pairs as the prober sees them; empty where nobody asked.
        alignment: BTreeMap<String, f64>,
        /// How often the prober has a query nearer to its own positive than to another's, of each task.
        separation: BTreeMap<String, f64>,
        /// Sigma of the pyramid.
        sigma: Option<f64>,
        /// Probability of each task.
        probabilities: BTreeMap<String, f64>,
        /// Pairs that hard negatives were mined for.
        mined_pairs: usize,
    },
    /// A step of the optimiser.
    Step {
        /// From 1.
        step: usize,
        /// From 0.
        epoch: usize,
        /// Tasks of its batches.
        tasks: Vec<String>,
        /// Mean over its batches.
        loss: f64,
        /// Mean cosine of queries and positives.
        positive_score: f64,
        /// Mean distance between the positive's cosine and the best negative's.
        hardest_negative_gap: Option<f64>,
        /// Of this step.
        learning_rate: f64,
        /// Before clipping.
        gradient_norm: f64,
        /// Share of each task in the epoch's batches so far.
        task_shares: BTreeMap<String, f64>,
        /// Throughput.
        pairs_per_second: f64,
    },
    /// The scores on held-out pairs.
    Evaluation {
        /// Steps done.
        step: usize,
        /// By task.
        recall: BTreeMap<String, Recall>,
    },
    /// The weights are the best that an evaluation has seen so far.
    Best {
        /// Steps done.
        step: usize,
        /// What tells.
        metric: String,
        /// Their score.
        value: f64,
    },
    /// A pair is left out of what it was drawn for, for the first time.
    #[serde(rename = "left_out")]
    LeftOut {
        /// Steps done.
        step: usize,
        /// File and line.
        pair: String,
        /// Which of its files cannot be read, and why.
        reason: String,
    },
    /// The run ended before its last step.
    Stopped {
        /// Steps done.
        step: usize,
        /// Why.
        reason: String,
    },
    /// What a [`Scorer`](super::Scorer) says.
    Scores {
        /// Steps done.
        step: usize,
        /// By name.
        scores: BTreeMap<String, f64>,
    },
}

impl Entry {
    /// Step, and curves with their values.
    pub(super) fn scalars(&self) -> (usize, Vec<(String, f64)>) {
        let by_task = |name: &str, values: &BTreeMap<String, f64>| -> Vec<(String, f64)> {
            values.iter().map(|(task, value)| (format!("{name}/{task}"), *value)).collect()
        };
        match self {
            Self::Epoch { step, alignment, separation, probabilities, .. } => {
                let curves =
                    [("alignment", alignment), ("separation", separation), ("probability", probabilities)];
                (*step, curves.map(|(name, values)| by_task(name, values)).concat())
            }
            Self::Step {
                step,
                loss,
                positive_score,
                hardest_negative_gap,
                learning_rate,
                gradient_norm,
                task_shares,
                pairs_per_second,
                epoch: _,
                tasks: _,
            } => {
                let mut scalars = by_task("task_share", task_shares);
                let single = [
                    ("loss", Some(*loss)),
                    ("positive_score", Some(*positive_score)),
                    ("hardest_negative_gap", *hardest_negative_gap),
                    ("learning_rate", Some(*learning_rate)),
                    ("gradient_norm", Some(*gradient_norm)),
                    ("pairs_per_second", Some(*pairs_per_second)),
                ];
                let present = single.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
                scalars.extend(present);
                (*step, scalars)
            }
            Self::Evaluation { step, recall } => {
                let curves = recall.iter().flat_map(|(task, recall)| {
                    [(format!("recall@1/{task}"), recall.at_1), (format!("recall@10/{task}"), recall.at_10)]
                });
                let mean = |of: fn(&Recall) -> f64| {
                    recall.values().map(of).sum::<f64>() / recall.len().max(1) as f64
                };
                let means = [
                    ("recall@1".to_owned(), mean(|recall| recall.at_1)),
                    ("recall@10".to_owned(), mean(|recall| recall.at_10)),
                ];
                (*step, curves.chain(means).collect())
            }
            Self::Best { step, .. } | Self::LeftOut { step, .. } | Self::Stopped { step, .. } => {
                (*step, Vec::new())
            }
            Self::Scores { step, scores } => {
                (*step, scores.iter().map(|(name, score)| (name.clone(), *score)).collect())
            }
        }
    }
}

/// The log of a run.
pub struct RunLog {
    path: PathBuf,
    file: File,
    bytes: u64,
    events: Option<(PathBuf, EventFile)>,
}

shown_by!(RunLog |it| { path: it.path, bytes: it.bytes });

impl RunLog {
    /// The log in the directory of a run. One that goes on from a checkpoint cuts off what was logged after
    /// it: `bytes` is the length the checkpoint remembers, `step` its step; both are 0 for a new run.
    ///
    /// # Errors
    /// The files cannot be made.
    pub fn open(directory: &Path, step: usize, bytes: u64, tensorboard: bool) -> Result<Self, TrainError> {
        let path = directory.join("log.jsonl");
        let open = || {
            let file = OpenOptions::new().create(true).append(true).open(&path)?;
            let bytes = bytes.min(file.metadata()?.len());
            file.set_len(bytes)?;
            Ok((file, bytes))
        };
        let (file, bytes) = open().map_err(IoError::of("write", &path))?;
        let events = directory.join("tensorboard");
        let events = if tensorboard {
            let file = EventFile::create(&events, step as u64).map_err(IoError::of("write to", &events))?;
            Some((events, file))
        } else {
            None
        };
        Ok(Self { path, file, bytes, events })
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&mut self, entry: &Entry) -> Result<(), TrainError> {
        let line = serde_json::to_string(entry).map_err(std::io::Error::other);
        line.and_then(|line| {
            let line = format!("{line}\n");
            self.file.write_all(line.as_bytes())?;
            self.bytes += line.len() as u64;
            Ok(())
        })
        .map_err(IoError::of("write", &self.path))?;
        if let Some((path, events)) = &mut self.events {
            let (step, scalars) = entry.scalars();
            events.scalars(step as u64, &scalars).map_err(IoError::of("write to", &*path))?;
        }
        Ok(())
    }

    /// Length of `log.jsonl`, for the checkpoint.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluation(step: usize) -> Entry {
        Entry::Evaluation {
            step,
            recall: BTreeMap::from([("t2v".to_owned(), Recall { at_1: 0.5, at_10: 1.0 })]),
        }
    }

    #[test]
    fn a_resumed_log_goes_on_where_the_checkpoint_was() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = RunLog::open(folder.path(), 0, 0, true).unwrap();
        log.write(&evaluation(1)).unwrap();
        let bytes = log.bytes();
        log.write(&evaluation(2)).unwrap();
        drop(log);
        let mut log = RunLog::open(folder.path(), 1, bytes, true).unwrap();
        log.write(&evaluation(3)).unwrap();
        let text = std::fs::read_to_string(folder.path().join("log.jsonl")).unwrap();
        let line = |step| {
            format!(
                r#"{{"event":"evaluation","step":{step},"recall":{{"t2v":{{"recall@1":0.5,"recall@10":1.0}}}}}}"#
            )
        };
        assert_eq!(text.lines().collect::<Vec<_>>(), [line(1), line(3)]);
        assert_eq!(log.bytes(), text.len() as u64);
        assert_eq!(std::fs::read_dir(folder.path().join("tensorboard")).unwrap().count(), 2);
    }

    #[test]
    fn every_number_of_an_entry_is_a_curve() {
        let shares = BTreeMap::from([("t2v".to_owned(), 1.0)]);
        let step = Entry::Step {
            step: 3,
            epoch: 0,
            tasks: vec!["t2v".to_owned()],
            loss: 0.5,
            positive_score: 0.7,
            hardest_negative_gap: None,
            learning_rate: 1e-5,
            gradient_norm: 2.0,
            task_shares: shares.clone(),
            pairs_per_second: 9.0,
        };
        let names = |entry: &Entry| entry.scalars().1.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        let expected = [
            "task_share/t2v",
            "loss",
            "positive_score",
            "learning_rate",
            "gradient_norm",
            "pairs_per_second",
        ];
        assert_eq!(names(&step), expected);
        let epoch = Entry::Epoch {
            step: 0,
            epoch: 0,
            alignment: shares.clone(),
            separation: shares.clone(),
            sigma: Some(0.1),
            probabilities: shares,
            mined_pairs: 0,
        };
        assert_eq!(names(&epoch), ["alignment/t2v", "separation/t2v", "probability/t2v"]);
        assert_eq!(names(&evaluation(1)), ["recall@1/t2v", "recall@10/t2v", "recall@1", "recall@10"]);
        let scores = BTreeMap::from([("uvrb/MSRVTT".to_owned(), 0.4)]);
        assert_eq!(names(&Entry::Scores { step: 1, scores }), ["uvrb/MSRVTT"]);
    }
}
