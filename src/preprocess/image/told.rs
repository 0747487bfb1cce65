//! What a file says of its picture beside the pixels: which way is up, and when it was taken.

use std::borrow::Cow;
use std::io::Cursor;

use ::image::metadata::Orientation;
use ::image::{ImageDecoder, ImageFormat, ImageResult};

use super::exif;
use crate::calendar;

/// Bytes of a text in a PNG file that are unpacked, at most.
const TEXT_BYTES: usize = 1 << 20;

const EXIF_PROFILES: [&str; 2] = ["Raw profile type exif", "Raw profile type APP1"];
const IPTC_PROFILES: [&str; 2] = ["Raw profile type iptc", "Raw profile type 8bim"];

/// What a file says.
#[derive(Clone, Copy, Default)]
pub(super) struct Told {
    pub(super) orientation: Option<Orientation>,
    /// When it was taken by the clock of the camera, in seconds from the beginning of 1970.
    pub(super) captured_seconds: Option<i64>,
}

impl Told {
    /// By EXIF data first, as viewers have it, then by XMP, and of dates by IPTC. No more than this is lost with data that
    /// cannot be read.
    pub(super) fn of(
        decoder: &mut impl ImageDecoder,
        format: ImageFormat,
        bytes: &[u8],
    ) -> ImageResult<Self> {
        let exif = decoder.exif_metadata().ok().flatten();
        let is_png = format == ImageFormat::Png;
        let exif = exif.or_else(|| is_png.then(|| raw_profile(bytes, &EXIF_PROFILES))?);
        // Some write it as it stands in a JPEG file, which the decoder does not expect.
        let exif = exif.as_deref().map(|exif| exif.strip_prefix(b"Exif\0\0").unwrap_or(exif));
        let xmp = decoder.xmp_metadata().ok().flatten().filter(|xmp| xmp.len() <= TEXT_BYTES);
        let xmp = xmp.as_deref().map(String::from_utf8_lossy);
        let orientation = match format {
            // Its own tag.
            ImageFormat::Tiff => decoder.orientation()?,
            _ => exif
                .and_then(Orientation::from_exif_chunk)
                .or_else(|| Orientation::from_exif(value(xmp.as_deref()?, "tiff:Orientation")?.parse().ok()?))
                .unwrap_or(Orientation::NoTransforms),
        };
        // A TIFF file is what EXIF data are.
        let captured_seconds = exif::captured_seconds(exif.unwrap_or(bytes))
            .or_else(|| captured_by_xmp(xmp.as_deref()?))
            .or_else(|| {
                let iptc = match format {
                    // The decoder gives it as it is written there, in digits.
                    ImageFormat::Png => raw_profile(bytes, &IPTC_PROFILES),
                    _ => decoder.iptc_metadata().ok().flatten(),
                };
                captured_by_iptc(&iptc?)
            });
        Ok(Self { orientation: Some(orientation), captured_seconds })
    }
}

/// Data as ImageMagick and exiftool put them into PNG files that have no chunk for them: a text of a line with the kind,
/// one with the length, and hexadecimal digits.
fn raw_profile(png: &[u8], keywords: &[&str]) -> Option<Vec<u8>> {
    let reader = png::Decoder::new(Cursor::new(png)).read_info().ok()?;
    let is_asked = |keyword: &str| keywords.contains(&keyword);
    let info = reader.info();
    let plain = info.uncompressed_latin1_text.iter().find(|text| is_asked(&text.keyword));
    let text = plain.map(|text| text.text.clone()).or_else(|| {
        let mut packed = info.compressed_latin1_text.iter().find(|text| is_asked(&text.keyword))?.clone();
        packed.decompress_text_with_limit(TEXT_BYTES).ok()?;
        packed.get_text().ok()
    })?;
    let digits: Vec<u8> = text.trim_start().lines().skip(2).flat_map(str::bytes).collect();
    let byte = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.as_chunks::<2>().0.iter().map(byte).collect()
}

/// The value of a property, as an attribute or as an element.
fn value<'a>(xmp: &'a str, name: &str) -> Option<&'a str> {
    xmp.match_indices(name).find_map(|(at, _)| {
        let behind = xmp[at + name.len()..].trim_start();
        if let Some(element) = behind.strip_prefix('>') {
            return element.split('<').next();
        }
        let quoted = behind.strip_prefix('=')?.trim_start();
        let quote = quoted.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
        quoted[1..].split(quote).next()
    })
}

fn captured_by_xmp(xmp: &str) -> Option<i64> {
    ["exif:DateTimeOriginal", "photoshop:DateCreated", "xmp:CreateDate", "exif:DateTimeDigitized"]
        .iter()
        .find_map(|name| calendar::parse(&whole_time(value(xmp, name)?)))
}

/// A date with all of its time, where XMP leaves that or the seconds out.
fn whole_time(date: &str) -> Cow<'_, str> {
    match (date.len(), date.get(..16), date.as_bytes().get(16)) {
        (10, ..) => Cow::Owned(format!("{date}T00:00:00")),
        (_, Some(minutes), None | Some(b'+' | b'-' | b'Z')) => Cow::Owned(format!("{minutes}:00")),
        _ => Cow::Borrowed(date),
    }
}

/// Date and time of creation (IIM 2:55 and 2:60): `20260531` and `180000+0200`. Without a time it is midnight.
fn captured_by_iptc(iptc: &[u8]) -> Option<i64> {
    let digits = |set: u8, most: u8| {
        let at = iptc.windows(4).position(|head| head == [0x1c, 2, set, 0])? + 4;
        let (length, text) = iptc.get(at..)?.split_first()?;
        std::str::from_utf8(text.get(..usize::from(*length.min(&most)))?).ok()
    };
    let time = digits(60, 6).filter(|time| time.len() == 6);
    let (date, time) = (digits(55, 8)?, time.unwrap_or("000000"));
    let [year, month, day] = [date.get(..4)?, date.get(4..6)?, date.get(6..)?];
    let [hour, minute, second] = [time.get(..2)?, time.get(2..4)?, time.get(4..)?];
    calendar::parse(&format!("{year}-{month}-{day}T{hour}:{minute}:{second}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::MediaSource;
    use crate::recipe::Transparency;

    #[test]
    fn values_of_xmp_are_attributes_or_elements() {
        let attribute = "<rdf:Description tiff:Orientation=\"6\" xmp:CreateDate='2026-05-31T18:00:01'/>";
        let element = "<x><tiff:Orientation>6</tiff:Orientation><exif:DateTimeOriginal>2026-05-31T18:00:01+02:00\
                       </exif:DateTimeOriginal></x>";
        for xmp in [attribute, element] {
            assert_eq!(value(xmp, "tiff:Orientation"), Some("6"));
            assert_eq!(captured_by_xmp(xmp), Some(1_780_250_401));
        }
        for (date, expected) in [
            ("2026-05-31", Some(1_780_250_401 - 18 * 3600 - 1)),
            ("2026-05-31T18:00", Some(1_780_250_400)),
            ("2026-05-31T18:00Z", Some(1_780_250_400)),
            ("2026-05-31T18:00+02:00", Some(1_780_250_400)),
            ("2026-05-31T18:00:01.5Z", Some(1_780_250_401)),
            ("2026-05", None),
            ("2026-05-31T18:0é", None),
        ] {
            assert_eq!(captured_by_xmp(&format!("xmp:CreateDate=\"{date}\"")), expected, "{date}");
        }
        for broken in ["", "tiff:Orientation", "tiff:Orientation=", "tiff:Orientation=é"] {
            assert_eq!(value(broken, "tiff:Orientation"), None);
        }
    }

    /// A PNG file of one row with such a text, of which Latin-1 may be packed.
    fn png_with(keyword: &str, text: &str, kind: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 2, 1);
        encoder.set_color(png::ColorType::Rgb);
        let added = match kind {
            "tEXt" => encoder.add_text_chunk(keyword.to_owned(), text.to_owned()),
            "zTXt" => encoder.add_ztxt_chunk(keyword.to_owned(), text.to_owned()),
            _ => encoder.add_itxt_chunk(keyword.to_owned(), text.to_owned()),
        };
        added.unwrap();
        encoder.write_header().unwrap().write_image_data(&[255, 0, 0, 0, 0, 255]).unwrap();
        bytes
    }

    #[test]
    fn pictures_are_turned_by_raw_profiles_and_by_xmp() {
        // A big-endian directory with the orientation 6: a quarter turn to the right.
        let digits = "4578696600004d4d002a00000008\n00010112000300000001000600000000\n0000";
        let profile = format!("\nexif\n      32\n{digits}\n");
        let xmp = "<x:xmpmeta><rdf:Description tiff:Orientation=\"6\"/></x:xmpmeta>";
        let turned = |keyword, text: &str, kind| {
            let bytes = png_with(keyword, text, kind);
            let picture =
                crate::preprocess::decode_image(&bytes, "test", &super::super::ImageLimits::default())
                    .unwrap();
            (picture.dimensions(), picture.get_pixel(0, 0).0)
        };
        for (keyword, text, kind) in [
            ("Raw profile type exif", profile.as_str(), "tEXt"),
            ("Raw profile type APP1", &profile, "zTXt"),
            ("XML:com.adobe.xmp", xmp, "iTXt"),
        ] {
            assert_eq!(turned(keyword, text, kind), ((1, 2), [255, 0, 0]), "{keyword}");
        }
        for (keyword, text, kind) in [
            ("Comment", profile.as_str(), "tEXt"),
            ("Raw profile type exif", "\nexif\n 32\n45786", "tEXt"),
            ("Raw profile type exif", "\nexif\n 32\nxx", "zTXt"),
            ("XML:com.adobe.xmp", "tiff:Orientation=\"99\"", "iTXt"),
        ] {
            assert_eq!(turned(keyword, text, kind).0, (2, 1), "{text}");
        }
    }

    #[test]
    fn dates_of_iptc_may_lack_the_time() {
        let date = [&[0x1c, 2, 55, 0, 8][..], b"20260531"].concat();
        let both = [&date[..], &[0x1c, 2, 60, 0, 11], b"180001+0200"].concat();
        assert_eq!(captured_by_iptc(&both), Some(1_780_250_401));
        assert_eq!(captured_by_iptc(&date), Some(1_780_250_401 - 18 * 3600 - 1));
        let short = [&date[..], &[0x1c, 2, 60, 0, 4], b"1800"].concat();
        assert_eq!(captured_by_iptc(&short), captured_by_iptc(&date));
        assert_eq!(captured_by_iptc(&both[..9]), None);
        let digits: String = both.iter().map(|byte| format!("{byte:02x}")).collect();
        let png =
            png_with("Raw profile type iptc", &format!("\niptc\n      {}\n{digits}\n", both.len()), "zTXt");
        let limits = crate::preprocess::ImageLimits::default();
        let picture =
            crate::preprocess::load_picture(&MediaSource::bytes(png), &limits, Transparency::default());
        assert_eq!(picture.unwrap().captured_seconds, Some(1_780_250_401));
        assert_eq!(captured_by_iptc(b""), None);
    }
}
