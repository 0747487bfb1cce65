//! Files that are no videos, each with one clear line.

use super::clips::{Clip, make, source};
use gve::MediaSource;
use gve::video::{Limits, VideoError, VideoOptions, VideoReader};
use std::{fs, path::Path};

fn refusal(path: &Path) -> VideoError {
    match VideoReader::open(path) {
        Ok(_) => panic!("{} was opened", path.display()),
        Err(error) => {
            let line = error.to_string();
            assert!(line.starts_with(&path.display().to_string()), "{line}");
            assert!(!line.contains('\n'), "{line}");
            if let Some(bytes) = in_memory(path) {
                assert_eq!(VideoReader::open(bytes).err().map(|error| error.to_string()), Some(line));
            }
            error
        }
    }
}

/// The same by the same name, but in memory. `None` for what is no file.
fn in_memory(path: &Path) -> Option<MediaSource> {
    let bytes = path.is_file().then(|| fs::read(path).expect("reads"))?;
    Some(MediaSource::bytes(bytes).named(path.display().to_string()))
}

/// Bytes without a pattern, the same in every run.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

#[test]
fn files_that_are_no_videos_are_named_for_what_they_are() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let webp = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/images/lossy.webp");
    let table: [(&str, Vec<u8>, &str); 7] = [
        // Over damaged ones FFmpeg ends the whole process.
        (
            "picture.webp",
            fs::read(webp).expect("reads"),
            "not a video file: a WebP picture, which is read as an image",
        ),
        ("empty.mp4", vec![], "the file is empty (0 bytes)"),
        ("noise.mp4", noise(60_000), "not a video file: the bytes match no known container"),
        ("text.mp4", b"just a few words\n".repeat(50), "not a video file: the file holds text"),
        ("short.mp4", b"x".to_vec(), "not a video file: the file holds text"),
        ("zeros.mkv", vec![0; 40_000], "not a video file: the file holds zeros"),
        (
            "ftyp.mp4",
            b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41\0\0\0\x08free".to_vec(),
            "without a usable moov atom",
        ),
    ];
    for (name, bytes, expected) in table {
        let path = directory.path().join(name);
        fs::write(&path, bytes).expect("writes");
        let line = refusal(&path).to_string();
        assert!(line.contains(expected), "{line}");
    }
    let missing = directory.path().join("missing.mp4");
    assert!(matches!(refusal(&missing), VideoError::NotFound { .. }));
    assert!(refusal(directory.path()).to_string().ends_with("is a directory, expected a video file"));
}

#[test]
fn sound_without_pictures_is_told_apart() {
    let tone = ["-f", "lavfi", "-i", "sine=d=1"].map(String::from);
    if let Some(clip) = make("tone.wav", &tone, "") {
        assert!(refusal(&clip.path).to_string().ends_with("no video stream (1 audio stream found)"));
    }
    if let Some(clip) = make("tone.m4a", &tone, "-c:a aac") {
        assert!(refusal(&clip.path).to_string().ends_with("no video stream (1 audio stream found)"));
    }
    let mut with_cover = tone.to_vec();
    with_cover.extend(source("64x64", "1", 1.0));
    if let Some(clip) =
        make("tone.mp3", &with_cover, "-map 0 -map 1 -c:v png -disposition:v attached_pic -frames:v 1")
    {
        let line = refusal(&clip.path).to_string();
        assert!(line.ends_with("no video stream (1 audio stream, 1 cover picture found)"), "{line}");
    }
}

#[test]
fn an_mp4_cut_before_its_moov_atom_says_so() {
    let Some(clip) = make("a.mp4", &source("320x180", "25", 1.0), "-c:v libx264 -pix_fmt yuv420p") else {
        return;
    };
    let bytes = fs::read(&clip.path).expect("reads");
    fs::write(&clip.path, &bytes[..bytes.len() / 2]).expect("writes");
    let line = refusal(&clip.path).to_string();
    assert!(line.contains("without a usable moov atom"), "{line}");
}

#[test]
fn names_are_not_patterns_or_addresses() {
    let Some(clip) = make("a.mp4", &source("64x64", "25", 0.2), "-c:v libx264 -pix_fmt yuv420p") else {
        return;
    };
    for name in ["http:colon.mp4", "per%03dcent.mp4", "-dash.mp4", "pipe:0", "space and \u{e9}.mp4"] {
        let path = clip.path.with_file_name(name);
        fs::copy(&clip.path, &path).expect("copies");
        assert_eq!(VideoReader::open(&path).expect("opens").metadata().frames, 5, "{name}");
    }
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        let path = clip.path.with_file_name(std::ffi::OsStr::from_bytes(b"\xff\xfe.mp4"));
        fs::copy(&clip.path, &path).expect("copies");
        assert_eq!(VideoReader::open(&path).expect("opens").metadata().frames, 5);
    }
}

#[test]
fn limits_are_errors_of_their_own() {
    let Some(clip) = make("a.mp4", &source("320x180", "25", 1.0), "-c:v libx264 -pix_fmt yuv420p") else {
        return;
    };
    let defaults = Limits::default();
    let table = [
        (defaults.with_max_frames(24), "frames: at least 25, limit is 24"),
        (defaults.with_max_pixels(57_599), "pixels a frame: 57600, limit is 57599"),
        (defaults.with_max_bytes(100), "limit is 100"),
    ];
    for (limits, expected) in table {
        let options = VideoOptions::default().with_limits(limits);
        let error = VideoReader::open_with(&clip.path, options).expect_err("a limit is broken");
        assert!(matches!(error, VideoError::Limit { .. }));
        assert!(error.to_string().contains(expected), "{error}");
    }
    let just = defaults.with_max_frames(25).with_max_pixels(57_600);
    assert!(VideoReader::open_with(&clip.path, VideoOptions::default().with_limits(just)).is_ok());
}

/// A video of one colour, and the folder it lies in.
fn secret() -> Option<Clip> {
    make(
        "secret.mp4",
        &["-f", "lavfi", "-i", "color=c=0x2040e0:s=64x64:r=25:d=0.4"].map(String::from),
        "-c:v mpeg4",
    )
}

/// Opens or refuses; whatever is opened may show nothing of the secret.
fn never_shows_the_secret(path: &Path) -> Option<VideoError> {
    let error = show_no_secret(path.into());
    let bytes = in_memory(path).expect("a file");
    assert_eq!(show_no_secret(bytes).map(|e| e.to_string()), error.as_ref().map(ToString::to_string));
    error
}

fn show_no_secret(source: MediaSource) -> Option<VideoError> {
    let name = source.to_string();
    let mut reader = match VideoReader::open(source) {
        Ok(reader) => reader,
        Err(error) => return Some(error),
    };
    let all: Vec<usize> = (0..reader.metadata().frames).collect();
    for frame in reader.frames(&all) {
        let Ok(frame) = frame else { break };
        let [red, green, blue] = frame.image.get_pixel(32.min(frame.image.width() - 1), 0).0;
        assert!(!(blue > 180 && red < 80 && green < 110), "{name}: frame {} shows it", frame.index);
    }
    None
}

#[test]
fn playlists_are_refused_by_any_name_and_open_nothing() {
    let Some(secret) = secret() else { return };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    listener.set_nonblocking(true).expect("sets");
    let address = format!("http://{}/secret.mp4", listener.local_addr().expect("an address"));
    let absolute = secret.path.display().to_string();
    let targets = [
        absolute.clone(),
        "secret.mp4".to_owned(),
        format!("file:{absolute}"),
        address,
        format!("concat:{absolute}"),
        format!("subfile,,start,0,end,0,,:{absolute}"),
        format!("crypto:{absolute}"),
        format!("async:{absolute}"),
    ];
    let lists: [(&str, &str, fn(&str) -> String); 9] = [
        ("m3u8", "HLS or M3U", |target| {
            format!("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:0.4,\n{target}\n#EXT-X-ENDLIST\n")
        }),
        ("map.m3u8", "HLS or M3U", |target| {
            format!("#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-MAP:URI=\"{target}\"\n#EXTINF:0.4,\n{target}\n")
        }),
        ("key.m3u8", "HLS or M3U", |target| {
            format!("#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI=\"{target}\"\n#EXTINF:0.4,\n{target}\n")
        }),
        ("master.m3u8", "HLS or M3U", |target| {
            format!("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1,CODECS=\"mp4v\"\n{target}\n")
        }),
        ("ffconcat", "ffconcat", |target| format!("ffconcat version 1.0\nfile '{target}'\n")),
        ("mpd", "DASH", |target| {
            format!(
                "<?xml version=\"1.0\"?>\n<MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" type=\"static\" \
                 mediaPresentationDuration=\"PT1S\" profiles=\"urn:mpeg:dash:profile:isoff-main:2011\"><Period>\
                 <AdaptationSet mimeType=\"video/mp4\"><Representation id=\"1\" bandwidth=\"1\" width=\"64\" \
                 height=\"64\"><BaseURL>{target}</BaseURL></Representation></AdaptationSet></Period></MPD>"
            )
        }),
        ("sdp", "SDP", |target| {
            let port = target.rsplit(':').next().and_then(|tail| tail.split('/').next()).unwrap_or("5004");
            format!(
                "v=0\no=- 0 0 IN IP4 127.0.0.1\ns={target}\nc=IN IP4 127.0.0.1\nt=0 0\nm=video {port} RTP/AVP 96\na=rtpmap:96 H264/90000\n"
            )
        }),
        ("xspf", "XSPF", |target| {
            format!("<?xml version=\"1.0\"?><playlist version=\"1\"><location>{target}</location></playlist>")
        }),
        ("asx", "ASX", |target| {
            format!("<ASX version=\"3.0\"><entry><ref href=\"{target}\"/></entry></ASX>")
        }),
    ];
    for target in &targets {
        for (kind, name, list) in &lists {
            // By its own name and by that of a video.
            for file in [format!("list.{kind}"), "list.mp4".to_owned(), "list.ts".to_owned()] {
                let path = secret.path.with_file_name(file);
                fs::write(&path, list(target)).expect("writes");
                let error = never_shows_the_secret(&path)
                    .unwrap_or_else(|| panic!("{} to {target} was opened", path.display()));
                assert!(matches!(error, VideoError::NotSelfContained { .. }), "{kind} to {target}: {error}");
                let line = error.to_string();
                assert!(line.contains(name) && line.contains("give the media files themselves"), "{line}");
                assert!(!line.contains('\n'), "{line}");
            }
        }
    }
    assert!(listener.accept().is_err(), "somebody has called");
}

/// A box of MP4.
fn mp4_box(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    [&(content.len() as u32 + 8).to_be_bytes()[..], kind, content].concat()
}

#[test]
fn films_that_refer_to_other_files_show_nothing_of_them() {
    let Some(secret) = secret() else { return };
    let bytes = fs::read(&secret.path).expect("reads");
    let absolute = secret.path.to_str().expect("UTF-8").as_bytes().to_vec();
    // An index whose data lie elsewhere: the data reference of a film, which says "in this file", is
    // replaced.
    let here = [&[0, 0, 0, 12][..], b"url ", &[0, 0, 0, 1]].concat();
    let at = bytes.windows(12).position(|window| window == here).expect("a data reference");
    let index = bytes.windows(4).position(|window| window == b"moov").expect("an index") - 4;
    let absolute_url = [b"file://", &absolute[..], b"\0"].concat();
    let alias = {
        let name = b"secret.mp4";
        let mut record = [0; 150];
        record[4..6].copy_from_slice(&[0, 2]); // version 2
        record[50] = name.len() as u8;
        record[51..51 + name.len()].copy_from_slice(name);
        let path = [&[0, 2][..], &(absolute.len() as u16).to_be_bytes(), &absolute].concat();
        [&record[..], &path, &vec![0; absolute.len() % 2], &[0xff, 0xff, 0, 0]].concat()
    };
    let references: [(&[u8; 4], &[u8]); 4] =
        [(b"url ", &absolute_url), (b"url ", b"secret.mp4\0"), (b"alis", &alias), (b"rsrc", &alias)];
    for (kind, content) in references {
        let reference = mp4_box(kind, &[&[0; 4][..], content].concat());
        let mut film = bytes[..at].to_vec();
        film.extend(&reference);
        film.extend(&bytes[at + 12..]);
        // All boxes around the reference grow.
        let grown = (reference.len() - 12) as u32;
        for parent in [b"dref", b"dinf", b"minf", b"mdia", b"trak", b"moov"] {
            let name = film.windows(4).position(|window| window == parent).expect("a box");
            let size = u32::from_be_bytes(film[name - 4..name].try_into().expect("four")) + grown;
            film[name - 4..name].copy_from_slice(&size.to_be_bytes());
        }
        let header = mp4_box(b"ftyp", b"qt  \0\0\0\0qt  ");
        let path = secret.path.with_file_name("film.mov");
        // Without data of its own.
        fs::write(&path, [&header[..], &film[index..]].concat()).expect("writes");
        let error = never_shows_the_secret(&path).expect("a film without data is refused");
        assert!(matches!(error, VideoError::NotSelfContained { .. }), "{error}");
    }
    // In place, the index of a film that says where it lies is left alone.
    assert!(VideoReader::open(&secret.path).is_ok());
    // A reference movie of QuickTime, which is nothing but an address.
    let target = [&[0; 4][..], b"url ", &(absolute_url.len() as u32).to_be_bytes(), &absolute_url].concat();
    let descriptor = mp4_box(b"rmda", &mp4_box(b"rdrf", &target));
    let movie = mp4_box(b"moov", &mp4_box(b"rmra", &descriptor));
    let path = secret.path.with_file_name("reference.mov");
    fs::write(&path, [mp4_box(b"ftyp", b"qt  \0\0\0\0qt  "), movie].concat()).expect("writes");
    let error = never_shows_the_secret(&path).expect("an address is refused");
    assert!(error.to_string().contains("is a QuickTime reference movie"), "{error}");
}

#[test]
fn patterns_and_split_pictures_open_one_file_only() {
    let Some(secret) = secret() else { return };
    let picture = |name: &str, color: &str| {
        let source = format!("color=c={color}:s=64x64:r=25:d=0.04");
        make(name, &["-f", "lavfi", "-i", &source].map(String::from), "-frames:v 1 -update 1")
    };
    // Targa has no magic number and goes by its name, so FFmpeg opens it by itself.
    let (Some(own), Some(other)) = (picture("own.tga", "red"), picture("other.tga", "0x2040e0")) else {
        return;
    };
    for name in ["frame1.tga", "frame2.tga", "frame%d.tga", "frame*.tga"] {
        let source = if name.contains(['%', '*']) { &own.path } else { &other.path };
        fs::copy(source, secret.path.with_file_name(name)).expect("copies");
    }
    for name in ["frame%d.tga", "frame*.tga"] {
        let path = secret.path.with_file_name(name);
        assert!(never_shows_the_secret(&path).is_none(), "{name} is a picture");
        assert_eq!(VideoReader::open(&path).expect("opens").metadata().frames, 1, "{name}");
    }
    // An index of subtitles asks for the file of the same name.
    let index = secret.path.with_file_name("subtitles.idx");
    fs::write(
        &index,
        "# VobSub index file, v7 (do not modify this line!)\ntimestamp: 00:00:00:000, filepos: 000000000\n",
    )
    .expect("writes");
    fs::copy(&secret.path, secret.path.with_file_name("subtitles.sub")).expect("copies");
    assert!(never_shows_the_secret(&index).is_some());
}

#[cfg(unix)]
#[test]
fn pipes_sockets_and_devices_are_refused_without_waiting() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let pipe = directory.path().join("pipe.mp4");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs").success());
    let socket = directory.path().join("socket.mp4");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("binds");
    let table = [
        (pipe.as_path(), "is a named pipe, expected a video file"),
        (socket.as_path(), "is a socket, expected a video file"),
        (Path::new("/dev/zero"), "is a device, expected a video file"),
    ];
    for (path, expected) in table {
        assert!(refusal(path).to_string().ends_with(expected), "{}", path.display());
    }
}
