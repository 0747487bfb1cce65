//! Pictures and videos as files that are made once.

use std::io::Write;
use std::ops::Range;
use std::path::Path;

use image::RgbImage;

use super::scene::{FPS, HEIGHT, WIDTH};
use super::video::Video;
use crate::store::IoError;
use crate::store::write_file;
use crate::synth::SynthError;
use crate::video::{VideoEncoding, VideoWriter};

/// Which generator made a folder. Raised whenever a seed comes to mean other scenes or words: a folder must
/// not hold some of both.
pub(super) const GENERATOR: u32 = 1;

/// A directory with all above it.
pub(super) fn make_directory(path: &Path) -> Result<(), SynthError> {
    Ok(std::fs::create_dir_all(path).map_err(IoError::of("create the folder", path))?)
}

/// Most videos, or pictures, of a world. All of its scenes are held in memory while they are drawn.
const MOST: usize = 10_000_000;

/// Refuses to make nothing, and more than there is room for.
pub(super) fn require_some(counts: &[(&'static str, usize)]) -> Result<(), SynthError> {
    let setting =
        |setting, expected, got: usize| SynthError::Setting { setting, expected, got: got.to_string() };
    if let Some(&(name, count)) = counts.iter().find(|(_, count)| *count > MOST) {
        return Err(setting(name, "at most 10000000", count));
    }
    if counts.iter().all(|(_, count)| *count == 0) {
        return Err(setting("videos", "at least 1", 0));
    }
    Ok(())
}

/// A text file, whether it is there or not.
pub(super) fn write_text(path: &Path, text: &str) -> Result<(), SynthError> {
    Ok(write_file(path, |file| file.write_all(text.as_bytes()))?)
}

/// A picture, unless it is there.
pub(super) fn write_image(path: &Path, picture: &RgbImage) -> Result<(), SynthError> {
    if path.exists() {
        return Ok(());
    }
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture
        .write_to(&mut bytes, image::ImageFormat::Png)
        .map_err(|error| IoError::of("write", path)(std::io::Error::other(error)))?;
    Ok(write_file(path, |file| file.write_all(bytes.get_ref()))?)
}

/// Some frames of a video, unless the file is there.
pub(super) fn write_video(
    path: &Path,
    video: &Video,
    frames: Range<usize>,
    encoding: VideoEncoding,
) -> Result<(), SynthError> {
    if path.exists() {
        return Ok(());
    }
    let mut writer = VideoWriter::create(path, encoding, (WIDTH, HEIGHT), FPS)?;
    for picture in frames.map_while(|frame| video.draw(frame)) {
        writer.write(&picture)?;
    }
    Ok(writer.finish()?)
}

#[cfg(test)]
mod tests {
    use super::super::director::any_scene;
    use super::*;
    use crate::random::Random;
    use crate::video::VideoReader;

    #[test]
    fn a_file_shows_what_is_drawn() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("video.mkv");
        let video = Video { scenes: (0..2).map(|seed| any_scene(&mut Random::new(seed))).collect() };
        let shown = 5..video.frames() - 3;
        write_video(&path, &video, shown.clone(), VideoEncoding::Ffv1).unwrap();
        let mut reader = VideoReader::open(&path).unwrap();
        let indices: Vec<usize> = (0..reader.timing().total_frames()).collect();
        assert_eq!(indices.len(), shown.len());
        for (frame, picture) in reader.frames(&indices).zip(shown.map(|frame| video.draw(frame))) {
            let frame = frame.unwrap();
            assert!(Some(&frame.image) == picture.as_ref(), "frame {}", frame.index);
        }
    }
}
