//! `tokenizer.json` as what turns ordinary text into ids, some at a time.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use tokenizers::Tokenizer;

use super::charsmap;
use super::error::{PreprocessError, Result};
use super::stretches::{may_break, next_break};
use crate::store::{IoError, limited_file};

const TOKENIZER_FILE: &str = "tokenizer.json";
/// Bytes that it may have; that of SigLIP 2 has 34 million.
const MAX_BYTES: u64 = 256 << 20;
/// Files that slow tokenizers are made of.
const OTHER_FILES: [&str; 4] = ["spiece.model", "tokenizer.model", "sentencepiece.bpe.model", "vocab.json"];

/// Text that is tokenised at a time, where it can be broken behind so much.
const STRETCH_BYTES: usize = 64 << 10;
/// Most that is tokenised at a time. Where every byte becomes a token, each takes 150 bytes.
const MAX_UNBROKEN_BYTES: usize = 1 << 20;

/// Turns text into token ids. Spellings of special tokens in text are text.
#[derive(Debug)]
pub(crate) struct TextTokenizer {
    tokenizer: Tokenizer,
    path: PathBuf,
    /// Whether texts may be tokenised in stretches.
    may_break: bool,
}

/// What of the file is read with care before the crate reads it.
#[derive(Deserialize)]
struct Careful {
    normalizer: Option<Value>,
    #[serde(rename = "decoder")]
    _decoder: Option<Value>,
}

impl TextTokenizer {
    /// Reads `tokenizer.json` in `model_dir`.
    ///
    /// # Errors
    /// A file that is missing, unreadable or damaged.
    pub(crate) fn load(model_dir: &Path) -> Result<Self> {
        let path = model_dir.join(TOKENIZER_FILE);
        let text = limited_file::read(&path, MAX_BYTES).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => missing(model_dir, &path),
            _ => IoError::of("read", &path)(error).into(),
        })?;
        let unusable = |reason| PreprocessError::LoadTokenizer { path: path.clone(), reason };
        // The crate panics where the decoder, which nothing here needs, is no JSON.
        let careful: Careful = serde_json::from_slice(&text).map_err(|error| unusable(error.into()))?;
        if let Some(fault) = careful.normalizer.as_ref().and_then(charsmap::fault) {
            return Err(unusable(fault.into()));
        }
        let mut tokenizer = Tokenizer::from_bytes(&text).map_err(unusable)?;
        // The file may carry settings of whoever saved it; length is the prompt's affair.
        tokenizer.with_truncation(None).map_err(unusable)?;
        tokenizer.with_padding(None);
        tokenizer.set_encode_special_tokens(true);
        let may_break = may_break(&tokenizer);
        Ok(Self { tokenizer, path, may_break })
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The id of a token by its spelling.
    pub(crate) fn id_of(&self, token: &str) -> Option<u32> {
        self.tokenizer.token_to_id(token)
    }

    /// Whether the token with this id is one that texts cannot spell.
    pub(super) fn is_special(&self, id: u32) -> bool {
        self.tokenizer.get_added_tokens_decoder().get(&id).is_some_and(|token| token.special)
    }

    /// Gives the ids of `text` to `take`, some at a time: however long the text, no more than a stretch of it
    /// is worked on.
    ///
    /// # Errors
    /// [`PreprocessError::UnbrokenText`] and [`PreprocessError::Tokenize`].
    pub(crate) fn encode(&self, text: &str, take: impl FnMut(&[u32])) -> Result<()> {
        self.encode_in_stretches(text, STRETCH_BYTES, take)
    }

    /// The ids that the file sets before a text and behind it.
    ///
    /// # Errors
    /// What the tokenizer says, and a file that does more than that to a text.
    pub(crate) fn surroundings(&self) -> Result<(Vec<u32>, Vec<u32>)> {
        const TEXT: &str = "a photo";
        let ids = |special: bool| {
            let encoding = self.tokenizer.encode_fast(TEXT, special);
            let failed = |reason| PreprocessError::Tokenize { bytes: TEXT.len(), reason };
            encoding.map_err(failed).map(|encoding| encoding.get_ids().to_vec())
        };
        let (bare, whole) = (ids(false)?, ids(true)?);
        let start =
            (!bare.is_empty()).then(|| whole.windows(bare.len()).position(|ids| ids == bare)).flatten();
        let start = start.ok_or_else(|| PreprocessError::UnsupportedSetting {
            path: self.path.clone(),
            reason: "post_processor does more than to set tokens before a text and behind it".to_owned(),
        })?;
        Ok((whole[..start].to_vec(), whole[start + bare.len()..].to_vec()))
    }

    fn encode_in_stretches(
        &self,
        mut text: &str,
        stretch_bytes: usize,
        mut take: impl FnMut(&[u32]),
    ) -> Result<()> {
        while !text.is_empty() {
            let end = if text.len() > stretch_bytes && self.may_break {
                next_break(text, stretch_bytes).unwrap_or(text.len())
            } else {
                text.len()
            };
            if end > MAX_UNBROKEN_BYTES {
                return Err(PreprocessError::UnbrokenText { bytes: end, limit_bytes: MAX_UNBROKEN_BYTES });
            }
            let (stretch, rest) = text.split_at(end);
            let encoding = self
                .tokenizer
                .encode_fast(stretch, false)
                .map_err(|reason| PreprocessError::Tokenize { bytes: stretch.len(), reason })?;
            take(encoding.get_ids());
            text = rest;
        }
        Ok(())
    }
}

/// What to say where there is no `tokenizer.json`.
fn missing(model_dir: &Path, path: &Path) -> PreprocessError {
    match OTHER_FILES.into_iter().find(|name| model_dir.join(name).is_file()) {
        None => PreprocessError::MissingCheckpointFile { path: path.to_owned() },
        Some(other) => PreprocessError::UnsupportedSetting {
            path: path.to_owned(),
            reason: format!(
                "is missing, and {other} alone is not read; have transformers write it: \
                 `AutoTokenizer.from_pretrained(DIR, use_fast=True).save_pretrained(DIR)`"
            ),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// What texts are made of, chosen for words that run into each other.
    const PIECES: [&str; 44] = [
        " ",
        " ",
        "  ",
        "\n",
        "\r\n",
        "\t",
        "\u{3000}",
        "\u{a0}",
        "\u{2003}",
        "\u{85}",
        "a",
        "word",
        "it's",
        "'re",
        "'",
        "1",
        "42",
        "\u{664}",
        "\u{bd}",
        ".",
        "...",
        "!?",
        "-",
        "_",
        "<|im_end|>",
        "<|im",
        "e\u{301}",
        "\u{301}",
        "\u{e9}",
        "\u{1100}\u{1161}",
        "\u{11a8}",
        "\u{ac00}",
        "\u{4e2d}\u{6587}",
        "\u{3002}",
        "\u{ff0c}",
        "\u{30ab}\u{3099}",
        "\u{3099}",
        "\u{915}\u{93f}",
        "\u{93f}",
        "\u{627}\u{64b}",
        "\u{1f600}",
        "\u{200d}",
        "\u{0}",
        "A\u{30a}",
    ];

    fn tokenizers() -> Vec<TextTokenizer> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        ["tests/golden/tiny-a/model", "assets/nano"]
            .into_iter()
            .map(|folder| {
                let tokenizer = TextTokenizer::load(&root.join(folder)).unwrap();
                assert!(tokenizer.may_break, "{folder} has Qwen's words");
                tokenizer
            })
            .collect()
    }

    #[test]
    fn a_text_in_stretches_has_the_ids_of_the_whole() {
        let mut random = Random::new(7);
        let mut stretches = 0;
        for tokenizer in tokenizers() {
            for round in 0..1500 {
                let pieces = 1 + random.below(60);
                let text: String = (0..pieces).map(|_| PIECES[random.below(PIECES.len())]).collect();
                let whole = tokenizer.tokenizer.encode_fast(text.as_str(), false).unwrap();
                // Broken wherever it can be, and now and then.
                for stretch_bytes in [1, 2, 7, 40] {
                    let mut ids = Vec::new();
                    tokenizer
                        .encode_in_stretches(&text, stretch_bytes, |some| {
                            ids.extend_from_slice(some);
                            stretches += 1;
                        })
                        .unwrap();
                    assert_eq!(ids, whole.get_ids(), "round {round}, {stretch_bytes}: {text:?}");
                }
            }
        }
        assert!(stretches > 20_000, "{stretches}");
    }

    #[test]
    fn long_texts_are_worked_on_in_parts_and_unbroken_ones_are_refused() {
        let tokenizer = tokenizers().remove(0);
        let (mut most, mut total) = (0, 0);
        let text = "a red fox jumps over 12 dogs. ".repeat(20_000);
        tokenizer
            .encode(&text, |ids| {
                most = most.max(ids.len());
                total += ids.len();
            })
            .unwrap();
        assert!(most <= STRETCH_BYTES + 100 && total > 5 * most, "{most} of {total}");
        let unbroken = "x".repeat(MAX_UNBROKEN_BYTES + 1);
        let error = tokenizer.encode(&unbroken, |_| panic!("nothing is tokenised")).unwrap_err();
        assert!(matches!(error, PreprocessError::UnbrokenText { bytes, .. } if bytes == unbroken.len()));
    }

    #[test]
    fn tokenizers_with_other_words_read_texts_as_a_whole() {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tiny-a/model").join(TOKENIZER_FILE);
        let json: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let changed = |pointer: &str, value: Value| {
            let mut json = json.clone();
            *json.pointer_mut(pointer).unwrap() = value;
            may_break(&Tokenizer::from_bytes(json.to_string()).unwrap())
        };
        assert!(changed("/normalizer", Value::Null));
        assert!(!changed("/normalizer", serde_json::json!({"type": "Lowercase"})));
        assert!(!changed("/pre_tokenizer/pretokenizers/1/add_prefix_space", true.into()));
        assert!(!changed("/pre_tokenizer/pretokenizers/0/pattern", serde_json::json!({"Regex": "."})));
        assert!(!changed("/model/dropout", 0.1.into()));
        assert!(!changed("/added_tokens/0/rstrip", true.into()));
        assert!(!changed("/added_tokens/0/content", "two words".into()));
    }

    #[test]
    fn a_checkpoint_without_the_file_is_told_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let load = || TextTokenizer::load(folder.path()).unwrap_err();
        assert!(matches!(load(), PreprocessError::MissingCheckpointFile { .. }));
        std::fs::write(folder.path().join("spiece.model"), b"").unwrap();
        let error = load().to_string();
        assert!(error.contains("spiece.model alone is not read"), "{error}");
    }

    #[test]
    fn what_stands_around_a_text_is_found() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        for (set, before, behind) in [
            ("tiny-a", vec![], vec![]),
            ("tiny-clip", vec![622], vec![623]),
            ("tiny-siglip2", vec![], vec![1]),
        ] {
            let tokenizer = TextTokenizer::load(&root.join(set).join("model")).unwrap();
            assert_eq!(tokenizer.surroundings().unwrap(), (before, behind), "{set}");
        }
    }
}
