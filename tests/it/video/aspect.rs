//! Pixels that are not square.

use super::clips::{difference, frames, make, source};
use gve::video::{Appearance, VideoOptions, VideoReader};

#[test]
fn pictures_are_as_wide_as_they_are_shown() {
    let encoding = "-c:v libx264 -qp 10 -pix_fmt yuv420p";
    let Some(square) = make("square.mp4", &source("320x180", "5", 0.4), encoding) else { return };
    let expected = &frames(&mut VideoReader::open(&square.path).expect("opens"), &[0])[0].image;
    // Anamorphic HDV in small; PAL on its side.
    for (scale, coded) in [("240:180,setsar=4/3", (240, 180)), ("640:180,setsar=1/2", (640, 180))] {
        let output = format!("-vf scale={scale} {encoding}");
        let Some(clip) = make("anamorphic.mp4", &source("320x180", "5", 0.4), &output) else { return };
        let mut reader = VideoReader::open(&clip.path).expect("opens");
        let metadata = reader.metadata();
        assert_eq!((metadata.width, metadata.height), (320, 180), "{scale}");
        let shown = &frames(&mut reader, &[0])[0].image;
        assert_eq!(shown.dimensions(), (320, 180), "{scale}");
        let off = difference(shown.as_raw(), expected.as_raw());
        assert!(off < 8.0, "{scale}: {off}");
        let options = VideoOptions::default().with_appearance(Appearance::AsCoded);
        let mut reader = VideoReader::open_with(&clip.path, options).expect("opens");
        assert_eq!(frames(&mut reader, &[0])[0].image.dimensions(), coded, "{scale}");
    }
}

/// What no camera has, and what differs from square by rounding, is square.
#[test]
fn an_aspect_nobody_can_mean_is_none() {
    for aspect in ["100/1", "1/5", "399/400"] {
        let output = format!("-vf setsar=r={aspect}:max=1000 -c:v libx264 -pix_fmt yuv420p");
        let Some(clip) = make("odd.mp4", &source("640x48", "5", 0.4), &output) else { return };
        let reader = VideoReader::open(&clip.path).expect("opens");
        assert_eq!((reader.metadata().width, reader.metadata().height), (640, 48), "{aspect}");
    }
}
