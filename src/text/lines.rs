//! A file of text line by line.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// UTF-8's byte order mark, which editors and spreadsheets put in front.
const MARK: &[u8] = b"\xef\xbb\xbf";
/// Bytes read at once.
const BUFFER_BYTES: usize = 1 << 16;
/// Longest line, in bytes: it is held whole.
const MAX_LINE_BYTES: usize = 64 << 20;

/// A line that is not blank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Counted from 1, blank lines included.
    pub number: usize,
    /// Where its text begins in what is read, in bytes.
    pub offset: u64,
    /// Without byte order mark and line end.
    pub text: String,
}

/// A line that could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LineError {
    /// The file could not be read on; it is the last item.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The line is no text.
    #[error("line {number}: {reason}")]
    Text {
        /// Counted from 1.
        number: usize,
        /// What is wrong and what to do.
        reason: String,
    },
}

/// The lines of a file that are not blank. After a line that is no text, or longer than 64 MiB, the next one
/// comes, unless the file is no text as a whole, such as one in UTF-16, or cannot be read on.
#[derive(Debug)]
pub struct Lines<R> {
    reader: BufReader<R>,
    number: usize,
    offset: u64,
    limit_bytes: usize,
    done: bool,
}

impl Lines<File> {
    /// The lines of the file at `path`.
    ///
    /// # Errors
    /// Those of opening it.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        Ok(Self::new(File::open(path)?))
    }
}

impl<R: Read> Lines<R> {
    /// The lines of `reader`, from where it stands.
    pub fn new(reader: R) -> Self {
        Self::with_limit(reader, MAX_LINE_BYTES)
    }

    fn with_limit(reader: R, limit_bytes: usize) -> Self {
        let reader = BufReader::with_capacity(BUFFER_BYTES, reader);
        Self { reader, number: 0, offset: 0, limit_bytes, done: false }
    }

    /// The next line as bytes, with what ends it; `None` at the end.
    fn next_bytes(&mut self) -> Result<Option<Vec<u8>>, LineError> {
        let mut bytes = Vec::new();
        // With the byte that ends it.
        let most = self.limit_bytes as u64 + 1;
        self.reader.by_ref().take(most).read_until(b'\n', &mut bytes)?;
        if bytes.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        if let Some(reason) = not_text(&bytes).filter(|_| self.number == 1) {
            // No line of it will be any better.
            self.done = true;
            return Err(self.fault(reason.to_owned()));
        }
        if bytes.len() > self.limit_bytes && !bytes.ends_with(b"\n") {
            self.offset += bytes.len() as u64 + self.skip_line()?;
            let limit = self.limit_bytes;
            return Err(self.fault(format!("the line has more than {limit} bytes, which is the limit")));
        }
        Ok(Some(bytes))
    }

    fn fault(&self, reason: String) -> LineError {
        LineError::Text { number: self.number, reason }
    }

    /// Passes over what is left of a line, and gives its length.
    fn skip_line(&mut self) -> io::Result<u64> {
        let mut skipped = 0;
        loop {
            let buffer = match self.reader.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                buffer => buffer?,
            };
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let length = end.map_or(buffer.len(), |end| end + 1);
            skipped += length as u64;
            self.reader.consume(length);
            if end.is_some() || length == 0 {
                return Ok(skipped);
            }
        }
    }

    fn next_line(&mut self) -> Result<Option<Line>, LineError> {
        while let Some(bytes) = self.next_bytes()? {
            let start = self.offset;
            self.offset += bytes.len() as u64;
            // Also in the middle, where files with one were joined.
            let text = bytes.strip_prefix(MARK).unwrap_or(&bytes);
            let offset = start + (bytes.len() - text.len()) as u64;
            let number = self.number;
            let text = std::str::from_utf8(text).map_err(|_| self.fault("not UTF-8 text".to_owned()))?;
            if !text.trim().is_empty() {
                return Ok(Some(Line {
                    number,
                    offset,
                    text: text.trim_end_matches(['\r', '\n']).to_owned(),
                }));
            }
        }
        Ok(None)
    }
}

impl<R: Read> Iterator for Lines<R> {
    type Item = Result<Line, LineError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let line = self.next_line();
        // After a fault of the disk there is no next line, only the fault again.
        self.done |= matches!(line, Ok(None) | Err(LineError::Io(_)));
        line.transpose()
    }
}

/// The text of a whole file, without a byte order mark.
///
/// # Errors
/// In words, where it is not UTF-8.
pub fn decode(bytes: Vec<u8>) -> Result<String, String> {
    if let Some(reason) = not_text(&bytes) {
        return Err(reason.to_owned());
    }
    let text = String::from_utf8(bytes).map_err(|_| "not UTF-8 text".to_owned())?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}

/// What the first bytes of a file tell that is no text in UTF-8.
fn not_text(start: &[u8]) -> Option<&'static str> {
    let begins = |signs: &[&[u8]]| signs.iter().any(|sign| start.starts_with(sign));
    if begins(&[b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff"]) {
        return Some("UTF-16 or UTF-32 text: save it as UTF-8");
    }
    if begins(&[b"\x1f\x8b"]) {
        return Some("compressed with gzip: unpack it first");
    }
    if begins(&[b"\x28\xb5\x2f\xfd"]) {
        return Some("compressed with zstd: unpack it first");
    }
    start.contains(&0).then_some("it holds NUL bytes, as UTF-16 text does: save it as UTF-8")
}

/// What others say, whose texts may span lines: ours are one line.
pub(crate) fn one_line(said: impl fmt::Display) -> String {
    said.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Vec<Result<(usize, u64, String), String>> {
        let line = |line: Result<Line, LineError>| {
            line.map(|line| (line.number, line.offset, line.text)).map_err(|error| error.to_string())
        };
        Lines::new(bytes).map(line).collect()
    }

    #[test]
    fn marks_line_ends_and_blank_lines_say_nothing() {
        let line = |number, offset, text: &str| Ok((number, offset, text.to_owned()));
        assert_eq!(read(b"\xef\xbb\xbfa\r\n\r\n \t\nb \n"), [line(1, 3, "a"), line(4, 11, "b ")]);
        assert_eq!(read(b"a\n\xef\xbb\xbfb"), [line(1, 0, "a"), line(2, 5, "b")], "files that were joined");
        assert_eq!(read(b"a\r\r\nb\rc"), [line(1, 0, "a"), line(2, 4, "b\rc")]);
        for empty in [&b""[..], b"\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\r\n"] {
            assert_eq!(read(empty), []);
        }
    }

    #[test]
    fn what_is_no_text_is_said_once() {
        assert_eq!(
            read(b"a\n\xff\nb"),
            [
                Ok((1, 0, "a".to_owned())),
                Err("line 2: not UTF-8 text".to_owned()),
                Ok((3, 4, "b".to_owned()))
            ]
        );
        let utf16 = |mark: &[u8], place: fn(u16) -> [u8; 2]| {
            let units = "{}\n{}\n".encode_utf16();
            [mark, &units.flat_map(place).collect::<Vec<u8>>()].concat()
        };
        for bytes in [
            utf16(b"\xff\xfe", u16::to_le_bytes),
            utf16(b"\xfe\xff", u16::to_be_bytes),
            utf16(b"", u16::to_le_bytes),
            utf16(b"", u16::to_be_bytes),
        ] {
            let [Err(error)] = &read(&bytes)[..] else { panic!("{bytes:?}") };
            assert!(error.contains("line 1") && error.contains("save it as UTF-8"), "{error}");
            assert!(decode(bytes).unwrap_err().contains("save it as UTF-8"));
        }
        let [Err(error)] = &read(b"\x1f\x8b\x08\0\0\n\n")[..] else { panic!() };
        assert!(error.contains("gzip"), "{error}");
    }

    #[test]
    fn a_line_beyond_the_limit_is_passed_over() {
        let long = "y".repeat(BUFFER_BYTES * 2);
        let text = format!("0123456789\n{long}\r\nab\n{long}");
        let said: Vec<_> = Lines::with_limit(text.as_bytes(), 10)
            .map(|line| line.map(|line| (line.number, line.offset, line.text)).map_err(|e| e.to_string()))
            .collect();
        let over = |line| Err(format!("line {line}: the line has more than 10 bytes, which is the limit"));
        let offset = text.find("ab").unwrap() as u64;
        let whole = |number, offset, text: &str| Ok((number, offset, text.to_owned()));
        assert_eq!(said, [whole(1, 0, "0123456789"), over(2), whole(3, offset, "ab"), over(4)]);
    }

    #[test]
    fn a_mark_is_no_part_of_a_file() {
        assert_eq!(decode(b"\xef\xbb\xbf{}".to_vec()).unwrap(), "{}");
        assert_eq!(decode(b"{}".to_vec()).unwrap(), "{}");
        assert!(decode(b"\xe4".to_vec()).is_err());
    }

    #[test]
    fn a_disk_that_fails_is_said_once() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("bad sector"))
            }
        }
        let said: Vec<_> = Lines::new(Broken).map(|line| line.unwrap_err().to_string()).collect();
        assert_eq!(said, ["bad sector"]);
    }
}
