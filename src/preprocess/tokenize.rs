//! The checkpoint's tokenizer, restricted to what a prompt needs: ordinary text, and control tokens by name.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use tokenizers::Tokenizer;

use super::charsmap;
use super::error::{PreprocessError, Result};
use super::prompt::{ControlToken, VisualKind};
use super::stretches::{may_break, next_break};
use crate::store::{IoError, limited_file};

const TOKENIZER_FILE: &str = "tokenizer.json";
/// Bytes that it may have; that of Qwen2.5-VL has 11 million.
const MAX_BYTES: u64 = 256 << 20;

pub(crate) const END_OF_TEXT: &str = "<|endoftext|>";
const TURN_START: &str = "<|im_start|>";
const TURN_END: &str = "<|im_end|>";
pub(crate) const VISION_START: &str = "<|vision_start|>";
const VISION_END: &str = "<|vision_end|>";
pub(crate) const IMAGE_PAD: &str = "<|image_pad|>";
pub(crate) const VIDEO_PAD: &str = "<|video_pad|>";

/// Text that is tokenised at a time, where it can be broken behind so much.
const STRETCH_BYTES: usize = 64 << 10;
/// Most that is tokenised at a time. Where every byte becomes a token, each takes 150 bytes.
const MAX_UNBROKEN_BYTES: usize = 1 << 20;

/// Turns text into token ids. Spellings of special tokens in text are text.
#[derive(Debug)]
pub(crate) struct PromptTokenizer {
    tokenizer: Tokenizer,
    special: SpecialTokens,
    /// Whether texts may be tokenised in stretches.
    may_break: bool,
}

/// Ids of the tokens a prompt is built with.
#[derive(Debug, Clone, Copy)]
struct SpecialTokens {
    end_of_text: u32,
    turn_start: u32,
    turn_end: u32,
    vision_start: u32,
    vision_end: u32,
    image_pad: u32,
    video_pad: u32,
}

/// What of the file is read with care before the crate reads it.
#[derive(Deserialize)]
struct Careful {
    normalizer: Option<Value>,
    #[serde(rename = "decoder")]
    _decoder: Option<Value>,
}

impl PromptTokenizer {
    /// Reads `tokenizer.json` in `model_dir` and checks it against the checkpoint's `config.json`:
    /// `config_ids` are its keys, the tokens they mean, and their ids.
    pub(crate) fn load(model_dir: &Path, config_ids: &[(&'static str, &'static str, u32)]) -> Result<Self> {
        let path = model_dir.join(TOKENIZER_FILE);
        let text = limited_file::read(&path, MAX_BYTES).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => PreprocessError::MissingCheckpointFile { path: path.clone() },
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
        let special = SpecialTokens::find(&tokenizer, &path)?;
        check_ids(&tokenizer, config_ids, &path)?;
        let may_break = may_break(&tokenizer);
        Ok(Self { tokenizer, special, may_break })
    }

    /// Gives the ids of `text` to `take`, some at a time: however long the text, no more than a stretch of it
    /// is worked on.
    pub(super) fn encode(&self, text: &str, take: impl FnMut(&[u32])) -> Result<()> {
        self.encode_in_stretches(text, STRETCH_BYTES, take)
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

    pub(super) fn control_id(&self, token: ControlToken) -> u32 {
        match token {
            ControlToken::TurnStart => self.special.turn_start,
            ControlToken::TurnEnd => self.special.turn_end,
            ControlToken::VisionStart => self.special.vision_start,
            ControlToken::VisionEnd => self.special.vision_end,
            ControlToken::EndOfText => self.special.end_of_text,
        }
    }

    /// Placeholder of one visual token.
    pub(super) fn pad_id(&self, kind: VisualKind) -> u32 {
        match kind {
            VisualKind::Image => self.special.image_pad,
            VisualKind::Video => self.special.video_pad,
        }
    }
}

impl SpecialTokens {
    fn find(tokenizer: &Tokenizer, path: &Path) -> Result<Self> {
        let added = tokenizer.get_added_tokens_decoder();
        let find = |token: &'static str| {
            let id = tokenizer
                .token_to_id(token)
                .ok_or_else(|| PreprocessError::MissingSpecialToken { path: path.to_path_buf(), token })?;
            match added.get(&id) {
                Some(added_token) if added_token.special => Ok(id),
                _ => Err(PreprocessError::TokenNotSpecial { path: path.to_path_buf(), token }),
            }
        };
        Ok(Self {
            end_of_text: find(END_OF_TEXT)?,
            turn_start: find(TURN_START)?,
            turn_end: find(TURN_END)?,
            vision_start: find(VISION_START)?,
            vision_end: find(VISION_END)?,
            image_pad: find(IMAGE_PAD)?,
            video_pad: find(VIDEO_PAD)?,
        })
    }
}

fn check_ids(
    tokenizer: &Tokenizer,
    config_ids: &[(&'static str, &'static str, u32)],
    path: &Path,
) -> Result<()> {
    for &(field, token, config_id) in config_ids {
        if let Some(tokenizer_id) = tokenizer.token_to_id(token)
            && config_id != tokenizer_id
        {
            let path = path.to_path_buf();
            return Err(PreprocessError::TokenIdMismatch { path, field, token, tokenizer_id, config_id });
        }
    }
    Ok(())
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

    fn tokenizers() -> Vec<PromptTokenizer> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        ["tests/golden/tiny-a/model", "assets/nano"]
            .into_iter()
            .map(|folder| {
                let path = root.join(folder).join(TOKENIZER_FILE);
                let mut tokenizer = Tokenizer::from_file(&path).unwrap();
                tokenizer.set_encode_special_tokens(true);
                let special = SpecialTokens::find(&tokenizer, &path).unwrap();
                let may_break = may_break(&tokenizer);
                assert!(may_break, "{folder} has Qwen's words");
                PromptTokenizer { tokenizer, special, may_break }
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
}
