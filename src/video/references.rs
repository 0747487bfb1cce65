//! Films of the MP4 and QuickTime family whose pictures lie in another file.
//!
//! FFmpeg passes over such references or reads on in the file at hand, where other bytes lie. Only boxes
//! around the references are looked at, so this costs a few reads however long the film.

use crate::media::MediaReader;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

/// Boxes looked at before a file is left to FFmpeg.
const MAX_BOXES: usize = 10_000;

/// What kinds of boxes such a file begins with.
const FIRST: [&[u8; 4]; 8] = [b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"uuid"];

/// Says what the file is if all of its pictures lie elsewhere. Leaves the reader somewhere in it.
pub(super) fn describe(file: &mut MediaReader) -> Option<&'static str> {
    let mut boxes = Boxes { file, left: MAX_BOXES };
    // Whatever cannot be read is FFmpeg's to tell of.
    boxes.describe().ok().flatten()
}

struct Boxes<'a> {
    file: &'a mut MediaReader,
    left: usize,
}

impl Boxes<'_> {
    fn describe(&mut self) -> io::Result<Option<&'static str>> {
        // Without a length, reading finds the end.
        let whole = 0..self.file.length().unwrap_or(u64::MAX);
        let Some((kind, _)) = self.at(whole.clone())? else { return Ok(None) };
        if !FIRST.contains(&&kind) {
            return Ok(None);
        }
        let Some(index) = self.child(whole, b"moov")? else { return Ok(None) };
        if self.child(index.clone(), b"rmra")?.is_some() {
            return Ok(Some("a QuickTime reference movie"));
        }
        let (mut here, mut elsewhere) = (0, 0);
        for (kind, track) in self.children(index)? {
            if &kind == b"trak" {
                match self.pictures_lie_elsewhere(track)? {
                    Some(true) => elsewhere += 1,
                    Some(false) => here += 1,
                    None => {}
                }
            }
        }
        Ok((here == 0 && elsewhere > 0).then_some("a film whose pictures lie in another file"))
    }

    /// `None` for a track without pictures.
    fn pictures_lie_elsewhere(&mut self, track: Range<u64>) -> io::Result<Option<bool>> {
        let Some(media) = self.child(track, b"mdia")? else { return Ok(None) };
        let Some(handler) = self.child(media.clone(), b"hdlr")? else { return Ok(None) };
        if self.bytes::<4>(handler.start + 8)? != *b"vide" {
            return Ok(None);
        }
        let mut inner = media;
        for kind in [b"minf", b"dinf", b"dref"] {
            let Some(child) = self.child(inner, kind)? else { return Ok(Some(false)) };
            inner = child;
        }
        // Version, flags and a count stand in front of the references.
        let references = self.children(inner.start + 8..inner.end)?;
        for (_, reference) in &references {
            const IN_THIS_FILE: u8 = 1;
            let [_, _, _, flags] = self.bytes::<4>(reference.start)?;
            // Careless writers leave the flag out, and an address as well.
            let names_nothing =
                reference.end <= reference.start + 4 || self.bytes::<1>(reference.start + 4)? == [0];
            let is_alias = reference.end > reference.start + 100;
            if flags & IN_THIS_FILE != 0 || (names_nothing && !is_alias) {
                return Ok(Some(false));
            }
        }
        Ok(Some(!references.is_empty()))
    }

    fn child(&mut self, parent: Range<u64>, kind: &[u8; 4]) -> io::Result<Option<Range<u64>>> {
        let mut rest = parent;
        while let Some((found, content)) = self.at(rest.clone())? {
            if &found == kind {
                return Ok(Some(content));
            }
            rest.start = content.end;
        }
        Ok(None)
    }

    fn children(&mut self, parent: Range<u64>) -> io::Result<Vec<([u8; 4], Range<u64>)>> {
        let (mut rest, mut children) = (parent, Vec::new());
        while let Some((kind, content)) = self.at(rest.clone())? {
            rest.start = content.end;
            children.push((kind, content));
        }
        Ok(children)
    }

    /// Kind and content of the first box of a stretch; `None` where there is no room for one.
    fn at(&mut self, stretch: Range<u64>) -> io::Result<Option<([u8; 4], Range<u64>)>> {
        if stretch.end.saturating_sub(stretch.start) < 8 || self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let [a, b, c, d, kind @ ..] = self.bytes::<8>(stretch.start)?;
        let (head, size) = match u32::from_be_bytes([a, b, c, d]) {
            0 => (8, stretch.end - stretch.start),
            1 => (16, u64::from_be_bytes(self.bytes(stretch.start + 8)?)),
            size => (8, u64::from(size)),
        };
        if size < head {
            return Ok(None);
        }
        let end = stretch.start.saturating_add(size).min(stretch.end);
        Ok(Some((kind, (stretch.start + head).min(end)..end)))
    }

    fn bytes<const N: usize>(&mut self, at: u64) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.file.seek(SeekFrom::Start(at))?;
        self.file.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}
