use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::store::IoError;
use crate::synth::SynthError;

/// Facts that are expensive to come by, each under a key, in a file of JSON lines that only grows.
///
/// A fact is on disk before it is known. A line that was being written when the program was killed is
/// recognised by its missing end and cut off.
#[derive(Debug)]
pub(super) struct Journal<V> {
    path: PathBuf,
    file: File,
    entries: HashMap<String, V>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<V> {
    key: String,
    value: V,
}

impl<V: Serialize + DeserializeOwned> Journal<V> {
    /// Opens the journal at `path`, or begins one there.
    ///
    /// # Errors
    /// [`SynthError::Content`] for a line that is complete and no fact; [`SynthError::Io`].
    pub(super) fn open(path: &Path) -> Result<Self, SynthError> {
        let mut file = File::options()
            .create(true)
            .read(true)
            .append(true)
            .open(path)
            .map_err(IoError::of("open", path))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(IoError::of("read", path))?;
        let complete = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        if complete < bytes.len() {
            file.set_len(complete as u64).map_err(IoError::of("cut off the torn end of", path))?;
        }
        let mut entries = HashMap::new();
        for (number, line) in (1..).zip(bytes[..complete].split_inclusive(|byte| *byte == b'\n')) {
            let Line { key, value } = serde_json::from_slice(line).map_err(|error| SynthError::Content {
                path: path.to_owned(),
                line: number,
                reason: format!("damaged ({error}): delete the line to have its work done again"),
            })?;
            entries.insert(key, value);
        }
        Ok(Self { path: path.to_owned(), file, entries })
    }

    pub(super) fn get(&self, key: &str) -> Option<&V> {
        self.entries.get(key)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Writes a fact down.
    ///
    /// # Errors
    /// [`SynthError::Io`].
    pub(super) fn insert(&mut self, key: String, value: V) -> Result<(), SynthError> {
        let line = Line { key, value };
        let mut bytes = serde_json::to_vec(&line)
            .map_err(std::io::Error::from)
            .map_err(IoError::of("write", &self.path))?;
        bytes.push(b'\n');
        let end = self.file.metadata().map_err(IoError::of("read the length of", &self.path))?.len();
        if let Err(error) = self.file.write_all(&bytes).and_then(|()| self.file.sync_data()) {
            // A full disk may have room again for the next fact, which must not go on in the middle of a
            // line.
            let cut = self.file.set_len(end);
            return Err(IoError::of("write", &self.path)(cut.err().unwrap_or(error)).into());
        }
        self.entries.insert(line.key, line.value);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_outlive_the_program_and_a_torn_line_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("facts.jsonl");
        let mut journal = Journal::open(&path).unwrap();
        journal.insert("a".to_owned(), "one\ntwo".to_owned()).unwrap();
        journal.insert("b".to_owned(), "three".to_owned()).unwrap();
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        for end in 0..=whole.len() {
            std::fs::write(&path, &whole[..end]).unwrap();
            let mut journal = Journal::<String>::open(&path).unwrap();
            let kept = whole[..end].iter().filter(|byte| **byte == b'\n').count();
            assert_eq!(journal.len(), kept, "cut at {end}");
            assert_eq!(journal.get("a").map(String::as_str), (kept > 0).then_some("one\ntwo"));
            journal.insert("c".to_owned(), "four".to_owned()).unwrap();
            assert_eq!(Journal::<String>::open(&path).unwrap().len(), kept + 1, "cut at {end}");
        }
    }

    #[test]
    fn changed_bytes_are_read_or_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("facts.jsonl");
        let whole = b"{\"key\":\"a\",\"value\":1}\n{\"key\":\"b\",\"value\":22}\n";
        let (mut read, mut told) = (0, 0);
        for at in 0..whole.len() {
            for byte in [0, b'\n', b'"', b'{', b'9', 0xff] {
                let mut changed = whole.to_vec();
                changed[at] = byte;
                std::fs::write(&path, &changed).unwrap();
                match Journal::<u32>::open(&path) {
                    Ok(journal) => read += usize::from(journal.len() <= 2),
                    Err(error) => told += usize::from(error.to_string().contains("facts.jsonl:")),
                }
            }
        }
        assert_eq!(read + told, 6 * whole.len());
        assert!(read > 0 && told > 0, "{read} {told}");
    }

    #[test]
    fn numbers_come_back_to_the_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("facts.jsonl");
        let mut journal = Journal::open(&path).unwrap();
        // A reader in a hurry takes it for 14.4.
        let seconds = 14.399_999_999_999_999_f64;
        journal.insert("seconds".to_owned(), seconds).unwrap();
        let again = Journal::<f64>::open(&path).unwrap();
        assert_eq!(again.get("seconds").map(|value| value.to_bits()), Some(seconds.to_bits()));
    }

    #[test]
    fn damage_within_is_told_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("facts.jsonl");
        std::fs::write(&path, "{\"key\": \"a\", \"value\": 1}\n{\"key\n").unwrap();
        let message = Journal::<u32>::open(&path).unwrap_err().to_string();
        assert!(message.contains("facts.jsonl:2: damaged") && !message.contains('\n'), "{message}");
    }
}
