//! Boxes, which the files of MP4's family are made of (ISO/IEC 14496-12, section 4.2).

/// The boxes that lie one behind the other: what kind each is of, and what is in it. Ends at the first one
/// that is not whole.
pub(super) fn boxes(bytes: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    let mut left = Fields(bytes);
    std::iter::from_fn(move || {
        let all = left.0;
        let (short, kind) = (left.number(4)?, left.take(4)?.try_into().ok()?);
        let length = match short {
            0 => all.len() as u64,
            1 => left.number(8)?,
            _ => short,
        };
        let content = all.get(all.len() - left.0.len()..usize::try_from(length).ok()?)?;
        left.take(content.len())?;
        Some((kind, content))
    })
}

/// What is in the first box of a kind.
pub(super) fn find<'a>(bytes: &'a [u8], kind: &[u8; 4]) -> Option<&'a [u8]> {
    boxes(bytes).find_map(|(found, content)| (found == *kind).then_some(content))
}

/// Whether this is the beginning of such a file, of one of these brands.
pub(super) fn has_brand(bytes: &[u8], brands: &[&[u8; 4]]) -> bool {
    const MOST: usize = 64;
    let Some(content) = find(bytes.get(..bytes.len().min(4096)).unwrap_or_default(), b"ftyp") else {
        return false;
    };
    // Behind the first, the major brand, is a version.
    let found = content.as_chunks::<4>().0.iter().enumerate().filter(|(place, _)| *place != 1);
    bytes.get(4..8) == Some(b"ftyp") && found.take(MOST).any(|(_, brand)| brands.contains(&brand))
}

/// Numbers and the like, one behind the other, the most significant byte first.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, left) = self.0.split_at_checked(length)?;
        self.0 = left;
        Some(taken)
    }

    /// A number of at most eight bytes; of none, 0.
    pub(super) fn number(&mut self, bytes: usize) -> Option<u64> {
        Some(self.take(bytes)?.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// The version and the flags that many boxes begin with.
    pub(super) fn version(&mut self) -> Option<(u8, u32)> {
        let all = self.number(4)? as u32;
        Some(((all >> 24) as u8, all & 0xff_ffff))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_are_told_from_one_another_whichever_way_they_say_their_length() {
        #[allow(clippy::type_complexity)] // A table of cases is best read as a table.
        let table: [(&[u8], &[(&[u8; 4], &[u8])]); 5] = [
            (b"\0\0\0\x0aabcdxy\0\0\0\x08efgh", &[(b"abcd", b"xy"), (b"efgh", b"")]),
            (b"\0\0\0\x01abcd\0\0\0\0\0\0\0\x11z\0\0\0\0efgh12", &[(b"abcd", b"z"), (b"efgh", b"12")]),
            // Longer than what is there, shorter than its head, and no head.
            (b"\0\0\0\x0babcdxy", &[]),
            (b"\0\0\0\x07abcd", &[]),
            (b"\0\0\0\x01abcd\xff\xff\xff\xff\xff\xff\xff\xff", &[]),
        ];
        for (bytes, expected) in table {
            let found: Vec<_> = boxes(bytes).collect();
            let expected: Vec<([u8; 4], &[u8])> =
                expected.iter().map(|(kind, content)| (**kind, *content)).collect();
            assert_eq!(found, expected, "{bytes:x?}");
        }
        assert_eq!(find(b"\0\0\0\x08abcd\0\0\0\x09efgh1", b"efgh"), Some(&b"1"[..]));
        let head = b"\0\0\0\x14ftypmif1\0\0\0\0avif";
        assert!(has_brand(head, &[b"avif"]) && has_brand(head, &[b"mif1"]) && !has_brand(head, &[b"heic"]));
    }
}
