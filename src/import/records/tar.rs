use std::cell::Cell;
use std::io::{BufReader, Read};
use std::path::Path;

use serde_json::{Map, Value};

use super::super::reading::Row;
use super::super::vault::Vault;
use super::{Broken, NAME, OnRow, Refused, open};
use crate::media::MediaKind;

/// Largest member that is read; its bytes are in memory once.
const MAX_MEMBER_BYTES: u64 = 4 << 30;

/// A row for each sample of a shard: the files that follow each other and are called alike up to the first dot.
/// <https://github.com/webdataset/webdataset#the-webdataset-format>
pub(super) fn each(path: &Path, vault: &Vault, done: &Cell<u64>, on: &mut OnRow<'_>) -> Result<(), Broken> {
    let broken = |error: std::io::Error| Broken::File(format!("no tar file, or damaged: {error}"));
    let mut archive = tar::Archive::new(BufReader::with_capacity(1 << 18, open(path, done)?));
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
        let place = format!("{}: {}", path.display(), self.key);
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
