//! What lies at a path, told before and after FFmpeg has looked at it.

use super::{Limits, VideoError};
use std::{fs, io::Read, path::Path};

/// Bytes looked at to say what an unrecognised file is.
const HEAD_BYTES: u64 = 512;

/// Refuses what FFmpeg would answer with a riddle: missing files, directories, empty and over-long files.
pub(super) fn check_file(path: &Path, limits: &Limits) -> Result<(), VideoError> {
    let metadata = fs::metadata(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => VideoError::NotFound { path: path.into() },
        _ => VideoError::Io { path: path.into(), source },
    })?;
    if !metadata.is_file() {
        let found = if metadata.is_dir() { "a directory" } else { "not a regular file" };
        return Err(VideoError::NotAFile { path: path.into(), found });
    }
    // Opening tells of missing rights in the words of the system.
    fs::File::open(path).map_err(|source| VideoError::Io { path: path.into(), source })?;
    match metadata.len() {
        0 => Err(VideoError::EmptyFile { path: path.into() }),
        got if got > limits.max_bytes => {
            Err(VideoError::Limit { path: path.into(), what: "bytes:", limit: limits.max_bytes, got })
        }
        _ => Ok(()),
    }
}

/// Says what a file that no demuxer could open looks like.
pub(super) fn describe_unrecognised(path: &Path) -> &'static str {
    let mut head = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(HEAD_BYTES).read_to_end(&mut head));
    if read.is_err() {
        return "its bytes cannot be read";
    }
    describe_head(&head)
}

fn describe_head(head: &[u8]) -> &'static str {
    if let Some(b"ftyp" | b"mdat" | b"moov" | b"free" | b"wide" | b"skip") = head.get(4..8) {
        return "an MP4 file without a usable moov atom, so cut short or never finished";
    }
    let text = match std::str::from_utf8(head) {
        Ok(text) => Some(text),
        // The head may end inside a character.
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(head.get(..error.valid_up_to()).unwrap_or_default()).ok()
        }
        Err(_) => None,
    };
    match text {
        Some(text) if !text.chars().any(|c| c.is_control() && !c.is_whitespace()) => "the file holds text",
        _ if head.iter().all(|byte| *byte == 0) => "the file holds zeros",
        _ => "the bytes match no known container",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_told_apart() {
        let table: [(&[u8], &str); 5] = [
            (b"\0\0\0\x20ftypisom\0\0\x02\0", "moov"),
            (b"a plain text\nof two lines", "text"),
            ("na\u{ef}ve".as_bytes(), "text"),
            (&[0; 64], "zeros"),
            (&[0x93, 0x00, 0xfe, 0x12, 0x77], "no known container"),
        ];
        for (head, expected) in table {
            let described = describe_head(head);
            assert!(described.contains(expected), "{head:?}: {described}");
        }
        assert_eq!(describe_head(&"\u{e9}".as_bytes()[..1]), "the file holds text");
    }
}
