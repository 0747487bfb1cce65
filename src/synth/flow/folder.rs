use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::report::Stage;
use super::settings::FlowSettings;
use crate::retrieval::LibraryManifest;
use crate::store::IoError;
use crate::synth::SynthError;
use crate::synth::output_folder::OutputFolder;

/// What decides what a run asks and makes. Kept as `run.json`, and the same as long as the folder lives.
#[derive(Debug, Serialize)]
pub(super) struct RunManifest<'a> {
    pub(super) settings: &'a FlowSettings,
    pub(super) captioner_model: &'a str,
    pub(super) embedder: &'a LibraryManifest,
    /// Hashes of the templates by file name.
    pub(super) prompts: &'a BTreeMap<&'static str, String>,
    /// Hash of the file of captions.
    pub(super) captions: Option<String>,
    /// Size and time of the last change of each video.
    pub(super) videos: BTreeMap<String, String>,
}

/// The folder that a run writes to; locked as long as it is open.
#[derive(Debug)]
pub(super) struct RunFolder {
    output: OutputFolder,
}

impl RunFolder {
    /// Opens `root` for the run that `manifest` describes, which began there or begins now.
    ///
    /// # Errors
    /// Those of [`OutputFolder::open`]; [`SynthError::Io`].
    pub(super) fn open(root: &Path, manifest: &RunManifest<'_>) -> Result<Self, SynthError> {
        let output = OutputFolder::open(root, manifest)?;
        for folder in ["frames", "journal", "report"] {
            let folder = output.root().join(folder);
            fs::create_dir_all(&folder).map_err(IoError::of("create the folder", &folder))?;
        }
        Ok(Self { output })
    }

    /// The folder itself, which relative paths in [`Self::pairs`] are relative to.
    pub(super) fn root(&self) -> &Path {
        self.output.root()
    }

    /// Frames of clips, as JPEG files.
    pub(super) fn frames(&self) -> PathBuf {
        self.root().join("frames")
    }

    /// The library of embeddings of clips and frames.
    pub(super) fn library(&self) -> PathBuf {
        self.root().join("clips")
    }

    /// What the filters of a stage did.
    pub(super) fn report(&self, stage: Stage) -> PathBuf {
        self.root().join("report").join(format!("{stage}.jsonl"))
    }

    /// A journal of facts.
    pub(super) fn journal(&self, name: &str) -> PathBuf {
        self.root().join("journal").join(format!("{name}.jsonl"))
    }

    /// The pairs.
    pub(super) fn pairs(&self) -> PathBuf {
        self.root().join("pairs.jsonl")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::video::Sampling;

    fn open(root: &Path, seed: u64) -> Result<RunFolder, String> {
        let settings = FlowSettings { seed, min_motion: 0.1 + 0.2, ..FlowSettings::default() };
        let embedder = LibraryManifest {
            format_version: 1,
            model: "m".to_owned(),
            revision: None,
            adapter: None,
            recipe: None,
            dim: 4,
            instruction: None,
            sampling: Sampling::Uniform { frames: 8 },
            min_pixels: None,
            max_pixels: None,
            moments: None,
            store_dtype: crate::retrieval::StoreDType::default(),
        };
        let manifest = RunManifest {
            settings: &settings,
            captioner_model: "c",
            embedder: &embedder,
            prompts: &BTreeMap::new(),
            captions: None,
            videos: (0..seed).map(|video| (format!("{video}.mp4"), "1 bytes".to_owned())).collect(),
        };
        RunFolder::open(root, &manifest).map_err(|error| error.to_string())
    }

    #[test]
    fn a_folder_is_one_runs_and_one_processs() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("deep/out");
        let first = open(&root, 1).unwrap();
        assert!(open(&root, 1).unwrap_err().starts_with("another process works in "));
        drop(first);
        assert!(open(&root, 1).is_ok());
        let message = open(&root, 2).unwrap_err();
        assert!(message.contains("(settings.seed: 1 there, 2 here; videos.1.mp4: missing there, "));
        let message = open(&root, 9).unwrap_err();
        assert!(message.contains("; and 4 more): give the same settings or another folder"), "{message}");

        fs::write(root.join("run.json"), "{").unwrap();
        assert!(open(&root, 1).unwrap_err().contains("run.json:1: not the settings of a run"));
        let message = open(folder.path(), 1).unwrap_err();
        assert!(message.contains("holds files and no run.json"), "{message}");
    }
}
