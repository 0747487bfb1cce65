//! Pictures of what was found.

use std::io::{Cursor, Write};
use std::path::Path;

use anyhow::{Context, Result};
use gve::indexer::thumbnail;
use gve::retrieval::LibraryHit;
use gve::store::write_file;
use gve_cli::output::{name, report};
use image::codecs::jpeg::JpegEncoder;

/// Longest side of a picture, in pixels.
const SIDE: u32 = 480;
const QUALITY: u8 = 85;

/// Writes a picture of each hit to `directory`, named by its rank. Gives how many have none, after saying why.
pub(crate) fn thumbnails<'a>(directory: &Path, hits: impl Iterator<Item = &'a LibraryHit>) -> Result<usize> {
    std::fs::create_dir_all(directory).with_context(|| format!("cannot create {}", name(directory)))?;
    let mut failed = 0;
    for (place, hit) in hits.enumerate() {
        let path = directory.join(format!("{:03}.jpg", place + 1));
        let image = match thumbnail(hit, SIDE) {
            Ok(image) => image,
            Err(error) => {
                report(&anyhow::Error::from(error).context("there is no picture of it"));
                failed += 1;
                // That of another search would be taken for it.
                if path.exists() {
                    std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", name(&path)))?;
                }
                continue;
            }
        };
        let mut jpeg = Cursor::new(Vec::new());
        image.write_with_encoder(JpegEncoder::new_with_quality(&mut jpeg, QUALITY))?;
        write_file(path, |file| file.write_all(jpeg.get_ref()))?;
    }
    Ok(failed)
}
