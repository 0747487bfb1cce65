//! What should not be among pairs: the media and texts below a folder.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::ReviewError;
use super::content::{split, words};
use crate::embedder::CancelToken;
use crate::import::each_text;
use crate::media::MediaKind;

/// Fewest words of a text that is compared: names of classes and the like are everywhere.
const FEWEST_WORDS: usize = 3;

/// Media and texts that are held out.
#[derive(Default)]
pub(super) struct HeldOut {
    media: Vec<PathBuf>,
    files: Vec<PathBuf>,
    /// By its words, in which file a text is.
    texts: HashMap<u64, u32>,
}

impl HeldOut {
    /// Everything in `sources`, files and folders: media by their names, and of whatever holds rows all texts.
    pub(super) fn read(sources: &[PathBuf], cancel: &CancelToken) -> Result<Self, ReviewError> {
        let mut held_out = Self::default();
        for source in sources {
            for path in crate::import::all_files(source)? {
                if cancel.is_cancelled() {
                    return Err(ReviewError::Cancelled);
                }
                held_out.add(path)?;
            }
        }
        Ok(held_out)
    }

    fn add(&mut self, path: PathBuf) -> Result<(), ReviewError> {
        if MediaKind::of_name(&path).is_some() {
            self.media.push(path);
            return Ok(());
        }
        let file = self.files.len() as u32;
        let texts = &mut self.texts;
        each_text(&path, &mut |text| {
            if split(text).nth(FEWEST_WORDS - 1).is_some() {
                texts.entry(words(text)).or_insert(file);
            }
        })
        .map_err(|(place, reason)| ReviewError::HeldOut { place, reason })?;
        self.files.push(path);
        Ok(())
    }

    pub(super) fn media(&self) -> impl Iterator<Item = &Path> {
        self.media.iter().map(PathBuf::as_path)
    }

    pub(super) fn num_texts(&self) -> usize {
        self.texts.len()
    }

    /// The file that holds a text of the same words.
    pub(super) fn text(&self, text: &str) -> Option<&Path> {
        split(text).nth(FEWEST_WORDS - 1)?;
        let file = self.texts.get(&words(text))?;
        self.files.get(*file as usize).map(PathBuf::as_path)
    }
}
