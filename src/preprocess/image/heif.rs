//! Pictures of HEIF's family: HEIC and AVIF (ISO/IEC 23008-12).
//!
//! A file has items, each with properties. The one that is to be shown is coded data, or a grid that other
//! items fill, and another item may be its transparency. Which data these are is found out here, and a
//! decoder of video makes pictures of them.

use std::borrow::Cow;
use std::collections::BTreeMap;

use ::image::metadata::Orientation;

use super::boxes::{Fields, boxes, find, has_brand};
use crate::preprocess::size::PixelSize;
use crate::video::{CodedColor, CodedPicture, StillCodec};

/// Brands of files whose pictures are still.
const BRANDS: [&[u8; 4]; 9] =
    [b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1", b"avif", b"avis"];
/// What auxiliary pictures are that hold transparency.
const TRANSPARENCY: [&[u8]; 2] =
    [b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", b"urn:mpeg:hevc:2015:auxid:1"];

/// Whether this is the beginning of such a file.
pub(super) fn is_heif(bytes: &[u8]) -> bool {
    has_brand(bytes, &BRANDS)
}

/// Why a file shows nothing.
#[derive(Debug)]
pub(super) enum Fault {
    /// It ends too early.
    Incomplete,
    /// It is damaged, or of a kind that is not read.
    Refused(String),
}

fn refused<T>(why: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Refused(why.into()))
}

/// What is known of the items of a file.
pub(super) struct Heif<'a> {
    file: &'a [u8],
    item_data: &'a [u8],
    primary: u32,
    items: BTreeMap<u32, Item<'a>>,
    /// What refers to what, and as what.
    references: Vec<([u8; 4], u32, Vec<u32>)>,
}

#[derive(Default)]
struct Item<'a> {
    kind: [u8; 4],
    /// Whether its data lie among those of the items, and not anywhere in the file.
    is_inside: bool,
    /// Where its parts begin, and how long they are; 0 is to the end.
    parts: Vec<(u64, u64)>,
    properties: Vec<([u8; 4], &'a [u8])>,
}

/// A picture, out of parts in rows. Each part is as large as the others.
pub(super) struct Picture<'a> {
    pub(super) size: PixelSize,
    pub(super) part_size: PixelSize,
    pub(super) columns: u32,
    pub(super) parts: Vec<CodedPicture<'a>>,
}

/// What is done to a picture before it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// All but so many columns and rows of so many are cut off.
    Cut {
        left: u32,
        top: u32,
        size: PixelSize,
    },
    Turn(Orientation),
}

impl<'a> Heif<'a> {
    /// Reads what a file says of its items.
    pub(super) fn open(file: &'a [u8]) -> Result<Self, Fault> {
        let meta = find(file, b"meta").and_then(|meta| meta.get(4..)).ok_or(Fault::Incomplete)?;
        let item_data = find(meta, b"idat").unwrap_or_default();
        let mut heif = Self { file, item_data, primary: 0, items: BTreeMap::new(), references: Vec::new() };
        match heif.read(meta) {
            Some(()) => Ok(heif),
            None => refused("what it says of its pictures makes no sense"),
        }
    }

    fn read(&mut self, meta: &'a [u8]) -> Option<()> {
        let mut primary = Fields(find(meta, b"pitm")?);
        let (version, _) = primary.version()?;
        self.primary = primary.number(if version == 0 { 2 } else { 4 })? as u32;
        self.read_kinds(find(meta, b"iinf")?)?;
        self.read_places(find(meta, b"iloc")?)?;
        self.read_properties(find(meta, b"iprp")?)?;
        find(meta, b"iref").map_or(Some(()), |references| self.read_references(references))
    }

    fn read_kinds(&mut self, bytes: &'a [u8]) -> Option<()> {
        let mut fields = Fields(bytes);
        let (version, _) = fields.version()?;
        fields.number(if version == 0 { 2 } else { 4 })?;
        for (_, entry) in boxes(fields.0).filter(|(kind, _)| kind == b"infe") {
            let mut entry = Fields(entry);
            let (version, _) = entry.version()?;
            // Those before say no kind.
            if version < 2 {
                continue;
            }
            let id = entry.number(if version == 2 { 2 } else { 4 })? as u32;
            entry.number(2)?;
            self.items.entry(id).or_default().kind = entry.take(4)?.try_into().ok()?;
        }
        Some(())
    }

    fn read_places(&mut self, bytes: &'a [u8]) -> Option<()> {
        let mut fields = Fields(bytes);
        let (version, _) = fields.version()?;
        let sizes = fields.number(2)? as usize;
        let [offset, length, base, index] = [12, 8, 4, 0].map(|shift| sizes >> shift & 15);
        let index = if version == 0 { 0 } else { index };
        let id_bytes = if version < 2 { 2 } else { 4 };
        for _ in 0..fields.number(id_bytes)? {
            let id = fields.number(id_bytes)? as u32;
            let method = if version == 0 { 0 } else { fields.number(2)? & 15 };
            let elsewhere = fields.number(2)? != 0 || method > 1;
            let base = fields.number(base)?;
            let count = fields.number(2)?;
            // Parts that are described by nothing could be told without end.
            if count > 1 && offset + length + index == 0 {
                return None;
            }
            let mut parts = Vec::new();
            for _ in 0..count {
                fields.number(index)?;
                parts.push((base.checked_add(fields.number(offset)?)?, fields.number(length)?));
            }
            // What lies in another file, or in another item, is not there.
            if let Some(item) = self.items.get_mut(&id).filter(|_| !elsewhere) {
                (item.is_inside, item.parts) = (method == 1, parts);
            }
        }
        Some(())
    }

    fn read_properties(&mut self, bytes: &'a [u8]) -> Option<()> {
        let all: Vec<([u8; 4], &[u8])> = boxes(find(bytes, b"ipco")?).collect();
        for (_, association) in boxes(bytes).filter(|(kind, _)| kind == b"ipma") {
            let mut fields = Fields(association);
            let (version, flags) = fields.version()?;
            for _ in 0..fields.number(4)? {
                let id = fields.number(if version == 0 { 2 } else { 4 })? as u32;
                for _ in 0..fields.number(1)? {
                    // The first bit says whether one must know it to show the item.
                    let place = match flags & 1 {
                        0 => fields.number(1)? & 0x7f,
                        _ => fields.number(2)? & 0x7fff,
                    };
                    let property = (place as usize).checked_sub(1).and_then(|place| all.get(place));
                    if let (Some(item), Some(property)) = (self.items.get_mut(&id), property) {
                        item.properties.push(*property);
                    }
                }
            }
        }
        Some(())
    }

    fn read_references(&mut self, bytes: &'a [u8]) -> Option<()> {
        let mut fields = Fields(bytes);
        let (version, _) = fields.version()?;
        let id_bytes = if version == 0 { 2 } else { 4 };
        for (kind, content) in boxes(fields.0) {
            let mut fields = Fields(content);
            let from = fields.number(id_bytes)? as u32;
            let count = fields.number(2)?;
            let to: Option<Vec<u32>> = (0..count).map(|_| Some(fields.number(id_bytes)? as u32)).collect();
            self.references.push((kind, from, to?));
        }
        Some(())
    }

    /// The picture that is to be shown.
    pub(super) fn picture(&self) -> Result<Picture<'a>, Fault> {
        self.picture_of(self.primary)
    }

    /// Its transparency, as shades of gray.
    pub(super) fn transparency(&self) -> Option<Result<Picture<'a>, Fault>> {
        let is_transparency = |id: &u32| {
            let kind = self.property(*id, b"auxC").and_then(|kind| kind.get(4..));
            let kind = kind.and_then(|kind| kind.split(|byte| *byte == 0).next());
            kind.is_some_and(|kind| TRANSPARENCY.contains(&kind))
        };
        let id = self.referring(b"auxl").find(is_transparency)?;
        Some(self.picture_of(id).map(|mut picture| {
            picture.parts.iter_mut().for_each(|part| part.is_mask = true);
            picture
        }))
    }

    /// Its EXIF data.
    pub(super) fn exif(&self) -> Option<Cow<'a, [u8]>> {
        let is_exif = |id: &u32| self.items.get(id).is_some_and(|item| &item.kind == b"Exif");
        let data = self.data(self.referring(b"cdsc").find(is_exif)?).ok()?;
        let begin = 4 + usize::try_from(Fields(&data).number(4)?).ok()?;
        Some(Cow::Owned(data.get(begin..)?.to_vec()))
    }

    /// What is done to the picture before it is shown, in this order.
    pub(super) fn changes(&self, mut size: PixelSize) -> Result<Vec<Change>, Fault> {
        let mut changes = Vec::new();
        let properties = self.items.get(&self.primary).map_or(&[][..], |item| &item.properties);
        for (kind, content) in properties {
            let setting = content.first().copied().unwrap_or_default() & 3;
            let turn = match (kind, setting) {
                (b"clap", _) => {
                    let Some((left, top, cut)) = aperture(content, size) else {
                        return refused("its clean aperture lies outside of it");
                    };
                    size = cut;
                    changes.push(Change::Cut { left, top, size });
                    continue;
                }
                // Quarter turns to the left.
                (b"irot", 1) => Orientation::Rotate270,
                (b"irot", 2) => Orientation::Rotate180,
                (b"irot", 3) => Orientation::Rotate90,
                (b"imir", setting) if setting & 1 == 0 => Orientation::FlipVertical,
                (b"imir", _) => Orientation::FlipHorizontal,
                _ => continue,
            };
            if matches!(turn, Orientation::Rotate270 | Orientation::Rotate90) {
                size = PixelSize::new(size.height, size.width);
            }
            changes.push(Change::Turn(turn));
        }
        Ok(changes)
    }

    /// What refers to the picture that is shown, as what.
    fn referring<'b>(&'b self, as_what: &'b [u8; 4]) -> impl Iterator<Item = u32> + 'b {
        let to_primary =
            move |(kind, _, to): &&([u8; 4], u32, Vec<u32>)| kind == as_what && to.contains(&self.primary);
        self.references.iter().filter(to_primary).map(|(_, from, _)| *from)
    }

    fn property(&self, id: u32, kind: &[u8; 4]) -> Option<&'a [u8]> {
        let properties = &self.items.get(&id)?.properties;
        properties.iter().find_map(|(found, content)| (found == kind).then_some(*content))
    }

    fn picture_of(&self, id: u32) -> Result<Picture<'a>, Fault> {
        let kind = self.items.get(&id).map_or([0; 4], |item| item.kind);
        if &kind != b"grid" {
            let size = self.size_of(id)?;
            let parts = vec![self.coded(id)?];
            return Ok(Picture { size, part_size: size, columns: 1, parts });
        }
        let grid = self.data(id)?;
        let (rows, columns, size) = grid_of(&grid).ok_or(Fault::Incomplete)?;
        let parts = self.references.iter().find(|(kind, from, _)| kind == b"dimg" && *from == id);
        let parts = parts.map_or(&[][..], |(_, _, to)| to);
        let Some(first) = parts.first().filter(|_| parts.len() as u64 == u64::from(rows * columns)) else {
            return refused(format!("its grid has {rows}x{columns} places and {} parts", parts.len()));
        };
        let part_size = self.size_of(*first)?;
        // The last row and the last column may stick out, but no whole ones.
        let fits = |side: u32, part: u32, count: u32| {
            let (side, part, count) = (u64::from(side), u64::from(part), u64::from(count));
            part > 0 && part * count >= side && part * (count - 1) < side
        };
        if !fits(size.width, part_size.width, columns) || !fits(size.height, part_size.height, rows) {
            return refused(format!("parts of {part_size} pixels do not make up a grid of {size}"));
        }
        let parts: Result<_, Fault> = parts.iter().map(|part| self.coded(*part)).collect();
        Ok(Picture { size, part_size, columns, parts: parts? })
    }

    fn size_of(&self, id: u32) -> Result<PixelSize, Fault> {
        let sides = self.property(id, b"ispe").and_then(|size| {
            let mut fields = Fields(size.get(4..)?);
            Some(PixelSize::new(fields.number(4)? as u32, fields.number(4)? as u32))
        });
        sides.map_or_else(|| refused("it does not say its size"), Ok)
    }

    fn coded(&self, id: u32) -> Result<CodedPicture<'a>, Fault> {
        let kind = self.items.get(&id).map_or([0; 4], |item| item.kind);
        let (codec, header) = match &kind {
            b"hvc1" => (StillCodec::Hevc, b"hvcC"),
            b"av01" => (StillCodec::Av1, b"av1C"),
            _ => {
                if &kind == b"iovl" {
                    return refused(
                        "its picture is laid over others (an overlay, \"iovl\"); HEVC, AV1 and grids of these are read",
                    );
                }
                let kind = kind.escape_ascii();
                return refused(format!(
                    "its picture is of kind \"{kind}\"; HEVC, AV1 and grids of these are read"
                ));
            }
        };
        let Some(header) = self.property(id, header) else {
            return refused("it has no header for its decoder");
        };
        let color = |id| self.items.get(&id)?.properties.iter().find_map(coded_color);
        let color = color(id).or(color(self.primary));
        Ok(CodedPicture { codec, header, data: self.data(id)?, color, is_mask: false })
    }

    /// The data of an item.
    fn data(&self, id: u32) -> Result<Cow<'a, [u8]>, Fault> {
        let Some(item) = self.items.get(&id).filter(|item| !item.parts.is_empty()) else {
            return refused("its data lie elsewhere");
        };
        let all = if item.is_inside { self.item_data } else { self.file };
        let part = |&(offset, length): &(u64, u64)| {
            let begin = usize::try_from(offset).ok()?;
            match length {
                0 => all.get(begin..),
                _ => all.get(begin..begin.checked_add(usize::try_from(length).ok()?)?),
            }
        };
        if let [only] = &item.parts[..] {
            return part(only).map(Cow::Borrowed).ok_or(Fault::Incomplete);
        }
        let mut data = Vec::new();
        for one in &item.parts {
            data.extend_from_slice(part(one).ok_or(Fault::Incomplete)?);
            if data.len() > all.len() {
                return refused("parts of its data are named over and over");
            }
        }
        Ok(Cow::Owned(data))
    }
}

/// Rows, columns and size of a grid.
fn grid_of(bytes: &[u8]) -> Option<(u32, u32, PixelSize)> {
    let mut fields = Fields(bytes);
    let (_, flags) = (fields.number(1)?, fields.number(1)?);
    let (rows, columns) = (fields.number(1)? as u32 + 1, fields.number(1)? as u32 + 1);
    let side_bytes = if flags & 1 == 0 { 2 } else { 4 };
    Some((
        rows,
        columns,
        PixelSize::new(fields.number(side_bytes)? as u32, fields.number(side_bytes)? as u32),
    ))
}

/// What coded values stand for, as of video.
fn coded_color((kind, content): &([u8; 4], &[u8])) -> Option<CodedColor> {
    let mut fields = Fields(content);
    (kind == b"colr" && fields.take(4)? == b"nclx").then_some(())?;
    let [primaries, transfer, matrix] =
        [fields.number(2)?, fields.number(2)?, fields.number(2)?].map(|of| of as u16);
    Some(CodedColor { primaries, transfer, matrix, is_full: fields.number(1)? & 0x80 != 0 })
}

/// The left upper corner and the size of a clean aperture, which is told by fractions: width and height, and
/// how far its centre is from that of the picture.
fn aperture(content: &[u8], size: PixelSize) -> Option<(u32, u32, PixelSize)> {
    let mut fields = Fields(content);
    let mut fraction = || {
        let (over, under) = (fields.number(4)? as u32 as i32, fields.number(4)? as u32);
        (under > 0).then(|| f64::from(over) / f64::from(under))
    };
    let [width, height, right, down] = [fraction()?, fraction()?, fraction()?, fraction()?];
    let span = |all: u32, length: f64, off: f64| {
        let begin = ((f64::from(all) - length) / 2.0 + off).round();
        (length >= 1.0 && begin >= 0.0 && begin + length.round() <= f64::from(all))
            .then_some((begin as u32, length.round() as u32))
    };
    let (left, width) = span(size.width, width, right)?;
    let (top, height) = span(size.height, height, down)?;
    Some((left, top, PixelSize::new(width, height)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apertures_lie_within() {
        let content = |numbers: [i32; 8]| numbers.map(i32::to_be_bytes).concat();
        let size = PixelSize::new(46, 38);
        let within = |numbers| aperture(&content(numbers), size);
        assert_eq!(within([45, 1, 37, 1, -1, 2, -1, 2]), Some((0, 0, PixelSize::new(45, 37))));
        assert_eq!(within([40, 1, 30, 1, 0, 1, 4, 1]), Some((3, 8, PixelSize::new(40, 30))));
        assert_eq!(within([47, 1, 37, 1, 0, 1, 0, 1]), None);
        assert_eq!(within([0, 1, 37, 1, 0, 1, 0, 1]), None);
        assert_eq!(within([45, 0, 37, 1, 0, 1, 0, 1]), None);
        assert_eq!(within([45, 1, 37, 1, 90, 1, 0, 1]), None);
    }
}
