//! What should not be among pairs: the media and texts below a folder.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use super::ReviewError;
use super::content::{split, words};
use crate::embedder::CancelToken;
use crate::import::each_text;
use crate::media::MediaKind;
use crate::pairs::Pair;
use crate::store::{IoError, open_regular_file};
use crate::text::Lines;

/// Fewest words of a text that is compared: names of classes and the like are everywhere.
const FEWEST_WORDS: usize = 3;

/// Media and texts that are held out.
#[derive(Default)]
pub(super) struct HeldOut {
    media: BTreeSet<PathBuf>,
    files: Vec<PathBuf>,
    /// By its words, in which file a text is.
    texts: HashMap<u64, u32>,
}

impl HeldOut {
    /// Everything in `sources`, files and folders: media by their names, and of whatever holds rows all texts.
    /// One that is not there, or holds nothing to compare with, would make all pairs look good.
    pub(super) fn read(sources: &[PathBuf], cancel: &CancelToken) -> Result<Self, ReviewError> {
        let mut held_out = Self::default();
        for source in sources {
            source.metadata().map_err(IoError::of("find", source))?;
            let mut holds_any = false;
            for path in crate::import::all_files(source)? {
                if cancel.is_cancelled() {
                    return Err(ReviewError::Cancelled);
                }
                holds_any |= held_out.add(path)?;
            }
            if !holds_any {
                let reason = format!(
                    "nothing to compare with: no image, no video, and no text of {FEWEST_WORDS} words"
                );
                return Err(ReviewError::HeldOut { place: source.display().to_string(), reason });
            }
        }
        Ok(held_out)
    }

    /// Whether there was anything in it.
    fn add(&mut self, path: PathBuf) -> Result<bool, ReviewError> {
        if MediaKind::of_name(&path).is_some() {
            self.media.insert(path);
            return Ok(true);
        }
        let of_pairs = media_of_pairs(&path)?;
        let file = self.files.len() as u32;
        let texts = &mut self.texts;
        let mut holds_any = !of_pairs.is_empty();
        self.media.extend(of_pairs);
        each_text(&path, &mut |text| {
            if split(text).nth(FEWEST_WORDS - 1).is_some() {
                texts.entry(words(text)).or_insert(file);
                holds_any = true;
            }
        })
        .map_err(|(place, reason)| ReviewError::HeldOut { place, reason })?;
        self.files.push(path);
        Ok(holds_any)
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

/// What the lines of a file of pairs name, wherever it is; nothing of another file.
fn media_of_pairs(path: &Path) -> Result<Vec<PathBuf>, IoError> {
    let mut media = Vec::new();
    if path.extension().is_none_or(|ending| !ending.eq_ignore_ascii_case("jsonl")) {
        return Ok(media);
    }
    let base = path.parent().unwrap_or(Path::new(""));
    for line in Lines::new(open_regular_file(path).map_err(IoError::of("open", path))?) {
        // What a line that is no text has is told where its texts are read.
        let pair = line.ok().and_then(|line| Pair::from_json(&line.text, base).ok());
        media.extend(pair.iter().flat_map(Pair::files).map(Path::to_owned));
    }
    Ok(media)
}
