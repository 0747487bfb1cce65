//! What an input holds, as a hash: equal contents have equal keys, wherever the files lie.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gve::store::IoError;
use gve::{ImageSource, Input, MediaSource, Part, PixelLimits, RangeClock, Sampling, TimeRange};
use sha2::{Digest, Sha256};

use super::record::{self, Sha256Digest};

/// Hash over everything of an [`Input`] that can change its embedding: parts in their order, the content of
/// files, sampling, ranges, pixel bounds, instruction. Not over names.
pub type ContentKey = Sha256Digest;

/// Changes when the way of hashing does.
const VERSION: &str = "uvrb content 1";
/// Hashes of files changed as lately as this are not kept: clocks of file systems are coarse, and another
/// change could leave size and time as they are.
const SETTLED: Duration = Duration::from_secs(2);
const READ_BYTES: usize = 1 << 18;

/// Why an input has no key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContentError {
    /// A file of it cannot be read.
    #[error(transparent)]
    Io(#[from] IoError),
    /// A kind of part that is newer than this function.
    #[error("an input part whose content cannot be hashed")]
    UnknownPart,
}

/// What tells one state of a file from another without reading it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct FileState {
    path: PathBuf,
    size: u64,
    modified_nanoseconds: u128,
}

/// Computes [`ContentKey`]s. Each file is read once, however many inputs name it.
#[derive(Debug, Default)]
pub struct ContentHasher {
    files: Mutex<HashMap<FileState, Sha256Digest>>,
    directory: Option<PathBuf>,
}

impl ContentHasher {
    /// Remembers hashes of files as long as it lives.
    pub fn new() -> Self {
        Self::default()
    }

    /// Remembers hashes of files in `directory` as well, for the next run.
    pub fn persistent(directory: impl Into<PathBuf>) -> Self {
        Self { directory: Some(directory.into()), ..Self::default() }
    }

    /// The key of `input`.
    ///
    /// # Errors
    /// [`ContentError::Io`] naming the file; [`ContentError::UnknownPart`].
    pub fn key(&self, input: &Input) -> Result<ContentKey, ContentError> {
        let mut hash = Fields::new(VERSION);
        hash.option(input.instruction.as_deref(), |hash, text| hash.bytes(text.as_bytes()));
        hash.number(input.parts.len() as u64);
        for part in &input.parts {
            match part {
                Part::Text(text) => hash.tag("text").bytes(text.as_bytes()),
                Part::Image(image) => {
                    self.source(hash.tag("image"), &image.source)?;
                    hash.pixels(image.pixels)
                }
                Part::Video(video) => {
                    hash.tag("video").bytes(&self.media(&video.source)?);
                    hash.option(video.sampling.as_ref(), Fields::sampling);
                    hash.range(video.range);
                    // Caches have keys from when there was no other clock.
                    if video.clock != RangeClock::default() {
                        hash.tag("clock").tag(&serde_json::json!(video.clock).to_string());
                    }
                    hash.pixels(video.pixels)
                }
                Part::Frames(frames) => {
                    hash.tag("frames").number(frames.frames.len() as u64);
                    for frame in &frames.frames {
                        self.source(&mut hash, frame)?;
                    }
                    hash.float(frames.fps).pixels(frames.pixels)
                }
                _ => return Err(ContentError::UnknownPart),
            };
        }
        Ok(hash.finish())
    }

    fn source(&self, hash: &mut Fields, source: &ImageSource) -> Result<(), ContentError> {
        match source {
            ImageSource::Encoded(source) => hash.tag("file").bytes(&self.media(source)?),
            ImageSource::Decoded(image) => {
                let (width, height) = image.dimensions();
                hash.tag("memory").number(width.into()).number(height.into()).bytes(image.as_raw())
            }
        };
        Ok(())
    }

    /// The hash of what a file holds, or of the same bytes elsewhere.
    fn media(&self, source: &MediaSource) -> Result<Sha256Digest, ContentError> {
        let failed = |error| IoError::of("read", source.to_string())(error);
        match source.path() {
            Some(path) => self.file(path),
            None => Ok(hash_bytes(source.open().map_err(failed)?).map_err(failed)?),
        }
    }

    /// The hash of a file's content.
    fn file(&self, path: &Path) -> Result<Sha256Digest, ContentError> {
        let metadata = fs::metadata(path).map_err(IoError::of("read", path))?;
        let state = metadata.modified().ok().and_then(|modified| settled(path, metadata.len(), modified));
        if let Some(known) = state.as_ref().and_then(|state| self.recall(state)) {
            return Ok(known);
        }
        let digest = hash_file(path).map_err(IoError::of("read", path))?;
        if let Some(state) = state {
            self.remember(state, digest);
        }
        Ok(digest)
    }

    fn recall(&self, state: &FileState) -> Option<Sha256Digest> {
        let known = self.files.lock().unwrap_or_else(PoisonError::into_inner).get(state).copied();
        known.or_else(|| {
            // Only spares a second reading: one that is damaged is as good as none.
            let content = record::read(self.directory.as_ref()?, &state.key()).ok()??;
            content.try_into().ok()
        })
    }

    fn remember(&self, state: FileState, digest: Sha256Digest) {
        if let Some(directory) = &self.directory {
            // Only spares a second reading; whoever cannot write here hears of it when an embedding is kept.
            drop(record::write(directory, &state.key(), &digest));
        }
        self.files.lock().unwrap_or_else(PoisonError::into_inner).insert(state, digest);
    }
}

impl FileState {
    fn key(&self) -> Sha256Digest {
        let mut hash = Fields::new("uvrb file 1");
        hash.bytes(self.path.as_os_str().as_encoded_bytes()).number(self.size);
        hash.bytes(&self.modified_nanoseconds.to_le_bytes());
        hash.finish()
    }
}

/// The state of a file that can be relied upon, if so.
fn settled(path: &Path, size: u64, modified: SystemTime) -> Option<FileState> {
    // A time in the future fails here too.
    let age = SystemTime::now().duration_since(modified).ok()?;
    let modified_nanoseconds = modified.duration_since(UNIX_EPOCH).ok()?.as_nanos();
    (age >= SETTLED).then_some(())?;
    Some(FileState { path: std::path::absolute(path).ok()?, size, modified_nanoseconds })
}

/// The SHA-256 of a file's content.
pub(super) fn hash_file(path: &Path) -> io::Result<Sha256Digest> {
    hash_bytes(gve::store::open_regular_file(path)?)
}

fn hash_bytes(mut bytes: impl Read) -> io::Result<Sha256Digest> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match bytes.read(&mut buffer)? {
            0 => return Ok(hash.finalize().into()),
            read => hash.update(&buffer[..read]),
        }
    }
}

/// A hash over fields that cannot run into each other: each has its length in front.
pub(super) struct Fields(Sha256);

impl Fields {
    pub(super) fn new(purpose: &str) -> Self {
        let mut hash = Self(Sha256::new());
        hash.tag(purpose);
        hash
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.number(bytes.len() as u64);
        self.0.update(bytes);
        self
    }

    pub(super) fn tag(&mut self, tag: &str) -> &mut Self {
        self.bytes(tag.as_bytes())
    }

    fn number(&mut self, number: u64) -> &mut Self {
        self.0.update(number.to_le_bytes());
        self
    }

    fn float(&mut self, number: f64) -> &mut Self {
        self.number(number.to_bits())
    }

    fn option<T>(&mut self, value: Option<T>, some: impl FnOnce(&mut Self, T) -> &mut Self) -> &mut Self {
        match value {
            Some(value) => some(self.number(1), value),
            None => self.number(0),
        }
    }

    fn pixels(&mut self, pixels: PixelLimits) -> &mut Self {
        self.option(pixels.min_pixels, Self::number).option(pixels.max_pixels, Self::number)
    }

    fn range(&mut self, range: TimeRange) -> &mut Self {
        self.option(range.start_seconds, Self::float).option(range.end_seconds, Self::float)
    }

    fn sampling<'a>(&'a mut self, sampling: &Sampling) -> &'a mut Self {
        let count = |frames: usize| frames as u64;
        match sampling {
            Sampling::Uniform { frames } => self.tag("uniform").number(count(*frames)),
            Sampling::Fps { fps, min_frames, max_frames } => self
                .tag("fps")
                .float(*fps)
                .option(min_frames.map(count), Self::number)
                .option(max_frames.map(count), Self::number),
            Sampling::Timestamps(seconds) => {
                self.tag("timestamps").number(count(seconds.len()));
                seconds.iter().fold(self, |hash, &time| hash.float(time))
            }
            newer => self.tag("newer").tag(&serde_json::json!(newer).to_string()),
        }
    }

    pub(super) fn finish(self) -> Sha256Digest {
        self.0.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use gve::{FramesPart, ImagePart, VideoPart};
    use image::RgbImage;

    use super::*;

    fn of(part: Part) -> Input {
        Input::default().and_part(part)
    }

    #[test]
    fn inputs_that_differ_have_different_keys() {
        let directory = tempfile::tempdir().unwrap();
        let (a, b) = (directory.path().join("a"), directory.path().join("b"));
        fs::write(&a, "content a").unwrap();
        fs::write(&b, "content b").unwrap();
        let bounds = PixelLimits::default().with_min_pixels(Some(1));
        let largest = PixelLimits::default().with_max_pixels(Some(1));
        let frames = |frames: Vec<ImageSource>, fps| {
            of(Part::Frames(FramesPart::new(frames, fps).with_pixels(bounds)))
        };
        let (file, memory) = (
            |path: &Path| ImageSource::Encoded(path.into()),
            |w, h| ImageSource::Decoded(RgbImage::new(w, h)),
        );
        let sampled = |sampling| of(Part::Video(VideoPart::new(&a).with_sampling(Some(sampling))));
        let fps = |min_frames, max_frames| Sampling::Fps { fps: 1.0, min_frames, max_frames };
        let ranged = |start_seconds, end_seconds| {
            of(Part::Video(VideoPart::new(&a).with_range(TimeRange { start_seconds, end_seconds })))
        };
        let inputs = [
            Input::default(),
            Input::default().with_instruction(""),
            Input::text("ab"),
            Input::text("ab").with_instruction("i"),
            Input::text("i").with_instruction("ab"),
            Input::text("a").and_text("b"),
            Input::text("").and_text("ab"),
            Input::text("b").and_text("a"),
            Input::image(&a),
            Input::image(&b),
            Input::video(&a),
            Input::image(&a).and_text("a"),
            Input::text("a").and_image(&a),
            of(Part::Image(ImagePart::new(file(&a)).with_pixels(bounds))),
            of(Part::Image(ImagePart::new(file(&a)).with_pixels(largest))),
            of(Part::Image(ImagePart::new(memory(2, 3)).with_pixels(bounds))),
            of(Part::Image(ImagePart::new(memory(3, 2)).with_pixels(bounds))),
            of(Part::Video(VideoPart::new(&a).with_pixels(bounds))),
            sampled(Sampling::Uniform { frames: 8 }),
            sampled(Sampling::Uniform { frames: 9 }),
            sampled(fps(None, None)),
            sampled(fps(Some(4), None)),
            sampled(fps(None, Some(4))),
            sampled(Sampling::Timestamps(vec![])),
            sampled(Sampling::Timestamps(vec![1.0])),
            ranged(Some(1.0), None),
            ranged(None, Some(1.0)),
            of(Part::Video(VideoPart::new(&a).with_clock(RangeClock::Display))),
            frames(vec![file(&a), file(&b)], 1.0),
            frames(vec![file(&b), file(&a)], 1.0),
            frames(vec![file(&a), file(&b)], 2.0),
            frames(vec![file(&a)], 1.0),
        ];
        let hasher = ContentHasher::new();
        let keys: HashSet<ContentKey> = inputs.iter().map(|input| hasher.key(input).unwrap()).collect();
        assert_eq!(keys.len(), inputs.len());
    }

    #[test]
    fn a_key_is_of_contents_not_names() {
        let directory = tempfile::tempdir().unwrap();
        let (a, b) = (directory.path().join("a"), directory.path().join("b"));
        fs::write(&a, "same").unwrap();
        fs::write(&b, "same").unwrap();
        let hasher = ContentHasher::new();
        let before = hasher.key(&Input::video(&a)).unwrap();
        assert_eq!(before, hasher.key(&Input::video(&b)).unwrap());
        assert_eq!(before, hasher.key(&Input::video(MediaSource::bytes("same"))).unwrap());
        assert_eq!(before, ContentHasher::new().key(&Input::video(&a)).unwrap());
        // As long as before, and at once: the hash of a file that has only just changed is not relied upon.
        fs::write(&a, "else").unwrap();
        assert_ne!(before, hasher.key(&Input::video(&a)).unwrap());
    }

    #[test]
    fn a_settled_file_is_read_once_even_by_another_run() {
        let (data, memory) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = data.path().join("clip");
        let write_as_of = |content: &str, age_seconds: u64| {
            fs::write(&path, content).unwrap();
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + age_seconds);
            fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        };
        write_as_of("one", 0);
        let hasher = ContentHasher::persistent(memory.path());
        let one = hasher.key(&Input::video(&path)).unwrap();
        // Size and time as before: nothing but a reading could tell.
        write_as_of("two", 0);
        assert_eq!(hasher.key(&Input::video(&path)).unwrap(), one);
        assert_eq!(ContentHasher::persistent(memory.path()).key(&Input::video(&path)).unwrap(), one);
        assert_ne!(ContentHasher::new().key(&Input::video(&path)).unwrap(), one);
        write_as_of("two", 1);
        assert_ne!(hasher.key(&Input::video(&path)).unwrap(), one);
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = ContentHasher::new().key(&Input::video("nowhere/clip.mp4")).unwrap_err().to_string();
        assert!(error.contains("nowhere/clip.mp4"), "{error}");
    }
}
