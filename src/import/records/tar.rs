use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use serde_json::{Map, Value};

use super::super::reading::Row;
use super::super::vault::Vault;
use super::{Broken, GZIP_MAGIC, NAME, OnRow, Refused, open};
use crate::media::MediaKind;
use crate::text::one_line;

/// Largest member that is read; its bytes are in memory once.
const MAX_MEMBER_BYTES: u64 = 4 << 30;

/// A row for each sample of a shard, packed with gzip or not.
pub(super) fn each(path: &Path, vault: &Vault, done: &Cell<u64>, on: &mut OnRow<'_>) -> Result<(), Broken> {
    let mut bytes = BufReader::with_capacity(1 << 18, open(path, done)?);
    if !bytes.fill_buf().map_err(broken)?.starts_with(GZIP_MAGIC) {
        return samples(path, bytes, vault, on);
    }
    let mut unpacked = MultiGzDecoder::new(bytes);
    samples(path, &mut unpacked, vault, on)?;
    // Behind the last member is the sum that tells of damage.
    io::copy(&mut unpacked, &mut io::sink()).map(drop).map_err(broken)
}

fn broken(error: io::Error) -> Broken {
    Broken::File(format!("no tar file, or damaged: {}", one_line(error)))
}

/// The files that follow each other and are called alike up to the first dot are a sample.
/// <https://github.com/webdataset/webdataset#the-webdataset-format>
fn samples(path: &Path, bytes: impl Read, vault: &Vault, on: &mut OnRow<'_>) -> Result<(), Broken> {
    let mut archive = tar::Archive::new(bytes);
    let mut sample = Sample::default();
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let Some((key, ending)) = key_and_ending(&name) else { continue };
        if sample.key != key {
            std::mem::replace(&mut sample, Sample::of(key)).give(path, on)?;
        }
        if entry.size() > MAX_MEMBER_BYTES {
            let size = entry.size();
            sample.fault.get_or_insert(format!("{name} has {size} bytes, the most is {MAX_MEMBER_BYTES}"));
            continue;
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(broken)?;
        sample.add(&ending, bytes, vault);
    }
    sample.give(path, on)
}

#[derive(Default)]
struct Sample {
    key: String,
    fields: Map<String, Value>,
    fault: Option<String>,
}

impl Sample {
    fn of(key: &str) -> Self {
        Self { key: key.to_owned(), fields: Map::from_iter([(NAME.to_owned(), key.into())]), fault: None }
    }

    fn add(&mut self, ending: &str, bytes: Vec<u8>, vault: &Vault) {
        let last = ending.rsplit('.').next().unwrap_or(ending);
        let value = if MediaKind::of_extension(last).is_some() {
            let name = format!("{}.{last}", self.key);
            vault.keep(&bytes, Some(&name)).and_then(|path| match path.to_str() {
                Some(path) => Ok(path.into()),
                None => Err("the folder for media has no name in UTF-8".to_owned()),
            })
        } else {
            // What is neither text nor medium is of no use here.
            let Ok(text) = String::from_utf8(bytes) else { return };
            match last {
                "json" => serde_json::from_str(&text).map_err(|error| format!("its json: {error}")),
                _ => Ok(text.trim().into()),
            }
        };
        match value {
            Ok(value) => drop(self.fields.insert(ending.to_owned(), value)),
            Err(reason) => drop(self.fault.get_or_insert(reason)),
        }
    }

    fn give(self, path: &Path, on: &mut OnRow<'_>) -> Result<(), Broken> {
        if self.key.is_empty() {
            return Ok(());
        }
        let place = format!("{}: {}", path.display(), one_line(&self.key));
        Ok(on(match self.fault {
            Some(reason) => Err(Refused { place, reason }),
            None => Ok(Row { place, fields: self.fields }),
        })?)
    }
}

/// `a/b.left.mp4` is the member `left.mp4` of the sample `a/b`.
fn key_and_ending(name: &str) -> Option<(&str, String)> {
    let start = name.rfind('/').map_or(0, |slash| slash + 1);
    let dot = start + name[start..].find('.')?;
    (dot > start).then(|| (&name[..dot], name[dot + 1..].to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_belong_to_samples() {
        let parted = |name| key_and_ending(name).map(|(key, ending)| format!("{key} {ending}"));
        assert_eq!(parted("a/b.left.MP4").as_deref(), Some("a/b left.mp4"));
        assert_eq!(parted("a.b/c.txt").as_deref(), Some("a.b/c txt"));
        assert_eq!((parted("a/.hidden"), parted("README")), (None, None));
    }
}
