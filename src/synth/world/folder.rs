//! Writes things into a directory so that what was finished counts and nothing else does.

use std::fs;
use std::path::{Path, PathBuf};

use image::RgbImage;

use crate::video::{VideoEncoding, VideoWriter};

use super::error::WorldError;
use super::scene::{FPS, HEIGHT, WIDTH};
use super::video::Video;

/// Claims `root` for what `description` says, or goes on with it where it is there.
pub(super) fn open(root: &Path, description: &str) -> Result<(), WorldError> {
    let path = root.join("world.json");
    match fs::read_to_string(&path) {
        Ok(got) if got == description => return Ok(()),
        Ok(got) => {
            let [expected, got] = [description, &got].map(|text| text.trim().to_owned());
            return Err(WorldError::OtherRun { path, expected, got });
        }
        Err(_) => {}
    }
    let holds_something = fs::read_dir(root).is_ok_and(|mut entries| entries.next().is_some());
    if holds_something {
        let (expected, got) = (description.trim().to_owned(), "files of something else".to_owned());
        return Err(WorldError::OtherRun { path: root.to_owned(), expected, got });
    }
    make_directory(root)?;
    write(&path, description.as_bytes())
}

/// A directory with all above it.
pub(super) fn make_directory(path: &Path) -> Result<(), WorldError> {
    fs::create_dir_all(path).map_err(WorldError::write(path))
}

/// A file of which there is all or nothing.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), WorldError> {
    let unfinished = unfinished(path);
    fs::write(&unfinished, bytes).map_err(WorldError::write(path))?;
    fs::rename(&unfinished, path).map_err(WorldError::write(path))
}

/// A picture, unless it is there.
pub(super) fn write_image(path: &Path, picture: &RgbImage) -> Result<(), WorldError> {
    if path.exists() {
        return Ok(());
    }
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture
        .write_to(&mut bytes, image::ImageFormat::Png)
        .map_err(|source| WorldError::Image { path: path.to_owned(), source })?;
    write(path, bytes.get_ref())
}

/// A video, unless it is there. `frames` bounds what is written of it: first frame and number.
pub(super) fn write_video(
    path: &Path,
    video: &Video,
    frames: std::ops::Range<usize>,
    encoding: VideoEncoding,
) -> Result<(), WorldError> {
    if path.exists() {
        return Ok(());
    }
    let mut writer = VideoWriter::create(path, encoding, (WIDTH, HEIGHT), FPS)?;
    for picture in frames.map_while(|frame| video.draw(frame)) {
        writer.write(&picture)?;
    }
    Ok(writer.finish()?)
}

fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    name.into()
}
