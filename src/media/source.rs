//! Encoded media wherever they are: in a file, in memory, or behind anything that reads and seeks.
//!
//! Videos and images are read from here alone, so that what holds for a file holds for an upload. A reader that is handed over is code of
//! somebody else's. It may panic, give less than was asked for, claim more than it gave or not know its length: whatever it does is data or
//! an error that names the byte.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::store::open_regular_file;

/// An encoded video or image: a file, bytes in memory, or a reader.
///
/// Whatever turns into a path turns into one of these. Clones share the bytes or the reader, and each opening begins at the first byte, so one
/// source may be read any number of times, also at once.
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
    /// It is asked for its length by seeking to its end, and may refuse. No more is read than the length it says.
    pub fn reader(reader: impl Read + Seek + Send + 'static) -> Self {
        Self { origin: Origin::Reader(Arc::new(Mutex::new(Guarded::new(reader)))), name: None }
    }

    /// The same, called `name` in messages. An extension in the name helps to tell formats that cannot be told by their bytes.
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
        Ok(MediaReader { guarded, position: 0, length })
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

/// A [`MediaSource`] that is read, with a place of its own in it.
///
/// Errors name the byte. To end before the length is one.
pub struct MediaReader {
    guarded: Arc<Mutex<Guarded>>,
    position: u64,
    length: Option<u64>,
}

impl MediaReader {
    /// How many bytes there were when it was opened; `None` where the reader does not tell.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// The byte that is read next, from 0.
    pub fn position(&self) -> u64 {
        self.position
    }
}

impl Read for MediaReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let offset = self.position;
        let left = self.length.map_or(u64::MAX, |length| length.saturating_sub(offset));
        let room = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let Some(buffer) = buffer.get_mut(..room).filter(|buffer| !buffer.is_empty()) else { return Ok(0) };
        let read = match (lock(&self.guarded).read_at(offset, buffer), self.length) {
            (Ok(0), Some(length)) => {
                let message = format!("it ends here, and was to have {length} bytes");
                Err(io::Error::new(io::ErrorKind::UnexpectedEof, message))
            }
            (read, _) => read,
        };
        let read = read.map_err(|reason| io::Error::new(reason.kind(), ReadError { offset, reason }))?;
        self.position = offset.saturating_add(read as u64);
        Ok(read)
    }
}

impl Seek for MediaReader {
    /// Only notes the place. Whether the reader can go there shows when it is read.
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let place = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
            SeekFrom::End(offset) => {
                let length = self.length.ok_or_else(|| {
                    io::Error::new(io::ErrorKind::Unsupported, "the reader does not tell its length")
                })?;
                length.checked_add_signed(offset)
            }
        };
        let before = || io::Error::new(io::ErrorKind::InvalidInput, "a place before the first byte");
        self.position = place.ok_or_else(before)?;
        Ok(self.position)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("at byte {offset}: {reason}")]
struct ReadError {
    offset: u64,
    reason: io::Error,
}

trait ReadSeek: Read + Seek + Send {}

impl<T: Read + Seek + Send> ReadSeek for T {}

/// A reader whose every answer is looked at.
struct Guarded {
    reader: Box<dyn ReadSeek>,
    /// Where the reader is, if that is known.
    at: Option<u64>,
}

/// No call on a reader leaves a panic in the lock.
fn lock(guarded: &Mutex<Guarded>) -> MutexGuard<'_, Guarded> {
    guarded.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Guarded {
    fn new(reader: impl Read + Seek + Send + 'static) -> Self {
        Self { reader: Box::new(reader), at: None }
    }

    fn length(&mut self) -> Option<u64> {
        self.at = None;
        self.ask(|reader| reader.seek(SeekFrom::End(0))).ok()
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at.take() != Some(offset) {
            let found = self.ask(|reader| reader.seek(SeekFrom::Start(offset)))?;
            if found != offset {
                return Err(io::Error::other(format!("the reader was to go there and went to byte {found}")));
            }
        }
        let read = loop {
            match self.ask(|reader| reader.read(buffer)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => break read?,
            }
        };
        if read > buffer.len() {
            let message = format!("the reader claims to have put {read} bytes into {}", buffer.len());
            return Err(io::Error::other(message));
        }
        self.at = offset.checked_add(read as u64);
        Ok(read)
    }

    /// What the reader answers; an error where it panics.
    fn ask<T>(&mut self, question: impl FnOnce(&mut dyn ReadSeek) -> io::Result<T>) -> io::Result<T> {
        catch_unwind(AssertUnwindSafe(|| question(&mut *self.reader))).unwrap_or_else(|panic| {
            let message = panic.downcast_ref::<String>().map(String::as_str);
            let message = message.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(io::Error::other(format!("the reader panicked: {}", message.unwrap_or("without a message"))))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::hash::DefaultHasher;

    use super::*;

    /// Gives bytes by a rule, and says it has `length` of them.
    struct Odd {
        at: u64,
        length: Option<u64>,
        read: fn(u64, &mut [u8]) -> io::Result<usize>,
    }

    impl Read for Odd {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let read = (self.read)(self.at, buffer)?;
            self.at += read as u64;
            Ok(read)
        }
    }

    impl Seek for Odd {
        fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
            match to {
                SeekFrom::Start(at) => self.at = at,
                SeekFrom::Current(_) => unreachable!(),
                SeekFrom::End(_) => return self.length.ok_or(io::ErrorKind::Unsupported.into()),
            }
            Ok(self.at)
        }
    }

    fn ten(at: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(first) = buffer.first_mut().filter(|_| at < 10) else { return Ok(0) };
        *first = at as u8;
        Ok(1)
    }

    fn read(length: Option<u64>, read: fn(u64, &mut [u8]) -> io::Result<usize>) -> Result<Vec<u8>, String> {
        let source = MediaSource::reader(Odd { at: 7, length, read });
        let mut bytes = Vec::new();
        let read = source.open().unwrap().read_to_end(&mut bytes);
        read.map(|_| bytes).map_err(|error| error.to_string())
    }

    #[test]
    fn readers_that_give_little_or_hide_their_length_are_read_whole() {
        let all: Vec<u8> = (0..10).collect();
        assert_eq!(read(Some(10), ten), Ok(all.clone()));
        assert_eq!(read(None, ten), Ok(all.clone()));
        assert_eq!(read(Some(4), ten), Ok(all[..4].to_vec()));
    }

    #[test]
    fn whatever_else_a_reader_does_is_an_error_that_names_the_byte() {
        let table: [(Option<u64>, fn(u64, &mut [u8]) -> io::Result<usize>, &str); 5] = [
            (Some(11), ten, "at byte 10: it ends here, and was to have 11 bytes"),
            (
                None,
                |at, b| if at < 3 { ten(at, b) } else { Err(io::Error::other("gone")) },
                "at byte 3: gone",
            ),
            (
                Some(10),
                |at, b| if at < 3 { ten(at, b) } else { panic!("of {at}") },
                "at byte 3: the reader panicked: of 3",
            ),
            (Some(10), |_, b| Ok(b.len() + 1), "at byte 0: the reader claims to have put 11 bytes into 10"),
            (Some(10), |_, _| std::panic::panic_any(1), "at byte 0: the reader panicked: without a message"),
        ];
        for (length, rule, expected) in table {
            assert_eq!(read(length, rule), Err(expected.to_owned()));
        }
        struct Elsewhere;
        impl Read for Elsewhere {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Ok(0)
            }
        }
        impl Seek for Elsewhere {
            fn seek(&mut self, _: SeekFrom) -> io::Result<u64> {
                Ok(5)
            }
        }
        let error = MediaSource::reader(Elsewhere).open().unwrap().read(&mut [0]).unwrap_err().to_string();
        assert_eq!(error, "at byte 0: the reader was to go there and went to byte 5");
    }

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
