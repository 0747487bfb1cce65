//! Image files: as Pillow decodes them, whole or refused, and within memory. `tests/images/make_images.py`
//! made the files.

use gve::MediaSource;
use gve::preprocess::{ImageLimits, PreprocessError, decode_image, load_image};
use image::{DynamicImage, ImageFormat, RgbImage};
use std::io::Cursor;
use std::path::{Path, PathBuf};

mod refused;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/images")
}

/// Every image file, by name.
fn files() -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(folder()).expect("the folder is there");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("an entry"))
        .filter(|entry| entry.path().is_file() && entry.path().extension().is_some_and(|end| end != "py"))
        .filter(|entry| cfg!(feature = "video") || !needs_ffmpeg(&entry.path()))
        .map(|entry| {
            (entry.file_name().into_string().expect("UTF-8"), std::fs::read(entry.path()).expect("reads"))
        })
        .collect();
    files.sort();
    assert!(files.len() > 50, "{} files", files.len());
    files
}

/// Whether pictures of this ending are coded like video.
fn needs_ffmpeg(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "heic" || end == "avif")
}

fn decode(bytes: &[u8]) -> Result<RgbImage, PreprocessError> {
    decode_image(bytes, "test", &ImageLimits::default())
}

/// Whether decoders may differ in roundings.
fn is_lossy(name: &str) -> bool {
    name.ends_with(".jpg") || ["jpeg", "lossy", "raw."].iter().any(|start| name.starts_with(start))
}

#[test]
fn images_are_what_pillow_makes_of_them() {
    let mut wrong = Vec::new();
    for (name, bytes) in files() {
        let expected =
            image::open(folder().join("rgb").join(format!("{name}.png"))).expect("opens").into_rgb8();
        let found = match decode(&bytes) {
            Ok(found) => found,
            Err(error) => {
                wrong.push(format!("{name}: {error}"));
                continue;
            }
        };
        assert_eq!(found.dimensions(), expected.dimensions(), "{name}");
        let differences =
            found.as_raw().iter().zip(expected.as_raw()).map(|(a, b)| u64::from(a.abs_diff(*b)));
        let (mean, most) = (
            differences.clone().sum::<u64>() as f64 / found.as_raw().len() as f64,
            differences.max().unwrap_or_default(),
        );
        // Decoders choose other ways to enlarge chroma, which tells at edges.
        let allowed = if is_lossy(&name) { (3.0, 255) } else { (0.02, 1) };
        if mean > allowed.0 || most > allowed.1 {
            wrong.push(format!("{name}: off by {mean:.2} in the mean, {most} at most"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn an_image_cut_short_is_refused_or_the_same() {
    let mut wrong = Vec::new();
    for (name, bytes) in files() {
        let whole = decode(&bytes).expect("decodes");
        let mut cuts: Vec<usize> = (0..48).map(|cut| bytes.len() * cut / 48).collect();
        cuts.extend((1..=24).map(|tail| bytes.len().saturating_sub(tail)));
        let mut refused = 0;
        for cut in cuts {
            match decode(&bytes[..cut]) {
                Ok(found) if found == whole => {}
                Ok(_) => wrong.push(format!("{name} cut at {cut} of {} is another picture", bytes.len())),
                Err(error) => {
                    refused += 1;
                    assert!(!error.to_string().contains('\n'), "{error}");
                }
            }
        }
        // Of an animation the first picture is enough, and may be the smaller part.
        assert!(refused >= 10, "{name}: {refused}");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Photographs by name, as cameras write them.
fn photographs() -> Vec<(String, Vec<u8>)> {
    files().into_iter().filter(|(name, _)| name.ends_with(".jpg")).collect()
}

#[test]
fn what_lies_behind_a_photograph_does_not_matter() {
    let film = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom\0\0\0\x10mdat".repeat(40);
    for (name, bytes) in photographs() {
        let whole = decode(&bytes).expect("decodes");
        let with = |tail: &[u8]| [&bytes, tail].concat();
        let unended = &bytes[..bytes.len() - 2];
        let table = [
            ("a second picture", with(&bytes)),
            ("half a second picture", with(&bytes[..bytes.len() / 2])),
            ("a film", with(&film)),
            ("zeros", with(&[0; 4096])),
            ("markers", with(&[0xff; 64])),
            ("no end", unended.to_vec()),
            ("zeros and no end", [unended, &[0; 512]].concat()),
        ];
        for (tail, bytes) in table {
            let found = decode(&bytes).unwrap_or_else(|error| panic!("{name} with {tail}: {error}"));
            assert!(found == whole, "{name} with {tail}");
        }
    }
}

#[test]
fn a_photograph_with_a_hole_is_refused() {
    for (name, bytes) in photographs() {
        let half = bytes.len() / 2;
        let table = [
            ("an end in the middle", [&bytes[..half], &[0xff, 0xd9]].concat()),
            ("zeros for its second half", [&bytes[..half], &[0; 20]].concat()),
            ("another file behind its first half", [&bytes[..half], &bytes].concat()),
        ];
        for (hole, bytes) in table {
            let error = decode(&bytes).expect_err(&format!("{name} with {hole}"));
            let said = error.to_string();
            assert!(said.contains("before the picture is complete"), "{name} with {hole}: {said}");
        }
    }
}

fn png(picture: DynamicImage) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png).expect("encodes");
    bytes.into_inner()
}

#[test]
fn memory_is_counted_before_it_is_held() {
    let eight = png(DynamicImage::ImageRgb8(RgbImage::new(200, 100)));
    let sixteen = png(DynamicImage::ImageRgba16(image::ImageBuffer::new(200, 100)));
    let limits = |max_memory_bytes| ImageLimits::default().with_max_memory_bytes(max_memory_bytes);
    // Rows and columns take something for the resizing to come.
    let beside = 100 * 352 + 200 * 16;
    for (bytes, pixel_bytes) in [(&eight, 3), (&sixteen, 8)] {
        let needed = 200 * 100 * pixel_bytes + bytes.len() as u64 + beside;
        assert!(decode_image(bytes, "it", &limits(needed)).is_ok());
        let error = decode_image(bytes, "it", &limits(needed - 1)).expect_err("one byte is missing");
        assert!(
            matches!(error, PreprocessError::ImageMemoryLimit { needed_bytes, .. } if needed_bytes == needed),
            "{error}"
        );
        assert!(error.to_string().contains("image it of 200x100 pixels needs"), "{error}");
    }
    for (name, bytes) in files() {
        let error = decode_image(&bytes, "it", &limits(5000)).expect_err(&name);
        assert!(matches!(error, PreprocessError::ImageMemoryLimit { .. }), "{name}: {error}");
    }
}

/// The head of a PNG of this size, and no data.
fn png_head(width: u32, height: u32, bits: u8, color: u8) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |kind: &[u8; 4], data: &[u8]| {
        let body = [kind, data].concat();
        bytes.extend((data.len() as u32).to_be_bytes());
        bytes.extend(&body);
        bytes.extend(crc(&body).to_be_bytes());
    };
    let sides = [width.to_be_bytes(), height.to_be_bytes()].concat();
    chunk(b"IHDR", &[&sides[..], &[bits, color, 0, 0, 0]].concat());
    chunk(b"IDAT", &[0x78, 0x9c]);
    bytes
}

fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 },
        )
    })
}

#[test]
fn pictures_beyond_the_memory_are_refused_by_their_head() {
    let refused = |bytes: &[u8]| decode(bytes).expect_err("it is refused");
    // 16 bits and transparency: 2.1 GB. Then lines of pixels, whose resizing would take as much.
    for (width, height, bits, color) in
        [(16_380, 16_380, 16, 6), (1, 100_000_000, 8, 2), (2, 50_000_000, 8, 0)]
    {
        let error = refused(&png_head(width, height, bits, color));
        assert!(matches!(error, PreprocessError::ImageMemoryLimit { .. }), "{width}x{height}: {error}");
    }
    // A row that is too much already.
    let error = refused(&png_head(140_000_000, 1, 8, 2));
    assert!(error.to_string().contains("Memory limit exceeded"), "{error}");
    // As many pixels as are allowed, of 8 bits: only the data are missing.
    for color in [2, 6] {
        let error = refused(&png_head(16_384, 16_384, 8, color));
        assert!(matches!(error, PreprocessError::DecodeImage { .. }), "{error}");
    }
    let error = refused(&png_head(16_385, 16_385, 8, 2));
    assert!(matches!(error, PreprocessError::ImagePixelLimit { .. }), "{error}");
    // A progressive JPEG keeps its coefficients.
    let photographs = photographs();
    let (_, progressive) =
        photographs.iter().find(|(name, _)| name == "progressive_full_chroma.jpg").expect("is there");
    let mut large = progressive.clone();
    let frame = large.windows(2).position(|pair| pair == [0xff, 0xc2]).expect("a frame");
    large[frame + 5..frame + 9].copy_from_slice(&[0x2e, 0xe0, 0x2e, 0xe0]);
    // The data are those of a small picture, of which the whole is asked before.
    assert!(matches!(refused(&large), PreprocessError::IncompleteImage { .. }));
}

/// A TIFF file of 16 x 16 pixels with these tags of type SHORT beside the size.
fn tiff(tags: &[(u16, u16)]) -> Vec<u8> {
    let mut tags = [&[(256, 16), (257, 16)], tags].concat();
    tags.sort_unstable();
    let mut bytes = [&b"II\x2a\0\x08\0\0\0"[..], &(tags.len() as u16).to_le_bytes()].concat();
    for (tag, value) in tags {
        for half in [tag, 3, 1, 0, value, 0] {
            bytes.extend(half.to_le_bytes());
        }
    }
    bytes.extend([0; 4 + 1024]);
    bytes
}

#[test]
fn layouts_of_tiff_that_would_be_misread_are_named() {
    let tiles = [(258, 8), (259, 1), (262, 2), (277, 3), (322, 16), (323, 16), (324, 200), (325, 256)];
    let error = decode(&tiff(&[&tiles[..], &[(284, 2)]].concat())).expect_err("refused").to_string();
    assert!(error.contains("tiles of one colour each are not supported"), "{error}");
    let gray = [(258, 4), (259, 1), (262, 1), (273, 200), (277, 1), (278, 16), (279, 128)];
    decode(&tiff(&gray)).expect("is read");
    let error = decode(&tiff(&[&gray[..], &[(266, 2)]].concat())).expect_err("refused").to_string();
    assert!(error.contains("lowest bit of a byte are not supported"), "{error}");
}

/// A raw file whose larger preview lay behind its thumbnail, and has gone with the end of the file.
#[test]
fn a_raw_file_that_was_cut_before_its_preview_is_not_its_thumbnail() {
    let (_, thumbnail) = photographs().into_iter().next().expect("there is one");
    let raw = |preview_at: u32, preview_len: u32| {
        let mut bytes = [&b"II\x2a\0\x08\0\0\0"[..], &7_u16.to_le_bytes()].concat();
        let start = 8 + 2 + 7 * 12 + 4;
        let (strip, strip_len) = (start as u32, thumbnail.len() as u32);
        for (tag, kind, count, value) in [
            (0x0103_u16, 3_u16, 1_u32, 6_u32),
            (0x0106, 3, 1, 6),
            (0x0111, 4, 1, strip),
            (0x0117, 4, 1, strip_len),
            (0x0201, 4, 1, preview_at),
            (0x0202, 4, 1, preview_len),
            (0xc612, 1, 4, 1),
        ] {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(kind.to_le_bytes());
            bytes.extend(count.to_le_bytes());
            bytes.extend(value.to_le_bytes());
        }
        bytes.extend([0; 4]);
        bytes.extend(&thumbnail);
        bytes
    };
    let beyond = raw(0, 0).len() as u32 + 100;
    let error = decode(&raw(beyond, 9_000_000)).expect_err("refused");
    assert!(matches!(error, PreprocessError::IncompleteImage { .. }), "{error}");
    // A smaller one is no loss.
    decode(&raw(beyond, 10)).expect("is read");
}

/// Sizes of newer formats are bounded before, and by, the decoding.
#[test]
fn sizes_that_newer_formats_claim_are_not_believed() {
    let file = |name: &str| std::fs::read(folder().join(name)).expect("reads");
    let changed = |name: &str, before: &[u8], offset: usize, after: &[u8]| {
        let mut bytes = file(name);
        let place = bytes.windows(before.len()).position(|window| window == before).expect("is there");
        bytes[place + offset..place + offset + after.len()].copy_from_slice(after);
        bytes
    };
    let side = |side: u32| side.to_be_bytes();
    // HEIF says its size beside the data, which have one of their own.
    for (name, said) in [("lossy.heic", "HEIC"), ("lossy.avif", "AVIF")] {
        let sized = |width, height| changed(name, b"ispe", 8, &[side(width), side(height)].concat());
        let refused = |bytes: &[u8]| decode(bytes).expect_err(name);
        let error = refused(&sized(u32::MAX, u32::MAX));
        assert!(matches!(error, PreprocessError::ImagePixelLimit { .. }), "{error}");
        let error = refused(&sized(13_000, 13_000));
        assert!(matches!(error, PreprocessError::ImageMemoryLimit { .. }), "{error}");
        let error = refused(&sized(0, 40));
        assert!(matches!(error, PreprocessError::EmptyPicture { .. }), "{error}");
        if cfg!(feature = "video") {
            let error = refused(&sized(200, 100));
            assert!(matches!(error, PreprocessError::DecodeImage { .. }), "{error}");
        } else {
            let error = refused(&file(name));
            assert!(matches!(error, PreprocessError::NoImageDecoder { .. }), "{error}");
            assert!(error.to_string().contains(said) && error.to_string().contains("FFmpeg"), "{error}");
        }
    }
    let error = decode(&changed("lossy_grid.heic", b"idat", 4, &[0, 0, 1, 7])).expect_err("refused");
    assert!(error.to_string().contains("its grid has 2x8 places and 4 parts"), "{error}");
    // The size of a codestream: small ones by eights, then of 9 to 30 bits. This is 2^30 by as much.
    let huge =
        [&[0xff, 0x0a][..], &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], &[0; 64]].concat();
    let error = decode(&huge).expect_err("refused").to_string();
    assert!(!error.contains('\n'), "{error}");
}

/// The JPEG in a raw file is what is limited, and one without is named.
#[test]
fn raw_files_without_a_picture_are_named() {
    let mut bytes = std::fs::read(folder().join("raw.raf")).expect("reads");
    bytes[88..92].copy_from_slice(&7_u32.to_be_bytes());
    let error = decode(&bytes).expect_err("refused").to_string();
    assert!(error.contains("there is no JPEG in it"), "{error}");
    let bytes = std::fs::read(folder().join("raw.nef")).expect("reads");
    let limits = ImageLimits::default().with_max_pixels(1000);
    let error = decode_image(&bytes, "it", &limits).expect_err("refused");
    assert!(matches!(error, PreprocessError::ImagePixelLimit { .. }), "{error}");
}

#[test]
fn bytes_and_readers_are_the_same_image_as_the_file() {
    let limits = ImageLimits::default();
    for (name, bytes) in files() {
        for bytes in [bytes[..bytes.len() / 2].to_vec(), bytes] {
            let said = |result: Result<RgbImage, PreprocessError>| result.map_err(|error| error.to_string());
            let expected = said(decode_image(&bytes, &name, &limits));
            let reader = MediaSource::reader(Cursor::new(bytes.clone())).named(&name);
            assert!(said(load_image(reader, &limits)) == expected, "{name}");
            assert!(said(load_image(MediaSource::bytes(bytes).named(&name), &limits)) == expected, "{name}");
        }
    }
    let long = MediaSource::reader(Cursor::new(vec![0; 2000]));
    let error = load_image(long, &limits.with_max_bytes(1000)).expect_err("refused");
    assert!(matches!(error, PreprocessError::ImageByteLimit { limit_bytes: 1000, .. }), "{error}");
    let file = std::fs::File::open(folder()).expect("opens");
    let line =
        load_image(MediaSource::reader(file).named("upload"), &limits).expect_err("refused").to_string();
    assert!(line.starts_with("cannot read upload: at byte 0: ") && !line.contains('\n'), "{line}");
}

#[cfg(unix)]
#[test]
fn pipes_and_devices_are_no_images() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let pipe = directory.path().join("pipe.png");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs").success());
    for (path, what) in [(pipe.as_path(), "a named pipe"), (Path::new("/dev/zero"), "a device")] {
        let said = load_image(path, &ImageLimits::default()).expect_err("refused").to_string();
        assert!(said.contains(what) && said.contains(&path.display().to_string()), "{said}");
    }
}

/// A TIFF of `size` whose strips of `rows` rows are these JPEG files.
fn tiff_of_jpegs(size: (u32, u32), rows: u32, strips: &[&[u8]]) -> Vec<u8> {
    let data = strips.concat();
    let lengths = strips.iter().map(|strip| strip.len() as u32);
    let offsets = lengths.clone().scan(8, |next, length| {
        *next += length;
        Some(*next - length)
    });
    let lists: Vec<u32> = offsets.chain(lengths).collect();
    let (count, behind) = (strips.len() as u32, 8 + data.len() as u32);
    // One value stands in its entry, more stand elsewhere.
    let list = |only: u32, at: u32| if count == 1 { only } else { at };
    // YCbCr, with chroma of half the width and height.
    let entries = [
        (256, 4, 1, size.0),
        (257, 4, 1, size.1),
        (258, 3, 3, behind + 8 * count),
        (259, 3, 1, 7),
        (262, 3, 1, 6),
        (273, 4, count, list(8, behind)),
        (277, 3, 1, 3),
        (278, 4, 1, rows),
        (279, 4, count, list(data.len() as u32, behind + 4 * count)),
        (530, 3, 2, 2 << 16 | 2),
    ];
    let mut bytes = [b"II*\0", &(behind + 8 * count + 6).to_le_bytes()[..], &data].concat();
    lists.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
    [8_u16; 3].iter().for_each(|bits| bytes.extend(bits.to_le_bytes()));
    bytes.extend((entries.len() as u16).to_le_bytes());
    for (tag, kind, count, value) in entries {
        bytes.extend((tag as u16).to_le_bytes());
        bytes.extend((kind as u16).to_le_bytes());
        bytes.extend([count, value].map(u32::to_le_bytes).concat());
    }
    bytes.extend([0; 4]);
    bytes
}

#[test]
fn jpeg_strips_of_a_tiff_are_whole_and_of_their_size_or_refused() {
    let bytes = |name: &str| std::fs::read(folder().join(name)).expect("reads");
    let (strip, gray) = (bytes("baseline.jpg"), bytes("gray.jpg"));
    let picture = decode(&strip).expect("decodes");
    let (width, height) = picture.dimensions();
    for count in 1..=3 {
        let strips = vec![&strip[..]; count as usize];
        let found = decode(&tiff_of_jpegs((width, height * count), height, &strips)).expect("decodes");
        assert_eq!(found.dimensions(), (width, height * count));
        for (x, y, pixel) in found.enumerate_pixels() {
            let expected = picture.get_pixel(x, y % height);
            let off = pixel.0.iter().zip(expected.0).map(|(a, b)| a.abs_diff(b)).max();
            assert!(off <= Some(2), "{pixel:?} at {x}, {y}, expected {expected:?}");
        }
    }
    let half = &strip[..strip.len() / 2];
    let blank = [half, &vec![0; strip.len() - half.len()]].concat();
    let cut = "unexpected end of file";
    let size = "is of another size";
    for (what, tiff, said) in [
        ("half a strip", tiff_of_jpegs((width, height), height, &[half]), cut),
        ("half the second", tiff_of_jpegs((width, 2 * height), height, &[&strip, half]), cut),
        ("zeros", tiff_of_jpegs((width, height), height, &[&blank]), cut),
        ("nothing", tiff_of_jpegs((width, 2 * height), height, &[&strip, &[]]), cut),
        ("too low", tiff_of_jpegs((width, height + 1), height + 1, &[&strip]), size),
        ("too high", tiff_of_jpegs((width, height - 1), height - 1, &[&strip]), size),
        ("too narrow", tiff_of_jpegs((width + 1, height), height, &[&strip]), size),
        ("too wide", tiff_of_jpegs((width - 1, height), height, &[&strip]), size),
        ("gray", tiff_of_jpegs((width, height), height, &[&gray]), size),
    ] {
        let error = decode(&tiff).expect_err(what).to_string();
        assert!(error.contains(said), "{what}: {error}");
    }
}
