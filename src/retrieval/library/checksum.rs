//! What makes damage to a segment show.
//!
//! Every row carries a checksum of its number and of all it holds, so that a row is good or not by itself.
//! What is said about the rows as a whole, how many there are, how they were made and which older segments
//! they replace, stands under a [`Seal`] with a checksum of its own. XXH64: against decay, not against
//! forgers.

use std::hash::Hasher;

use twox_hash::XxHash64;

use super::entry::LibraryEntry;
use crate::media::{MediaKind, TimeRange};

/// Values of an embedding that are hashed together.
const CHUNK: usize = 256;

/// The checksum of row number `row` of a segment.
pub(super) fn of_row(row: usize, entry: &LibraryEntry, embedding: &[f32]) -> u64 {
    let mut hash = XxHash64::with_seed(0);
    let path = entry.path.as_os_str().as_encoded_bytes();
    let kind = match entry.kind {
        MediaKind::Image => 0,
        MediaKind::Video => 1,
    };
    let range = entry.time_range.map(TimeRange::to_bits);
    let [start, end] = range.unwrap_or_default().map(Option::unwrap_or_default);
    let size = entry.fingerprint.size_bytes;
    let modified = entry.fingerprint.modified_nanoseconds.cast_unsigned();
    let numbers =
        [row as u64, path.len() as u64, kind, u64::from(range.is_some()), start, end, size, modified];
    for number in numbers {
        hash.write(&number.to_le_bytes());
    }
    hash.write(path);
    let mut bytes = [[0; 4]; CHUNK];
    for chunk in embedding.chunks(CHUNK) {
        for (bytes, value) in bytes.iter_mut().zip(chunk) {
            *bytes = value.to_le_bytes();
        }
        hash.write(bytes[..chunk.len()].as_flattened());
    }
    hash.finish()
}

/// The checksum of a text.
pub(super) fn of_text(text: &str) -> u64 {
    let mut hash = XxHash64::with_seed(0);
    hash.write(text.as_bytes());
    hash.finish()
}

/// What a segment says about its rows as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seal {
    /// Rows in the segment.
    pub(super) rows: u64,
    /// [`LibraryManifest::settings_checksum`](super::LibraryManifest) of the library it was written for.
    pub(super) settings: u64,
}

impl Seal {
    /// As it stands in the segment's metadata, beside what it says about older segments.
    pub(super) fn to_text(self, replaces_through: Option<u64>) -> String {
        let Self { rows, settings } = self;
        let said = format!("{rows} {settings:016x}");
        // Seals on disk spell an option as Rust does.
        let replaces = replaces_through.map_or("None".to_owned(), |sequence| format!("Some({sequence})"));
        format!("{said} {:016x}", of_text(&format!("{said} {replaces}")))
    }

    /// The inverse of [`to_text`](Self::to_text); `None` where a character of either has changed.
    pub(super) fn parse(text: &str, replaces_through: Option<u64>) -> Option<Self> {
        let mut words = text.split(' ');
        let rows = words.next()?.parse().ok()?;
        let settings = u64::from_str_radix(words.next()?, 16).ok()?;
        let seal = Self { rows, settings };
        (seal.to_text(replaces_through) == text).then_some(seal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retrieval::FileFingerprint;

    fn entry() -> LibraryEntry {
        LibraryEntry {
            path: "/a/b.mp4".into(),
            kind: MediaKind::Video,
            time_range: Some(TimeRange::between(0.0, 0.0)),
            fingerprint: FileFingerprint { size_bytes: 5, modified_nanoseconds: -7 },
        }
    }

    #[test]
    fn everything_in_a_row_counts() {
        let embedding: Vec<f32> = (0..300_u16).map(f32::from).collect();
        let whole = of_row(3, &entry(), &embedding);
        // Segments on disk hold it: it may never change.
        assert_eq!(whole, 10_022_489_400_240_014_189);
        let mut last = embedding.clone();
        last[299] = f32::from_bits(last[299].to_bits() ^ 1);
        let with = |change: fn(&mut LibraryEntry)| {
            let mut entry = entry();
            change(&mut entry);
            of_row(3, &entry, &embedding)
        };
        let others = [
            of_row(4, &entry(), &embedding),
            of_row(3, &entry(), &last),
            of_row(3, &entry(), &embedding[..299]),
            with(|entry| entry.path = "/a/b.mp5".into()),
            with(|entry| entry.kind = MediaKind::Image),
            with(|entry| entry.time_range = None),
            with(|entry| entry.fingerprint.size_bytes = 6),
            with(|entry| entry.fingerprint.modified_nanoseconds = -6),
        ];
        for (case, other) in others.into_iter().enumerate() {
            assert_ne!(other, whole, "case {case}");
        }
    }

    #[test]
    fn a_seal_is_whole_or_none() {
        let seal = Seal { rows: 12, settings: 0xabc };
        let text = seal.to_text(Some(3));
        // Segments on disk hold them: they may never change.
        assert_eq!(text, "12 0000000000000abc 2efbc324d9abca6f");
        assert_eq!(seal.to_text(None), "12 0000000000000abc 0d7e0f3083725393");
        assert_eq!(Seal::parse(&text, Some(3)), Some(seal));
        assert_eq!(Seal::parse(&text, Some(4)), None);
        assert_eq!(Seal::parse(&text, None), None);
        for place in 0..text.len() {
            let mut other = text.clone().into_bytes();
            other[place] ^= 1;
            assert_eq!(Seal::parse(&String::from_utf8(other).unwrap(), Some(3)), None, "byte {place}");
        }
    }
}
