//! Pictures of what was found.

use std::fs;
use std::io::{Cursor, Read, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use gve::indexer::thumbnail;
use gve::retrieval::LibraryHit;
use gve::store::{open_regular_file, write_file};
use gve_cli::output::{name, report};
use image::ImageEncoder;
use image::codecs::jpeg::JpegEncoder;

/// Longest side of a picture, in pixels.
const SIDE: u32 = 480;
const QUALITY: u8 = 85;

/// What tells our pictures from others: EXIF that has `gve` for the software (tag 0x0131) that made them.
const EXIF: &[u8] = b"II*\0\x08\0\0\0\x01\0\x31\x01\x02\0\x04\0\0\0gve\0\0\0\0\0";
/// Where it is, in the beginning of a file.
const HEAD_BYTES: u64 = 128;

/// Writes a picture of each hit to `directory`, named by its rank, and removes those of other searches.
/// Gives how many hits have none, after saying why.
pub(crate) fn thumbnails<'a>(directory: &Path, hits: impl Iterator<Item = &'a LibraryHit>) -> Result<usize> {
    fs::create_dir_all(directory).with_context(|| format!("cannot create {}", name(directory)))?;
    let hits: Vec<_> = hits.collect();
    // Before anything is written: pictures of two searches would lie side by side.
    for path in (1..=hits.len()).map(|rank| directory.join(file_name(rank))) {
        if path.exists() && !is_ours(&path) {
            bail!("{} is no picture of a search: name another folder, or move it away", name(&path));
        }
    }
    let (mut rank, mut failed) = (0, 0);
    for hit in hits {
        rank += 1;
        let path = directory.join(file_name(rank));
        let image = match thumbnail(hit, SIDE) {
            Ok(image) => image,
            Err(error) => {
                report(&anyhow::Error::from(error).context("there is no picture of it"));
                failed += 1;
                // That of another search would be taken for it.
                if path.exists() {
                    remove(&path)?;
                }
                continue;
            }
        };
        let mut jpeg = Cursor::new(Vec::new());
        let mut encoder = JpegEncoder::new_with_quality(&mut jpeg, QUALITY);
        encoder.set_exif_metadata(EXIF.to_vec())?;
        image.write_with_encoder(encoder)?;
        write_file(path, |file| file.write_all(jpeg.get_ref()))?;
    }
    remove_behind(directory, rank)?;
    Ok(failed)
}

fn file_name(rank: usize) -> String {
    format!("{rank:03}.jpg")
}

/// Removes our pictures behind the `last` rank, which are of a search that found more. The folder may have
/// pictures of others, called alike.
fn remove_behind(directory: &Path, last: usize) -> Result<()> {
    let cannot_read = || format!("cannot read {}", name(directory));
    for entry in fs::read_dir(directory).with_context(cannot_read)? {
        let path = entry.with_context(cannot_read)?.path();
        if rank_of(&path).is_some_and(|rank| rank > last) && is_ours(&path) {
            remove(&path)?;
        }
    }
    Ok(())
}

/// The rank that a picture is named by.
fn rank_of(path: &Path) -> Option<usize> {
    let rank = path.file_stem()?.to_str()?.parse::<usize>().ok()?;
    (path.file_name()? == file_name(rank).as_str()).then_some(rank)
}

fn is_ours(path: &Path) -> bool {
    let mut head = Vec::new();
    let read = open_regular_file(path).and_then(|file| file.take(HEAD_BYTES).read_to_end(&mut head));
    read.is_ok() && head.windows(EXIF.len()).any(|part| part == EXIF)
}

fn remove(path: &Path) -> Result<()> {
    fs::remove_file(path).with_context(|| format!("cannot remove {}", name(path)))
}
