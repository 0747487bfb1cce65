//! Reading what somebody else's code gives.
//!
//! A reader that is handed over may panic, give less than was asked for, claim more than it gave or not know
//! its length: whatever it does is data or an error that names the byte.

use crate::text::one_line;
use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A [`MediaSource`](super::MediaSource) that is read, with a place of its own in it.
///
/// Errors name the byte. To end before the length is one.
pub struct MediaReader {
    guarded: Arc<Mutex<Guarded>>,
    position: u64,
    length: Option<u64>,
}

impl fmt::Debug for MediaReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { position, length, .. } = self;
        f.debug_struct("MediaReader")
            .field("position", position)
            .field("length", length)
            .finish_non_exhaustive()
    }
}

impl MediaReader {
    pub(super) fn new(guarded: Arc<Mutex<Guarded>>, length: Option<u64>) -> Self {
        Self { guarded, position: 0, length }
    }

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
        let read = read.map_err(|source| io::Error::new(source.kind(), ReadError { offset, source }))?;
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
#[error("at byte {offset}: {}", one_line(source))]
struct ReadError {
    offset: u64,
    source: io::Error,
}

trait ReadSeek: Read + Seek + Send {}

impl<T: Read + Seek + Send> ReadSeek for T {}

/// A reader whose every answer is looked at.
pub(super) struct Guarded {
    reader: Box<dyn ReadSeek>,
    /// Where the reader is, if that is known.
    at: Option<u64>,
}

/// No call on a reader leaves a panic in the lock.
pub(super) fn lock(guarded: &Mutex<Guarded>) -> MutexGuard<'_, Guarded> {
    guarded.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Guarded {
    pub(super) fn new(reader: impl Read + Seek + Send + 'static) -> Self {
        Self { reader: Box::new(reader), at: None }
    }

    pub(super) fn length(&mut self) -> Option<u64> {
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
    use super::*;
    use crate::media::MediaSource;

    type Rule = fn(u64, &mut [u8]) -> io::Result<usize>;

    /// Gives bytes by a rule, and says it has `length` of them.
    struct Odd {
        at: u64,
        length: Option<u64>,
        read: Rule,
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

    fn read(length: Option<u64>, read: Rule) -> Result<Vec<u8>, String> {
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
        let table: [(Option<u64>, Rule, &str); 5] = [
            (Some(11), ten, "at byte 10: it ends here, and was to have 11 bytes"),
            (
                None,
                |at, b| if at < 3 { ten(at, b) } else { Err(io::Error::other("all\ngone")) },
                "at byte 3: all gone",
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
}
