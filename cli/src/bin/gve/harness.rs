//! UVRB on the way of a training run: the program `uvrb` is run on the weights as they stand.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use gve::CancelToken;
use gve::train::{ModelSection, TrainConfig, Trained};
use serde_json::Value;

/// How often a running harness is asked whether it is done.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// What the harness prints, in the folder of an evaluation.
const SCORES: &str = "scores.jsonl";

/// The harness, found and ready to be run.
pub(crate) struct Harness {
    program: PathBuf,
    /// What is the same every time.
    arguments: Vec<OsString>,
    /// The model of an adapter, where one is trained.
    base_model: Option<PathBuf>,
    cancel: CancelToken,
}

/// What the harness came to.
pub(crate) struct Scored {
    /// By curve: `uvrb/MSRVTT` and so on, and `uvrb/mean` of these, where as many were scored as ever.
    pub(crate) scores: BTreeMap<String, f64>,
    /// What it said last, unless all went well.
    pub(crate) complaint: Option<String>,
}

impl Harness {
    /// What `config` asks for in `evaluation.uvrb`, for adapters of the model in `model`.
    ///
    /// # Errors
    /// The folder or the program is not there.
    pub(crate) fn new(config: &TrainConfig, model: &Path, cancel: &CancelToken) -> Result<Option<Self>> {
        let Some(section) = &config.evaluation else { return Ok(None) };
        let Some(data) = &section.uvrb else { return Ok(None) };
        if !data.is_dir() {
            bail!("`evaluation.uvrb`: there is no directory {}", data.display());
        }
        let mut arguments: Vec<OsString> = vec!["run".into(), data.into()];
        arguments.extend(section.uvrb_datasets.iter().map(OsString::from));
        arguments.extend(["--json", "--quiet", "--no-cache", "--name", "trained"].map(OsString::from));
        arguments
            .extend(section.uvrb_limit.iter().flat_map(|limit| ["--limit".into(), limit.to_string().into()]));
        Ok(Some(Self {
            program: find_program(section.uvrb_program.as_deref())?,
            arguments,
            base_model: (config.train == Trained::Lora).then(|| model.to_owned()),
            cancel: cancel.clone(),
        }))
    }

    /// Has it read inputs as the run does, by the settings of
    /// [`Trainer::config`](gve::train::Trainer::config).
    #[must_use]
    pub(crate) fn reading(mut self, model: &ModelSection) -> Self {
        let settings = [
            ("--device", Some(model.device.to_string())),
            ("--dtype", Some(model.dtype.to_string())),
            ("--frames", model.frames.map(|frames| frames.to_string())),
            ("--max-pixels", model.max_pixels.map(|pixels| pixels.to_string())),
            ("--max-length", model.max_length.map(|tokens| tokens.to_string())),
        ];
        for (name, value) in settings {
            self.arguments.extend(value.into_iter().flat_map(|value| [name.into(), value.into()]));
        }
        self
    }

    /// Scores the weights in `weights/` of `directory`, and leaves results and messages beside them. `None`
    /// when asked to stop.
    ///
    /// # Errors
    /// It cannot be run, or has no score to give.
    pub(crate) fn score(&self, directory: &Path) -> Result<Option<Scored>> {
        let weights = directory.join("weights");
        let (output, log) = (directory.join(SCORES), directory.join("uvrb.log"));
        let create = |path: &Path| {
            File::create(path).with_context(|| format!("cannot create {}", path.display())).map(Stdio::from)
        };
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).arg("--out").arg(directory);
        match &self.base_model {
            Some(model) => command.arg("--model").arg(model).arg("--adapter").arg(weights),
            None => command.arg("--model").arg(weights),
        };
        command.stdin(Stdio::null()).stdout(create(&output)?).stderr(create(&log)?);
        let cannot_run = || format!("cannot run {}", self.program.display());
        let mut child = command.spawn().with_context(cannot_run)?;
        let status = loop {
            if self.cancel.is_cancelled() {
                // It may have caught Ctrl-C itself and be gone.
                drop(child.kill());
                child.wait().with_context(cannot_run)?;
                return Ok(None);
            }
            match child.try_wait().with_context(cannot_run)? {
                Some(status) => break status,
                None => std::thread::sleep(POLL_INTERVAL),
            }
        };
        let said = fs::read_to_string(&log).unwrap_or_default();
        let said = said.lines().next_back().unwrap_or("it said nothing").to_owned();
        let mut scores = read_scores(&output)?;
        if scores.is_empty() {
            bail!("{status}: {said} ({})", log.display());
        }
        // A mean over fewer compares to none before it, and must not choose the best weights.
        if scores.len() >= most_scored(directory) {
            scores.insert("uvrb/mean".to_owned(), scores.values().sum::<f64>() / scores.len() as f64);
        }
        let complaint = (!status.success()).then(|| format!("{said} ({})", log.display()));
        Ok(Some(Scored { scores, complaint }))
    }
}

/// The program that was named, or the one beside this one, or the one on the search path.
fn find_program(named: Option<&Path>) -> Result<PathBuf> {
    let name = format!("uvrb{}", std::env::consts::EXE_SUFFIX);
    let beside = std::env::current_exe().ok().map(|exe| exe.with_file_name(&name));
    let found = named.map(Path::to_owned).or(beside.filter(|path| path.is_file()));
    let program = found.unwrap_or_else(|| name.into());
    let answer = Command::new(&program).arg("--version").stdin(Stdio::null()).output();
    let reason = match answer {
        Ok(output) if output.status.success() => return Ok(program),
        Ok(output) => format!("it ends with {}", output.status),
        Err(error) => error.to_string(),
    };
    let remedy = "build it with `cargo build --release -p uvrb`, or name it in `evaluation.uvrb_program`";
    bail!("`evaluation.uvrb`: cannot run {}: {reason}; {remedy}", program.display())
}

/// The most data sets of which the evaluation in `directory` and those beside it have scores.
fn most_scored(directory: &Path) -> usize {
    let evaluations = directory.parent().and_then(|all| fs::read_dir(all).ok()).into_iter().flatten();
    let count = |one: io::Result<fs::DirEntry>| read_scores(&one.ok()?.path().join(SCORES)).ok();
    evaluations.filter_map(count).map(|scores| scores.len()).max().unwrap_or(0)
}

/// The lines that the harness printed, one for each data set.
fn read_scores(path: &Path) -> Result<BTreeMap<String, f64>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut scores = BTreeMap::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line: Value =
            serde_json::from_str(line).with_context(|| format!("{}:{number}", path.display()))?;
        let (Some(dataset), Some(score)) = (line["dataset"].as_str(), line["score"].as_f64()) else {
            return Err(anyhow!("{}:{number}: no data set with a score", path.display()));
        };
        scores.insert(format!("uvrb/{dataset}"), score);
    }
    Ok(scores)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_count_as_any_evaluation_has() {
        let run = tempfile::tempdir().unwrap();
        let now = run.path().join("step-3");
        for (step, ids) in [("step-1", &["a"][..]), ("step-2", &["a", "b"]), ("step-3", &["b"])] {
            fs::create_dir(run.path().join(step)).unwrap();
            let line = |id: &&str| format!("{{\"dataset\": \"{id}\", \"score\": 0.5}}\n");
            fs::write(run.path().join(step).join(SCORES), ids.iter().map(line).collect::<String>()).unwrap();
        }
        // Of one that was killed.
        fs::create_dir(run.path().join("step-4")).unwrap();
        assert_eq!(most_scored(&now), 2);
    }
}
