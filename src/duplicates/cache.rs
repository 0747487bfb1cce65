use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use super::fingerprint::Fingerprint;
use super::picture::{CELLS, Picture};
use crate::hash::{FNV_OFFSET, fnv};
use crate::media::MediaKind;
use crate::retrieval::FileFingerprint;
use crate::store::{AtomicFile, IoError, create_folder_of, limited_file};

/// What a file begins with. Another number is another way to see pictures: what was kept is made anew.
const MAGIC: &[u8; 8] = b"gvefp\0\0\x02";
/// The longest file that is read: 200 hours in which something always moves.
const MOST_BYTES: u64 = 2 << 30;
/// Bytes of a picture with its time.
const PICTURE_BYTES: usize = 4 + CELLS;

/// Fingerprints on disk, one file each, in a folder that holds nothing else. One is found by the path of its
/// file, and holds as long as that has its size and time of change.
///
/// Whatever is wrong with a file of it, the fingerprint is made anew. Several processes may use one at a
/// time.
#[derive(Debug, Clone)]
pub struct FingerprintCache {
    folder: PathBuf,
    failure: Arc<OnceLock<IoError>>,
}

/// What stands before the pictures, as JSON.
#[derive(Serialize, Deserialize)]
struct Header {
    path: PathBuf,
    size_bytes: u64,
    modified_nanoseconds: i64,
    is_video: bool,
    width: u32,
    height: u32,
    duration_seconds: f64,
    fps: f64,
    codec: String,
    picture_share: f64,
    pictures: usize,
    /// Of the bytes after the header, and of its own text without this.
    checksum: u64,
}

impl FingerprintCache {
    /// One in a folder, which is made when something is kept.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), failure: Arc::default() }
    }

    /// Why [`read_fingerprints`](super::read_fingerprints) could not keep something, where that was so: what is not
    /// kept is made anew the next time.
    pub fn failure(&self) -> Option<&IoError> {
        self.failure.get()
    }

    /// As [`put`](Self::put), where it goes on without.
    pub(super) fn try_put(&self, path: &Path, state: FileFingerprint, fingerprint: &Fingerprint) {
        if let Err(error) = self.put(path, state, fingerprint) {
            // The first is told.
            drop(self.failure.set(error));
        }
    }

    fn file_of(&self, path: &Path) -> PathBuf {
        let name = fnv(FNV_OFFSET, path.as_os_str().as_encoded_bytes());
        self.folder.join(format!("{name:016x}.gvefp"))
    }

    /// The fingerprint of a file in this state, if it is there and whole.
    #[must_use]
    pub fn get(&self, path: &Path, state: FileFingerprint) -> Option<Fingerprint> {
        let bytes = limited_file::read(&self.file_of(path), MOST_BYTES).ok()?;
        let (length, rest) = bytes.strip_prefix(MAGIC)?.split_at_checked(4)?;
        let length = u32::from_le_bytes(length.try_into().ok()?) as usize;
        let (header, rest) = rest.split_at_checked(length)?;
        let header: Header = serde_json::from_slice(header).ok()?;
        let is_of = header.path == path
            && header.size_bytes == state.size_bytes
            && header.modified_nanoseconds == state.modified_nanoseconds;
        let is_whole = Some(rest.len()) == header.pictures.checked_mul(PICTURE_BYTES);
        if !is_of || !is_whole || header.checksum != header.checksum_with(rest) {
            return None;
        }
        let (mut seconds, mut pictures) = (Vec::new(), Vec::new());
        for picture in rest.chunks_exact(PICTURE_BYTES) {
            let (time, cells) = picture.split_at(4);
            seconds.push(f32::from_le_bytes(time.try_into().ok()?));
            pictures.push(Picture::try_from(cells).ok()?);
        }
        Some(Fingerprint {
            kind: if header.is_video { MediaKind::Video } else { MediaKind::Image },
            width: header.width,
            height: header.height,
            duration_seconds: header.duration_seconds,
            fps: header.fps,
            codec: header.codec,
            size_bytes: header.size_bytes,
            picture_share: header.picture_share,
            seconds,
            pictures,
        })
    }

    /// Keeps the fingerprint of a file in this state.
    ///
    /// # Errors
    /// The folder or the file cannot be written.
    pub fn put(&self, path: &Path, state: FileFingerprint, fingerprint: &Fingerprint) -> Result<(), IoError> {
        let mut pictures = Vec::with_capacity(fingerprint.pictures.len() * PICTURE_BYTES);
        for (seconds, picture) in fingerprint.seconds.iter().zip(&fingerprint.pictures) {
            pictures.extend_from_slice(&seconds.to_le_bytes());
            pictures.extend_from_slice(picture);
        }
        let mut header = Header {
            path: path.to_owned(),
            size_bytes: state.size_bytes,
            modified_nanoseconds: state.modified_nanoseconds,
            is_video: fingerprint.kind == MediaKind::Video,
            width: fingerprint.width,
            height: fingerprint.height,
            duration_seconds: fingerprint.duration_seconds,
            fps: fingerprint.fps,
            codec: fingerprint.codec.clone(),
            picture_share: fingerprint.picture_share,
            pictures: fingerprint.pictures.len(),
            checksum: 0,
        };
        header.checksum = header.checksum_with(&pictures);
        let file = self.file_of(path);
        let header = serde_json::to_vec(&header)
            .map_err(|error| IoError::of("write", &file)(io::Error::other(error)))?;
        create_folder_of(&file)?;
        let mut written = AtomicFile::create(&file)?;
        let mut write = || {
            written.write_all(MAGIC)?;
            written.write_all(&(header.len() as u32).to_le_bytes())?;
            written.write_all(&header)?;
            written.write_all(&pictures)
        };
        write().map_err(IoError::of("write", &file))?;
        // It has a checksum, and can be made again.
        written.finish_unsynced()
    }
}

impl Header {
    fn checksum_with(&self, pictures: &[u8]) -> u64 {
        let Self { width, height, duration_seconds, fps, codec, is_video, picture_share, .. } = self;
        let own = format!("{width} {height} {duration_seconds} {fps} {codec} {is_video} {picture_share}");
        fnv(fnv(FNV_OFFSET, own.as_bytes()), pictures)
    }
}
