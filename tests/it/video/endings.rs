//! Names that are taken for those of videos are of formats that open.

use gve::media::{MediaKind, VIDEO_EXTENSIONS};
use gve::video::VideoReader;

use super::clips::{make, source};

/// Ending, format and encoder of files as their makers name them.
const FORMATS: [(&str, &str, &str); 44] = [
    ("360", "mp4", "libx264"),
    ("3g2", "3g2", "mpeg4"),
    ("3gp", "3gp", "mpeg4"),
    ("apng", "apng", "apng"),
    ("asf", "asf", "msmpeg4v2"),
    ("avi", "avi", "mpeg4"),
    ("divx", "avi", "mpeg4"),
    ("dv", "dv", "dvvideo -s 720x576 -pix_fmt yuv420p"),
    ("f4v", "f4v", "libx264"),
    ("flv", "flv", "flv"),
    ("gif", "gif", "gif"),
    ("h264", "h264", "libx264"),
    ("hevc", "hevc", "libx265 -x265-params log-level=none"),
    ("insv", "mp4", "libx264"),
    ("ivf", "ivf", "libvpx"),
    ("m1v", "mpeg1video", "mpeg1video"),
    ("m2t", "mpegts", "mpeg2video"),
    ("m2ts", "mpegts", "mpeg2video"),
    ("m2v", "mpeg2video", "mpeg2video"),
    ("m4v", "mp4", "mpeg4"),
    ("mjpeg", "mjpeg", "mjpeg"),
    ("mk3d", "matroska", "libx264"),
    ("mkv", "matroska", "libx264"),
    ("mod", "mpeg", "mpeg2video"),
    ("mov", "mov", "mpeg4"),
    ("mp4", "mp4", "libx264"),
    ("mpe", "mpeg", "mpeg1video"),
    ("mpeg", "mpeg", "mpeg1video"),
    ("mpg", "mpeg", "mpeg2video"),
    ("mpv", "mpeg2video", "mpeg2video"),
    ("mts", "mpegts", "libx264"),
    ("mxf", "mxf", "mpeg2video"),
    ("nut", "nut", "mpeg4"),
    ("ogm", "ogg", "libtheora"),
    ("ogv", "ogv", "libtheora"),
    ("qt", "mov", "mpeg4"),
    ("rm", "rm", "rv10 -s 352x288"),
    ("tod", "mpegts", "mpeg2video"),
    ("ts", "mpegts", "libx264"),
    ("vob", "vob", "mpeg2video"),
    ("webm", "webm", "libvpx"),
    ("wmv", "asf", "wmv2"),
    ("wtv", "wtv", "mpeg2video"),
    ("y4m", "yuv4mpegpipe", "wrapped_avframe"),
];

#[test]
fn every_ending_is_of_a_format_that_opens() {
    for (ending, format, encoder) in FORMATS {
        let name = format!("clip.{ending}");
        assert_eq!(MediaKind::of_name(name.as_ref()), Some(MediaKind::Video), "{name}");
        let output = format!("-c:v {encoder} -f {format}");
        let Some(clip) = make(&name, &source("176x144", "25", 0.4), &output) else { continue };
        let frames =
            VideoReader::open(&clip.path).unwrap_or_else(|error| panic!("{error}")).metadata().frames;
        assert!((8..=11).contains(&frames), "{name}: {frames} frames of 10");
    }
    let tried = FORMATS.map(|(ending, ..)| ending);
    let left: Vec<_> = VIDEO_EXTENSIONS.iter().filter(|known| !tried.contains(known)).collect();
    assert!(left.is_empty(), "{left:?}");
}
