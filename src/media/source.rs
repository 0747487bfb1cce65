//! Encoded media wherever they are: in a file, in memory, or behind anything that reads and seeks.
//!
//! What is embedded is read from here alone, so that what holds for a file holds for an upload.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::io::{self, Cursor, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::reader::{Guarded, MediaReader, lock};
use crate::store::open_regular_file;

/// An encoded video or image: a file, bytes in memory, or a reader.
///
/// Whatever turns into a path turns into one of these. Clones share the bytes or the reader, and each opening
/// begins at the first byte, so one source may be read any number of times, also at once.
///
/// ```
/// use gve::MediaSource;
/// use std::io::Read;
///
/// # fn main() -> std::io::Result<()> {
/// let upload: Vec<u8> = vec![0x89, b'P', b'N', b'G'];
/// let image = MediaSource::bytes(upload);
/// assert_eq!(image.to_string(), "4 bytes in memory");
/// let image = image.named("upload 17");
/// assert_eq!(image.to_string(), "upload 17");
/// assert_eq!(image.open()?.bytes().count(), 4);
///
/// let file = MediaSource::from("clip.mp4");
/// assert_eq!(file.path(), Some("clip.mp4".as_ref()));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct MediaSource {
    origin: Origin,
    name: Option<String>,
}

#[derive(Clone)]
enum Origin {
    File(PathBuf),
    Bytes(Bytes),
    Reader(Arc<Mutex<Guarded>>),
}

#[derive(Clone)]
struct Bytes {
    held: Arc<dyn AsRef<[u8]> + Send + Sync>,
    length: usize,
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        (*self.held).as_ref()
    }
}

impl MediaSource {
    /// The bytes of a whole file: a `Vec<u8>`, an `Arc<[u8]>`, a memory map. They are not copied.
    pub fn bytes(bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        let length = bytes.as_ref().len();
        Self { origin: Origin::Bytes(Bytes { held: Arc::new(bytes), length }), name: None }
    }

    /// All that `reader` gives from its byte 0 on, wherever it stands now.
    ///
    /// It is asked for its length by seeking to its end, and may refuse. No more is read than the length it
    /// says.
    pub fn reader(reader: impl Read + Seek + Send + 'static) -> Self {
        Self { origin: Origin::Reader(Arc::new(Mutex::new(Guarded::new(reader)))), name: None }
    }

    /// The same, called `name` in messages. An extension in the name helps to tell formats that cannot be
    /// told by their bytes.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    /// The path of the file; `None` for what is no file.
    pub fn path(&self) -> Option<&Path> {
        match &self.origin {
            Origin::File(path) => Some(path),
            Origin::Bytes(_) | Origin::Reader(_) => None,
        }
    }

    /// The bytes, where they are in memory already.
    pub(crate) fn in_memory(&self) -> Option<&[u8]> {
        match &self.origin {
            Origin::Bytes(bytes) => Some(bytes.as_ref()),
            Origin::File(_) | Origin::Reader(_) => None,
        }
    }

    /// What messages call it: the name given, or else the path, as its bytes are.
    pub(crate) fn label(&self) -> PathBuf {
        match (&self.name, &self.origin) {
            (None, Origin::File(path)) => path.clone(),
            _ => self.to_string().into(),
        }
    }

    /// Opens it for reading from the first byte on.
    ///
    /// # Errors
    /// For files, that of the system; also for pipes and devices, which are not opened.
    pub fn open(&self) -> io::Result<MediaReader> {
        let (guarded, length) = match &self.origin {
            Origin::File(path) => {
                let file = open_regular_file(path)?;
                let length = file.metadata()?.len();
                (Arc::new(Mutex::new(Guarded::new(file))), Some(length))
            }
            Origin::Bytes(bytes) => {
                let cursor = Guarded::new(Cursor::new(bytes.clone()));
                (Arc::new(Mutex::new(cursor)), Some(bytes.length as u64))
            }
            Origin::Reader(guarded) => (Arc::clone(guarded), lock(guarded).length()),
        };
        Ok(MediaReader::new(guarded, length))
    }
}

impl<T: Into<PathBuf>> From<T> for MediaSource {
    fn from(path: T) -> Self {
        Self { origin: Origin::File(path.into()), name: None }
    }
}

/// What messages call it.
impl fmt::Display for MediaSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.name, &self.origin) {
            (Some(name), _) => f.write_str(name),
            (None, Origin::File(path)) => path.display().fmt(f),
            (None, Origin::Bytes(bytes)) => write!(f, "{} bytes in memory", bytes.length),
            (None, Origin::Reader(_)) => f.write_str("a reader"),
        }
    }
}

/// Does not spell out all the bytes.
impl fmt::Debug for MediaSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut tuple = f.debug_tuple("MediaSource");
        match &self.origin {
            Origin::File(path) => tuple.field(path),
            Origin::Bytes(bytes) => tuple.field(&bytes.length),
            Origin::Reader(reader) => tuple.field(&Arc::as_ptr(reader)),
        };
        if let Some(name) = &self.name {
            tuple.field(name);
        }
        tuple.finish()
    }
}

/// Equal are equal paths, equal bytes and the same reader, if they go by the same name.
impl PartialEq for MediaSource {
    fn eq(&self, other: &Self) -> bool {
        let same = match (&self.origin, &other.origin) {
            (Origin::File(a), Origin::File(b)) => a == b,
            (Origin::Bytes(a), Origin::Bytes(b)) => a.as_ref() == b.as_ref(),
            (Origin::Reader(a), Origin::Reader(b)) => Arc::ptr_eq(a, b),
            _ => false,
        };
        same && self.name == other.name
    }
}

impl Eq for MediaSource {}

impl Hash for MediaSource {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        match &self.origin {
            Origin::File(path) => (0, path).hash(hasher),
            Origin::Bytes(bytes) => (1, bytes.as_ref()).hash(hasher),
            Origin::Reader(reader) => (2, Arc::as_ptr(reader)).hash(hasher),
        }
        self.name.hash(hasher);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::DefaultHasher;
    use std::io::{Read, Seek, SeekFrom};

    #[test]
    fn clones_share_one_reader_and_each_has_its_own_place() {
        let source = MediaSource::reader(Cursor::new((0..200).collect::<Vec<u8>>()));
        let (mut a, mut b) = (source.open().unwrap(), source.clone().open().unwrap());
        let mut byte = [0];
        for i in 0..100 {
            a.read_exact(&mut byte).unwrap();
            assert_eq!(byte, [i]);
            b.seek(SeekFrom::End(-1 - i64::from(i))).unwrap();
            b.read_exact(&mut byte).unwrap();
            assert_eq!(byte, [199 - i]);
        }
        assert!(a.seek(SeekFrom::Current(-101)).is_err());
        assert_eq!(a.seek(SeekFrom::Start(u64::MAX)).unwrap(), u64::MAX);
        assert_eq!(a.read(&mut byte).unwrap(), 0);
    }

    #[test]
    fn equal_sources_are_equal_and_hash_alike() {
        let bytes = |bytes: &[u8]| MediaSource::bytes(bytes.to_vec());
        let key = |source: &MediaSource| {
            let mut hasher = DefaultHasher::new();
            source.hash(&mut hasher);
            hasher.finish()
        };
        let reader = MediaSource::reader(Cursor::new([1]));
        let different = [
            MediaSource::from("a"),
            MediaSource::from("b"),
            MediaSource::from("a").named("b"),
            bytes(b"a"),
            bytes(b"b"),
            bytes(b"a").named("a"),
            reader.clone(),
            MediaSource::reader(Cursor::new([1])),
        ];
        for (i, a) in different.iter().enumerate() {
            for (j, b) in different.iter().enumerate() {
                assert_eq!((a == b, key(a) == key(b)), (i == j, i == j), "{a:?} {b:?}");
            }
        }
        assert_eq!(bytes(b"a"), bytes(b"a"));
        assert_eq!(reader, reader.clone());
    }
}
