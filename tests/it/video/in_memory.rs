//! Videos as bytes and as readers: the same as files, and whatever a reader does is one error.

use super::clips::{make, source};
use gve::MediaSource;
use gve::video::{Limits, VideoError, VideoOptions, VideoReader};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{fs, path::PathBuf};

/// A reader of `bytes` that gives at most 1000 at a time, and at `from` does as `then` says.
struct Reader {
    bytes: Cursor<Vec<u8>>,
    /// `None` where it keeps it to itself.
    length: Option<u64>,
    from: u64,
    then: fn() -> io::Result<usize>,
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let here = self.bytes.position();
        if here >= self.from {
            return (self.then)();
        }
        let most = buffer.len().min(1000).min((self.from - here) as usize);
        self.bytes.read(&mut buffer[..most])
    }
}

impl Seek for Reader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match (to, self.length) {
            (SeekFrom::End(0), Some(length)) => Ok(length),
            (SeekFrom::End(_), _) => Err(io::ErrorKind::Unsupported.into()),
            (to, _) => self.bytes.seek(to),
        }
    }
}

/// A reader that gives all.
fn plain(bytes: &[u8]) -> Reader {
    Reader {
        bytes: Cursor::new(bytes.to_vec()),
        length: Some(bytes.len() as u64),
        from: u64::MAX,
        then: || Ok(0),
    }
}

/// A reader that counts what it gives.
struct Counted {
    bytes: Cursor<Vec<u8>>,
    given: Arc<AtomicUsize>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let given = self.bytes.read(buffer)?;
        self.given.fetch_add(given, Ordering::Relaxed);
        Ok(given)
    }
}

impl Seek for Counted {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.bytes.seek(to)
    }
}

fn media() -> Vec<PathBuf> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/media");
    ["bunny.mp4", "ntsc.mp4", "testsrc.mp4"].map(|name| [folder, name].iter().collect()).to_vec()
}

/// All that is told of a video, and frames of it to and fro.
fn whole(source: impl Into<MediaSource>) -> Result<String, VideoError> {
    let mut reader = VideoReader::open(source)?;
    let last = reader.metadata().frames - 1;
    let some = [last / 2, last, 0];
    let mut pixels = DefaultHasher::new();
    for frame in reader.frames(&some) {
        let frame = frame?;
        (frame.index, frame.pts_seconds.to_bits(), frame.image.as_raw()).hash(&mut pixels);
    }
    let pixels = pixels.finish();
    Ok(format!("{:?} {:?} {pixels} {:?}", reader.metadata(), reader.timing(), reader.warnings()))
}

/// Pictures would be the same if all that lies before were read.
#[test]
fn a_frame_far_in_is_gone_to() {
    for name in ["a.mp4", "a.mkv", "a.ts"] {
        let how = "-c:v libx264 -preset ultrafast -qp 4 -g 25 -bf 0 -pix_fmt yuv420p";
        let Some(clip) = make(name, &source("320x180", "25", 24.0), how) else { continue };
        let bytes = fs::read(&clip.path).expect("reads");
        let (length, given) = (bytes.len(), Arc::new(AtomicUsize::new(0)));
        let counted = Counted { bytes: Cursor::new(bytes), given: Arc::clone(&given) };
        let mut reader = VideoReader::open(MediaSource::reader(counted).named(name)).expect("opens");
        let opened = given.load(Ordering::Relaxed);
        for index in [505, 210, 410] {
            let before = given.load(Ordering::Relaxed);
            let frame = reader.frames(&[index]).next().expect("one").expect("decodes");
            assert_eq!(frame.index, index);
            let read = given.load(Ordering::Relaxed) - before;
            assert!(
                read * 5 < length,
                "{name}, frame {index}: {read} bytes of {length}, {opened} when it was opened"
            );
        }
    }
}

#[test]
fn bytes_and_readers_are_the_same_video_as_the_file() {
    let mut files = media();
    // Indexed at the end, read on from any place, without an index, and one that FFmpeg tells by its
    // extension.
    let rest = [
        ("a.mkv", "-c:v libx264 -pix_fmt yuv420p"),
        ("a.ts", "-c:v mpeg2video"),
        ("a.avi", "-c:v mpeg4"),
        ("a.h264", "-c:v libx264 -pix_fmt yuv420p"),
        ("a.tga", "-frames:v 1 -update 1"),
    ];
    let clips: Vec<_> =
        rest.iter().filter_map(|(name, how)| make(name, &source("64x48", "25", 0.4), how)).collect();
    files.extend(clips.iter().map(|clip| clip.path.clone()));
    // One that breaks off, whatever is made of it.
    let broken = clips.first().map(|clip| clip.path.with_file_name("broken.mkv"));
    if let (Some(clip), Some(broken)) = (clips.first(), &broken) {
        let bytes = fs::read(&clip.path).expect("reads");
        fs::write(broken, &bytes[..bytes.len() * 9 / 10]).expect("writes");
        files.push(broken.clone());
    }
    for file in files {
        let name = file.to_str().expect("UTF-8").to_owned();
        let said = |source: MediaSource| whole(source).map_err(|error| error.to_string());
        let expected = said(file.clone().into());
        assert!(expected.is_ok() || name.ends_with("broken.mkv"), "{expected:?}");
        let bytes = fs::read(&file).expect("reads");
        let mut sources = vec![
            MediaSource::reader(plain(&bytes)),
            MediaSource::reader(fs::File::open(&file).expect("opens")),
        ];
        // FFmpeg reads pictures that it tells by their extension by the length of their file.
        if !name.ends_with(".tga") {
            sources.push(MediaSource::reader(Reader { length: None, ..plain(&bytes) }));
        }
        sources.push(MediaSource::bytes(bytes));
        for source in sources {
            let source = source.named(&name);
            // Twice, for a source is not used up.
            for _ in 0..2 {
                assert_eq!(said(source.clone()), expected, "{name}: {source:?}");
            }
        }
    }
}

#[test]
fn errors_and_panics_of_a_reader_are_one_error_that_names_source_and_byte() {
    let file = media().remove(1);
    let bytes = fs::read(&file).expect("reads");
    let expected = whole(&file).expect("decodes");
    let behaviours: [(fn() -> io::Result<usize>, &str); 3] = [
        (|| Err(io::Error::new(io::ErrorKind::ConnectionReset, "the line is dead")), "the line is dead"),
        (|| panic!("out of tapes"), "the reader panicked: out of tapes"),
        (|| Ok(usize::MAX), "the reader claims to have put"),
    ];
    for (then, said) in behaviours {
        let mut failed = 0;
        for part in 0..8 {
            let from = bytes.len() as u64 * part / 8;
            let source = MediaSource::reader(Reader { from, then, ..plain(&bytes) }).named("upload");
            match whole(source) {
                // What lies there is nothing that is needed.
                Ok(found) => assert_eq!(found, expected, "{said}, from byte {from} on"),
                Err(error) => {
                    failed += 1;
                    assert!(matches!(error, VideoError::Io(_)), "{error}");
                    let line = error.to_string();
                    let start = "cannot read upload: at byte ";
                    let at = line.strip_prefix(start).and_then(|rest| rest.split(':').next()?.parse().ok());
                    assert!(
                        at.is_some_and(|at: u64| at >= from && at <= bytes.len() as u64),
                        "{from}: {line}"
                    );
                    assert!(line.contains(said) && !line.contains('\n'), "{line}");
                }
            }
        }
        assert!(failed >= 4, "{failed} of 8");
    }
}

#[test]
fn a_length_that_is_not_so_is_an_error_that_names_the_source() {
    let file = media().remove(1);
    let bytes = fs::read(&file).expect("reads");
    let claims =
        |length: u64| MediaSource::reader(Reader { length: Some(length), ..plain(&bytes) }).named("upload");
    for length in [0, 1, 100, bytes.len() as u64 / 2] {
        let line = whole(claims(length)).expect_err("too little").to_string();
        assert!(line.contains("upload: ") && !line.contains('\n'), "{length}: {line}");
    }
    // More than there is, in a container that is read to its end.
    let Some(clip) = make("a.ts", &source("64x48", "25", 0.4), "-c:v mpeg2video") else { return };
    let bytes = fs::read(&clip.path).expect("reads");
    let length = Some(bytes.len() as u64 + 1880);
    let line =
        whole(MediaSource::reader(Reader { length, ..plain(&bytes) })).expect_err("too much").to_string();
    let expected =
        format!("at byte {}: it ends here, and was to have {} bytes", bytes.len(), bytes.len() + 1880);
    assert_eq!(line, format!("cannot read a reader: {expected}"));
}

#[test]
fn limits_hold_for_readers_that_do_not_tell_their_length() {
    let file = media().remove(1);
    let bytes = fs::read(&file).expect("reads");
    for length in [None, Some(bytes.len() as u64)] {
        let source = MediaSource::reader(Reader { length, ..plain(&bytes) });
        let limits =
            |max_bytes| VideoOptions::default().with_limits(Limits::default().with_max_bytes(max_bytes));
        let short = VideoReader::open_with(source.clone(), limits(1000)).expect_err("a limit is broken");
        assert!(matches!(short, VideoError::Limit { what: "bytes:", limit: 1000, .. }), "{short}");
        assert!(VideoReader::open_with(source, limits(bytes.len() as u64)).is_ok());
    }
    let zeros = MediaSource::reader(Reader { length: None, ..plain(&[]) });
    let line = whole(zeros).expect_err("nothing").to_string();
    assert_eq!(line, "a reader: the file is empty (0 bytes)");
}

#[test]
fn the_name_of_bytes_opens_no_file() {
    let file = media().remove(1);
    let name = file.to_str().expect("UTF-8");
    for name in [name.to_owned(), format!("file:{name}"), "a\0b.mp4".to_owned()] {
        let source = MediaSource::bytes(b"no video at all, but some words".repeat(100)).named(&name);
        let error = whole(source).expect_err("no video");
        assert!(
            matches!(error, VideoError::UnknownContainer { found: "the file holds text", .. }),
            "{error}"
        );
        assert!(error.to_string().starts_with(&name));
    }
}
