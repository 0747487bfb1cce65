//! What tells one checkpoint from another without reading all of it.

use std::io::ErrorKind;
use std::path::Path;

use super::{Checkpoint, ModelError};
use crate::hash::{FNV_OFFSET, fnv};
use crate::store::{IoError, limited_file};

/// Files besides the weights that shape embeddings, where they are there.
const SETTINGS: [&str; 4] =
    ["config.json", "preprocessor_config.json", "processor_config.json", "tokenizer.json"];
/// Places of a weights file that are looked at, evenly spread, and bytes at each.
const SAMPLES: usize = 256;
const SAMPLE_BYTES: usize = 64;
/// Bytes that a settings file or a tokenizer may have.
const MAX_SETTINGS_BYTES: u64 = 256 << 20;

/// A hash of the model in `directory`: of its settings and tokenizer, of names, shapes and types of its
/// tensors, and of values out of all parts of its weights files. Training moves values everywhere, so 16 KiB
/// a file tell what a model was from what it has become; against a forger they are no protection. It is for
/// whoever asks often: libraries do at every search. The benchmark, whose results outlive the weights, hashes
/// all of them instead.
///
/// # Errors
/// [`ModelError::Io`] for a file that cannot be read, [`ModelError::Checkpoint`] for damaged weights.
pub fn checkpoint_fingerprint(directory: &Path) -> Result<String, ModelError> {
    let mut hash = FNV_OFFSET;
    let mut add = |bytes: &[u8]| hash = fnv(fnv(hash, &(bytes.len() as u64).to_le_bytes()), bytes);
    for name in SETTINGS {
        let path = directory.join(name);
        match limited_file::read(&path, MAX_SETTINGS_BYTES) {
            Ok(bytes) => add(&bytes),
            // Whoever needs it will say so.
            Err(error) if error.kind() == ErrorKind::NotFound => add(b""),
            Err(source) => return Err(IoError::of("read", path)(source).into()),
        }
    }
    for shard in Checkpoint::open(directory)?.shards() {
        add(shard.header());
        let values = shard.values();
        for sample in 0..SAMPLES {
            let start = sample * values.len() / SAMPLES;
            add(&values[start..values.len().min(start + SAMPLE_BYTES)]);
        }
    }
    Ok(format!("{hash:016x}"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn a_model_that_has_changed_has_another_fingerprint_wherever_it_lies() {
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tiny-a/model");
        let folder = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(&model).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
        }
        let fingerprint = || checkpoint_fingerprint(folder.path()).unwrap();
        let first = checkpoint_fingerprint(&model).unwrap();
        assert_eq!(fingerprint(), first);

        let changed = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
            let path: PathBuf = folder.path().join(name);
            let bytes = fs::read(&path).unwrap();
            let mut other = bytes.clone();
            change(&mut other);
            fs::write(&path, other).unwrap();
            let found = fingerprint();
            fs::write(&path, bytes).unwrap();
            found
        };
        // A step of training touches all values.
        let trained = changed("model-00001-of-00004.safetensors", &|bytes| {
            let end = bytes.len();
            bytes[end / 2..].iter_mut().step_by(4).for_each(|byte| *byte ^= 1);
        });
        let reshaped = changed("config.json", &|bytes| bytes.push(b' '));
        assert!(trained != first && reshaped != first && trained != reshaped);
        assert_eq!(fingerprint(), first);
    }
}
