//! What makes damage to a segment show.
//!
//! Every row carries a checksum of its number and of all it holds, so that a row is good or not by itself.
//! What is said about the rows as a whole, how many there are, how they were made, which older segments they
//! replace and which files are [forgotten](Marks), stands under a [`Seal`] with a checksum of its own. XXH64:
//! against decay, not against forgers.

use std::hash::Hasher;

use twox_hash::XxHash64;

use super::content::ContentHash;
use super::entry::LibraryEntry;
use super::segment::Replaced;
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
    // Rows of before had none of these, and keep the checksums they have.
    let LibraryEntry { content, captured_seconds, width, height, .. } = *entry;
    if content.is_some() || captured_seconds.is_some() || width.is_some() || height.is_some() {
        hash.write(&content.map_or([0; 16], ContentHash::to_bytes));
        let captured = captured_seconds.map(i64::cast_unsigned);
        for number in [content.map(|_| 0), captured, width.map(u64::from), height.map(u64::from)] {
            hash.write(&[u8::from(number.is_some())]);
            hash.write(&number.unwrap_or_default().to_le_bytes());
        }
    }
    hash.finish()
}

/// The checksum of a text.
pub(super) fn of_text(text: &str) -> u64 {
    let mut hash = XxHash64::with_seed(0);
    hash.write(text.as_bytes());
    hash.finish()
}

/// The files whose rows in older segments count no more. They have a checksum of their own, so that what is
/// forgotten stays forgotten where something else about the segment has decayed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Marks(pub(super) Vec<String>);

impl Marks {
    /// As they stand in the segment's metadata; `None` where there are none.
    pub(super) fn to_text(&self) -> Option<String> {
        let files = (!self.0.is_empty()).then(|| serde_json::json!(self.0).to_string())?;
        Some(format!("{:016x} {files}", of_text(&files)))
    }

    /// The inverse of [`to_text`](Self::to_text); `None` where a character has changed.
    pub(super) fn parse(text: Option<&str>) -> Option<Self> {
        let Some(text) = text else { return Some(Self::default()) };
        let marks = Self(serde_json::from_str(text.split_once(' ')?.1).ok()?);
        (marks.to_text().as_deref() == Some(text)).then_some(marks)
    }
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
    /// As it stands in the segment's metadata, beside what it says about older segments: which it replaces,
    /// and the text of its [`Marks`].
    pub(super) fn to_text(self, replaces: Option<Replaced>, marks: Option<&str>) -> String {
        let Self { rows, settings } = self;
        let said = format!("{rows} {settings:016x}");
        // Seals on disk spell an option as Rust does.
        let replaces = replaces.map_or("None".to_owned(), |replaced| format!("Some({replaced})"));
        let marks = marks.map(|marks| format!(" {:016x}", of_text(marks))).unwrap_or_default();
        format!("{said} {:016x}", of_text(&format!("{said} {replaces}{marks}")))
    }

    /// The inverse of [`to_text`](Self::to_text); `None` where a character of anything has changed.
    pub(super) fn parse(text: &str, replaces: Option<Replaced>, marks: Option<&str>) -> Option<Self> {
        let mut words = text.split(' ');
        let rows = words.next()?.parse().ok()?;
        let settings = u64::from_str_radix(words.next()?, 16).ok()?;
        let seal = Self { rows, settings };
        (seal.to_text(replaces, marks) == text).then_some(seal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retrieval::FileFingerprint;

    fn entry() -> LibraryEntry {
        let fingerprint = FileFingerprint { size_bytes: 5, modified_nanoseconds: -7 };
        LibraryEntry::new("/a/b.mp4", MediaKind::Video, fingerprint)
            .with_time_range(Some(TimeRange::between(0.0, 0.0)))
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
            with(|entry| entry.content = Some(ContentHash::from_bytes([0; 16]))),
            with(|entry| entry.content = Some(ContentHash::from_bytes([1; 16]))),
            with(|entry| entry.captured_seconds = Some(0)),
            with(|entry| entry.captured_seconds = Some(-1)),
            with(|entry| entry.width = Some(0)),
            with(|entry| entry.height = Some(0)),
            whole,
        ];
        let different: std::collections::HashSet<u64> = others.into_iter().collect();
        assert_eq!(different.len(), others.len());
    }

    #[test]
    fn a_seal_is_whole_or_none() {
        let seal = Seal { rows: 12, settings: 0xabc };
        let text = seal.to_text(Some(Replaced::through(3)), None);
        // Segments on disk hold them: they may never change.
        assert_eq!(text, "12 0000000000000abc 2efbc324d9abca6f");
        assert_eq!(seal.to_text(None, None), "12 0000000000000abc 0d7e0f3083725393");
        assert_eq!(Seal::parse(&text, Some(Replaced::through(3)), None), Some(seal));
        assert_eq!(Seal::parse(&text, Some(Replaced::through(4)), None), None);
        assert_eq!(Seal::parse(&text, None, None), None);
        assert_eq!(Seal::parse(&text, Some(Replaced::through(3)), Some("")), None);
        let marked = seal.to_text(None, Some("a"));
        assert_eq!(Seal::parse(&marked, None, Some("a")), Some(seal));
        assert_eq!(Seal::parse(&marked, None, Some("b")), None);
        assert_eq!(Seal::parse(&marked, None, None), None);
        for place in 0..text.len() {
            let mut other = text.clone().into_bytes();
            other[place] ^= 1;
            assert_eq!(
                Seal::parse(&String::from_utf8(other).unwrap(), Some(Replaced::through(3)), None),
                None,
                "byte {place}"
            );
        }
    }

    #[test]
    fn marks_are_whole_or_none() {
        let marks = Marks(vec!["/a b".into(), "/\"\n".into()]);
        let text = marks.to_text().unwrap();
        assert_eq!(Marks::parse(Some(&text)), Some(marks));
        assert_eq!((Marks::default().to_text(), Marks::parse(None)), (None, Some(Marks::default())));
        for place in 0..text.len() {
            let mut other = text.clone().into_bytes();
            other[place] ^= 1;
            assert_eq!(Marks::parse(Some(&String::from_utf8(other).unwrap())), None, "byte {place}");
        }
    }
}
