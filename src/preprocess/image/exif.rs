//! When a picture was taken, by its EXIF data.

use crate::calendar;

/// Where the directory of details lies, and in it when the picture was taken or made digital.
pub(super) const DETAILS: u16 = 0x8769;
const ORIGINAL: u16 = 0x9003;
const DIGITIZED: u16 = 0x9004;
/// Characters of a time, without the zero at the end.
const TIME_LENGTH: usize = 19;

/// Seconds from the beginning of 1970 on the clock of the camera, out of EXIF data, which are a TIFF file of
/// directories without pictures.
pub(super) fn captured_seconds(exif: &[u8]) -> Option<i64> {
    let numbers = Numbers::of(exif.strip_prefix(b"Exif\0\0").unwrap_or(exif))?;
    let main = numbers.long(4)?;
    let by_details = numbers.find_value(main, DETAILS).and_then(|details| captured_in(numbers, details));
    // Where TIFF/EP has it (ISO 12234-2).
    by_details.or_else(|| captured_in(numbers, main))
}

/// The same by the directory of details.
pub(super) fn captured_in(numbers: Numbers<'_>, details: usize) -> Option<i64> {
    let time = |tag| {
        let at = numbers.long(numbers.find(details, tag)?.value_at)?;
        calendar::parse(std::str::from_utf8(numbers.bytes.get(at..at.checked_add(TIME_LENGTH)?)?).ok()?)
    };
    time(ORIGINAL).or_else(|| time(DIGITIZED))
}

/// The numbers of a file of TIFF's plain kind, or of those that cameras made of it.
#[derive(Clone, Copy)]
pub(super) struct Numbers<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) little_endian: bool,
}

/// An entry of a directory.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub(super) tag: u16,
    pub(super) kind: u16,
    pub(super) count: usize,
    /// Where its value lies, or, where that does not fit, where its place is named.
    pub(super) value_at: usize,
}

impl<'a> Numbers<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Option<Self> {
        let little_endian = match bytes.get(..4)? {
            // The latter of Olympus and Panasonic.
            b"II\x2a\0" | b"IIRO" | b"IIRS" | b"IIU\0" => true,
            b"MM\0\x2a" | b"MMOR" => false,
            _ => return None,
        };
        Some(Self { bytes, little_endian })
    }

    pub(super) fn short(self, at: usize) -> Option<u16> {
        let pair = self.bytes.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(if self.little_endian { u16::from_le_bytes(pair) } else { u16::from_be_bytes(pair) })
    }

    pub(super) fn long(self, at: usize) -> Option<usize> {
        let (first, second) = (self.short(at)?, self.short(at.checked_add(2)?)?);
        let (high, low) = if self.little_endian { (second, first) } else { (first, second) };
        usize::try_from(u32::from(high) << 16 | u32::from(low)).ok()
    }

    /// The entries of a directory; `None` for what lies outside of the file.
    pub(super) fn entries(self, directory: usize) -> impl Iterator<Item = Option<Entry>> {
        (0..usize::from(self.short(directory).unwrap_or(0))).map(move |number| {
            let at = directory.checked_add(2 + 12 * number)?;
            let (tag, kind, count) = (self.short(at)?, self.short(at + 2)?, self.long(at + 4)?);
            Some(Entry { tag, kind, count, value_at: at + 8 })
        })
    }

    pub(super) fn find(self, directory: usize, tag: u16) -> Option<Entry> {
        self.entries(directory).flatten().find(|entry| entry.tag == tag)
    }

    /// The only value of an entry, a SHORT or a LONG.
    pub(super) fn value(self, entry: Entry) -> Option<usize> {
        match entry.kind {
            3 => self.short(entry.value_at).map(usize::from),
            _ => self.long(entry.value_at),
        }
    }

    /// The only value of a directory's entry.
    pub(super) fn find_value(self, directory: usize, tag: u16) -> Option<usize> {
        self.value(self.find(directory, tag)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// EXIF data with a time of this tag.
    fn exif(little_endian: bool, tag: u16, time: &str) -> Vec<u8> {
        let short = |value: u16| if little_endian { value.to_le_bytes() } else { value.to_be_bytes() };
        let long = |value: u32| if little_endian { value.to_le_bytes() } else { value.to_be_bytes() };
        let entry =
            |tag, kind, count, value| [&short(tag)[..], &short(kind), &long(count), &long(value)].concat();
        let directory = |entry: Vec<u8>| [&short(1)[..], &entry, &long(0)].concat();
        let start = if little_endian { b"II\x2a\0" } else { b"MM\0\x2a" };
        let details = directory(entry(tag, 2, 20, 44));
        let main = directory(entry(DETAILS, 4, 1, 26));
        [&start[..], &long(8), &main, &details, time.as_bytes(), b"\0"].concat()
    }

    #[test]
    fn the_time_is_found_in_either_order_of_bytes() {
        for little_endian in [true, false] {
            for tag in [ORIGINAL, DIGITIZED] {
                let whole = exif(little_endian, tag, "2026:05:31 18:00:01");
                assert_eq!(captured_seconds(&whole), Some(1_780_250_401));
                assert_eq!(captured_seconds(&[b"Exif\0\0", &whole[..]].concat()), Some(1_780_250_401));
                for length in 0..whole.len() - 1 {
                    assert_eq!(captured_seconds(&whole[..length]), None, "{length}");
                }
            }
        }
        // TIFF/EP has it in the main directory.
        let mut whole = exif(true, ORIGINAL, "2026:05:31 18:00:01");
        whole[4] = 26;
        assert_eq!(captured_seconds(&whole), Some(1_780_250_401));
        assert_eq!(captured_seconds(&exif(true, 0x0132, "2026:05:31 18:00:01")), None);
        assert_eq!(captured_seconds(&exif(true, ORIGINAL, "    :  :     :  :  ")), None);
    }

    #[test]
    fn no_byte_of_it_can_do_harm() {
        let whole = exif(true, ORIGINAL, "2026:05:31 18:00:01");
        for place in 0..whole.len() {
            for value in [0, 0x7f, 0x80, 0xff] {
                let mut other = whole.clone();
                other[place] = value;
                captured_seconds(&other);
            }
        }
    }
}
