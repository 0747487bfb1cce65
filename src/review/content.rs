//! What media and texts hold, as numbers.

use std::collections::{BTreeSet, HashMap};
use std::io::Read;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::ReviewError;
use crate::embedder::{CancelToken, ImageSource, Input, Part, RangeClock};
use crate::hash::{FNV_OFFSET, fnv};
use crate::store::{IoError, open_regular_file};

/// Which media hold the same bytes.
pub(super) struct Contents {
    ids: HashMap<PathBuf, u64>,
}

impl Contents {
    /// Of the files that are there. Only those of equal size are read.
    pub(super) fn of<'a>(
        media: &'a BTreeSet<PathBuf>,
        others: impl Iterator<Item = &'a Path>,
        cancel: &CancelToken,
    ) -> Result<Self, ReviewError> {
        let paths: BTreeSet<&Path> = media.iter().map(PathBuf::as_path).chain(others).collect();
        let size = |path: &Path| path.metadata().ok().filter(|m| m.is_file()).map(|m| m.len());
        let sized: Vec<(&Path, u64)> =
            paths.into_iter().filter_map(|path| Some((path, size(path)?))).collect();
        let mut of_size: HashMap<u64, usize> = HashMap::new();
        for (_, size) in &sized {
            *of_size.entry(*size).or_default() += 1;
        }
        let id = |&(path, size): &(&Path, u64)| {
            if cancel.is_cancelled() {
                return Err(ReviewError::Cancelled);
            }
            let id = if of_size[&size] > 1 { hashed(path)? } else { FNV_OFFSET };
            Ok((path.to_owned(), combined(id, size)))
        };
        Ok(Self { ids: sized.par_iter().map(id).collect::<Result<_, ReviewError>>()? })
    }

    /// A number that files share which hold the same; `None` of one that is not there.
    pub(super) fn id(&self, path: &Path) -> Option<u64> {
        self.ids.get(path).copied()
    }

    /// A number that inputs share which hold the same, whatever their instruction.
    pub(super) fn key(&self, input: &Input) -> u64 {
        input.parts.iter().fold(FNV_OFFSET, |key, part| self.joined(key, part))
    }

    /// The same of parts.
    pub(super) fn part_key(&self, part: &Part) -> u64 {
        self.joined(FNV_OFFSET, part)
    }

    fn joined(&self, key: u64, part: &Part) -> u64 {
        let medium = |path: &Path| {
            self.id(path).unwrap_or_else(|| fnv(FNV_OFFSET, path.as_os_str().as_encoded_bytes()))
        };
        match part {
            Part::Text(text) => combined(key, words(text)),
            Part::Video(video) => {
                let range = [video.range.start_seconds, video.range.end_seconds];
                let key = video.source.path().map_or(key, |path| combined(key, medium(path)));
                let key =
                    range.into_iter().fold(key, |key, time| combined(key, time.map_or(1, f64::to_bits)));
                if video.clock == RangeClock::default() { key } else { combined(key, video.clock as u64) }
            }
            _ => part_files(part).fold(key, |key, path| combined(key, medium(path))),
        }
    }
}

fn hashed(path: &Path) -> Result<u64, IoError> {
    let mut file = open_regular_file(path).map_err(IoError::of("open", path))?;
    let mut buffer = vec![0; 1 << 18];
    let mut hash = FNV_OFFSET;
    loop {
        match file.read(&mut buffer).map_err(IoError::of("read", path))? {
            0 => return Ok(hash),
            read => hash = fnv(hash, &buffer[..read]),
        }
    }
}

/// A number of two, in their order.
pub(super) fn combined(one: u64, other: u64) -> u64 {
    fnv(fnv(FNV_OFFSET, &one.to_le_bytes()), &other.to_le_bytes())
}

/// A number that texts share which have the same words.
pub(super) fn words(text: &str) -> u64 {
    split(text).fold(FNV_OFFSET, |hash, word| fnv(fnv(hash, word.to_lowercase().as_bytes()), b" "))
}

/// The words of a text, without punctuation.
pub(super) fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
}

/// The files of an input.
pub(super) fn files(input: &Input) -> impl Iterator<Item = &Path> {
    input.parts.iter().flat_map(part_files)
}

/// The texts of an input.
pub(super) fn texts(input: &Input) -> impl Iterator<Item = &str> {
    input.parts.iter().filter_map(|part| if let Part::Text(text) = part { Some(text.as_str()) } else { None })
}

/// The files of a part.
pub(super) fn part_files(part: &Part) -> impl Iterator<Item = &Path> {
    let (images, video): (&[ImageSource], _) = match part {
        Part::Image(image) => (std::slice::from_ref(&image.source), None),
        Part::Frames(frames) => (&frames.frames, None),
        Part::Video(video) => (&[], video.source.path()),
        Part::Text(_) => (&[], None),
    };
    images.iter().filter_map(ImageSource::path).chain(video)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_content_has_one_number() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let [one, copy, alike, longer] =
            [("a.mp4", b"12".as_slice()), ("b.mp4", b"12"), ("c.mp4", b"13"), ("d.mp4", b"123")]
                .map(|(name, bytes)| write(name, bytes));
        let all = BTreeSet::from([one.clone(), copy.clone(), alike.clone(), folder.path().join("gone.mp4")]);
        let contents = Contents::of(&all, [longer.as_path()].into_iter(), &CancelToken::new()).unwrap();
        assert_eq!(contents.id(&one), contents.id(&copy));
        assert_eq!(contents.id(&folder.path().join("gone.mp4")), None);
        assert_ne!(contents.id(&one), contents.id(&alike));
        assert_ne!(contents.id(&one), contents.id(&longer));
        let key = |input: Input| contents.key(&input);
        assert_eq!(
            key(Input::video(&*one).and_text("A dog, runs")),
            key(Input::video(&*copy).and_text("a dog runs!"))
        );
        assert_ne!(key(Input::text("a dog runs")), key(Input::text("a dog run s")));
        assert_ne!(key(Input::text("a").and_text("b")), key(Input::text("a b")));
    }
}
