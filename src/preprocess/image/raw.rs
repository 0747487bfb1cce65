//! Raw files of cameras, which nearly all hold a JPEG of what the camera would have made of them: that one is
//! read, and the raw data are not.
//!
//! Most are TIFF files (DNG, and those of Canon, Nikon, Sony, Pentax, Samsung and others), some with a number
//! of their own at the beginning (Olympus, Panasonic); Fujifilm and Canon's CR3 are told apart.

use ::image::metadata::Orientation;

use super::boxes::{Fields, boxes, find, has_brand};
use super::exif::{DETAILS, Numbers, captured_in, captured_seconds};
use super::jpeg;

const ORIENTATION: u16 = 0x0112;
const PHOTOMETRIC: u16 = 0x0106;
const COMPRESSION: u16 = 0x0103;
const STRIP_OFFSETS: u16 = 0x0111;
const STRIP_LENGTHS: u16 = 0x0117;
const JPEG_OFFSET: u16 = 0x0201;
const JPEG_LENGTH: u16 = 0x0202;
const SUB_DIRECTORIES: u16 = 0x014a;
const PANASONIC_JPEG: u16 = 0x002e;
const MAKER_NOTE: u16 = 0x927c;
const DNG_VERSION: u16 = 0xc612;
/// Samples as they come from the sensor, or next to it.
const RAW_PHOTOMETRIC: [usize; 2] = [32803, 34892];
/// Directories that are looked into.
const MOST_DIRECTORIES: usize = 32;

const FUJIFILM: &[u8] = b"FUJIFILMCCD-RAW ";
/// Which of a CR3 file's boxes has the boxes with EXIF data.
const CANON: &[u8] = b"\x85\xc0\xb6\x87\x82\x0f\x11\xe0\x81\x11\xf4\xce\x46\x2b\x6a\x48";

/// Whether this is the beginning of such a file that is not one of TIFF's, too.
pub(super) fn has_own_head(bytes: &[u8]) -> bool {
    let heads = [FUJIFILM, b"IIRO", b"IIRS", b"MMOR", b"IIU\0"];
    heads.iter().any(|head| bytes.starts_with(head)) || has_brand(bytes, &[b"crx "])
}

/// What is read of such a file.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Raw<'a> {
    /// The largest JPEG in it, as far as that is there.
    pub(super) preview: Option<&'a [u8]>,
    /// Whether the file ends in the middle of what it says of its pictures.
    pub(super) is_cut: bool,
    /// How it is turned, where it is not the JPEG that says so.
    pub(super) orientation: Option<Orientation>,
    /// When it was taken by the clock of the camera, in seconds from the beginning of 1970, where it is not
    /// the JPEG that says so.
    pub(super) captured_seconds: Option<i64>,
}

impl<'a> Raw<'a> {
    /// Looks at a file; `None` where it is none of a camera.
    pub(super) fn open(bytes: &'a [u8]) -> Option<Self> {
        if bytes.starts_with(FUJIFILM) {
            return Some(Self { preview: largest(bytes, &fujifilm(bytes)), ..Self::default() });
        }
        if has_brand(bytes, &[b"crx "]) {
            return Some(Self::canon(bytes));
        }
        let numbers = Numbers::of(bytes)?;
        let Directories { found: directories, is_cut } = directories(numbers);
        let is_raw = |directory: &usize| {
            let photometric = numbers.find_value(*directory, PHOTOMETRIC);
            photometric.is_some_and(|kind| RAW_PHOTOMETRIC.contains(&kind))
                || numbers.find(*directory, DNG_VERSION).is_some()
        };
        let is_plain_tiff = matches!(bytes.get(..4), Some(b"II\x2a\0" | b"MM\0\x2a"));
        if is_plain_tiff && bytes.get(8..10) != Some(b"CR") && !directories.iter().any(is_raw) {
            return None;
        }
        let previews: Vec<_> =
            directories.iter().flat_map(|directory| previews(numbers, *directory)).collect();
        let orientation = directories.first().and_then(|first| orientation(numbers, *first));
        let preview = largest(bytes, &previews);
        // What is left may be a thumbnail of what has gone.
        let known = preview.map_or(0, <[u8]>::len);
        let mut named = directories.iter().filter_map(|directory| named_jpeg(numbers, *directory));
        let is_gone = named.any(|(begin, length)| begin >= bytes.len() && length > known);
        Some(Self {
            preview,
            is_cut: is_cut || is_gone,
            orientation,
            captured_seconds: captured_seconds(bytes),
        })
    }

    fn canon(bytes: &'a [u8]) -> Self {
        let movie = find(bytes, b"moov").unwrap_or_default();
        let details = boxes(movie).find_map(|(kind, content)| match kind {
            _ if &kind != b"uuid" => None,
            _ => content.strip_prefix(CANON),
        });
        let numbers = details.and_then(|details| Numbers::of(find(details, b"CMT1")?));
        let tracks = boxes(movie).filter(|(kind, _)| kind == b"trak");
        let previews: Vec<_> = tracks.filter_map(|(_, track)| only_sample(track)).collect();
        // The details are a file of their own.
        let captured = details.and_then(|details| {
            let numbers = Numbers::of(find(details, b"CMT2")?)?;
            captured_in(numbers, numbers.long(4)?)
        });
        Self {
            preview: largest(bytes, &previews),
            is_cut: false,
            orientation: numbers.and_then(|numbers| orientation(numbers, numbers.long(4)?)),
            captured_seconds: captured,
        }
    }
}

/// Where something lies, and how long it is.
type Place = (usize, usize);

/// Of these places the one that has the largest JPEG. What is cut short there goes as far as the file.
fn largest<'a>(bytes: &'a [u8], places: &[Place]) -> Option<&'a [u8]> {
    let pictures = places.iter().filter_map(|&(begin, length)| {
        let data = bytes.get(begin..begin.saturating_add(length).min(bytes.len()))?;
        // Raw data may be JPEG, too, of a lossless kind.
        let (width, height, _) = data.starts_with(b"\xff\xd8").then(|| jpeg::examine(data, 0).shape)??;
        Some((width * height, data))
    });
    pictures.max_by_key(|(area, _)| *area).map(|(_, data)| data)
}

struct Directories {
    /// The first one first.
    found: Vec<usize>,
    /// Whether the file ends within one of them, or before one that lies within another. What makers write as
    /// the place of the next one may be anything.
    is_cut: bool,
}

fn directories(numbers: Numbers<'_>) -> Directories {
    let mut directories = Directories { found: Vec::new(), is_cut: false };
    let mut left: Vec<usize> = numbers.long(4).into_iter().collect();
    while let Some(directory) = left.pop()
        && directories.found.len() < MOST_DIRECTORIES
    {
        let Some(count) = numbers.short(directory).filter(|_| !directories.found.contains(&directory)) else {
            continue;
        };
        directories.found.push(directory);
        match directory.checked_add(2 + 12 * usize::from(count)).and_then(|at| numbers.long(at)) {
            Some(next) => left.extend(Some(next).filter(|next| *next > 0)),
            None => directories.is_cut = true,
        }
        if let Some(entry) = numbers.find(directory, SUB_DIRECTORIES) {
            let at = if entry.count > 1 { numbers.long(entry.value_at) } else { Some(entry.value_at) };
            let within = |i| numbers.long(at?.checked_add(4 * i)?).filter(|at| numbers.short(*at).is_some());
            let within: Option<Vec<usize>> = (0..entry.count.min(MOST_DIRECTORIES)).map(within).collect();
            directories.is_cut |= within.is_none();
            left.extend(within.unwrap_or_default());
        }
    }
    directories
}

/// Where the one value of `begin` says that something lies, which is as long as that of `length` says.
fn place(numbers: Numbers<'_>, directory: usize, begin: u16, length: u16) -> Option<Place> {
    // Of several strips each is a part.
    let only = |tag| numbers.find(directory, tag).filter(|entry| entry.count == 1);
    Some((numbers.value(only(begin)?)?, numbers.value(only(length)?)?))
}

/// Where a directory says that there is a JPEG, and no raw data in the form of one.
fn named_jpeg(numbers: Numbers<'_>, directory: usize) -> Option<Place> {
    let has = |tag, values: &[usize]| {
        numbers.find_value(directory, tag).is_some_and(|value| values.contains(&value))
    };
    let strip = || {
        let is_picture = has(COMPRESSION, &[6, 7]) && !has(PHOTOMETRIC, &RAW_PHOTOMETRIC);
        is_picture.then(|| place(numbers, directory, STRIP_OFFSETS, STRIP_LENGTHS))?
    };
    place(numbers, directory, JPEG_OFFSET, JPEG_LENGTH).or_else(strip)
}

/// Where a directory, or the maker's note in it, says that there are JPEGs.
fn previews(numbers: Numbers<'_>, directory: usize) -> Vec<Place> {
    let place = |begin, length| place(numbers, directory, begin, length);
    let panasonic = || {
        let entry = numbers.find(directory, PANASONIC_JPEG)?;
        Some((numbers.long(entry.value_at)?, entry.count))
    };
    let places = [place(JPEG_OFFSET, JPEG_LENGTH), place(STRIP_OFFSETS, STRIP_LENGTHS), panasonic()];
    places.into_iter().flatten().chain(olympus(numbers, directory)).collect()
}

/// Olympus has places of its own, which count from the maker's note.
fn olympus(numbers: Numbers<'_>, directory: usize) -> Option<Place> {
    const CAMERA_SETTINGS: u16 = 0x2020;
    const PREVIEW_BEGIN: u16 = 0x0101;
    const PREVIEW_LENGTH: u16 = 0x0102;
    let details = numbers.find_value(directory, DETAILS)?;
    let note = numbers.long(numbers.find(details, MAKER_NOTE)?.value_at)?;
    let bytes = numbers.bytes.get(note..)?;
    let first = if bytes.starts_with(b"OLYMPUS\0") {
        12
    } else if bytes.starts_with(b"OM SYSTEM\0") {
        16
    } else {
        return None;
    };
    let within = Numbers { bytes, ..numbers };
    let settings = within.long(within.find(first, CAMERA_SETTINGS)?.value_at)?;
    let begin = within.find_value(settings, PREVIEW_BEGIN)?;
    Some((note.checked_add(begin)?, within.find_value(settings, PREVIEW_LENGTH)?))
}

fn fujifilm(bytes: &[u8]) -> Vec<Place> {
    let mut fields = Fields(bytes.get(84..).unwrap_or_default());
    let place = fields.number(4).zip(fields.number(4));
    place.map(|(begin, length)| (begin as usize, length as usize)).into_iter().collect()
}

/// Where the sample of a track lies that has no more than one.
fn only_sample(track: &[u8]) -> Option<Place> {
    let table = [b"mdia", b"minf", b"stbl"].iter().try_fold(track, |within, kind| find(within, kind))?;
    let mut sizes = Fields(find(table, b"stsz")?.get(4..)?);
    let (size, count) = (sizes.number(4)?, sizes.number(4)?);
    let size = if size == 0 { sizes.number(4)? } else { size };
    let begin = Fields(find(table, b"co64")?.get(8..)?).number(8)?;
    (count == 1).then_some((usize::try_from(begin).ok()?, usize::try_from(size).ok()?))
}

fn orientation(numbers: Numbers<'_>, directory: usize) -> Option<Orientation> {
    Orientation::from_exif(u8::try_from(numbers.find_value(directory, ORIENTATION)?).ok()?)
}
