//! A tokenizer of one's own, for models that are trained from nothing.

use std::path::Path;

use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::normalizers::NFC;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior;
use tokenizers::{AddedToken, PreTokenizerWrapper, Tokenizer, TokenizerBuilder};

use super::error::{PreprocessError, Result};

/// How Qwen cuts text into words before it looks for tokens: contractions, words with the blank before them,
/// single digits, signs, line ends.
pub(super) const WORDS: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|",
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);

/// Qwen's special tokens that a prompt may hold, in the order of their ids.
const SPECIAL_TOKENS: [&str; 8] = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
];

/// Trains a byte-level BPE with Qwen's rules from `texts` and writes it to `path` as `tokenizer.json`. It has
/// `vocab_size` tokens at most, of which Qwen's special tokens are the last, and reads any text: what it has
/// no token for it spells in bytes. Returns the id of each special token.
///
/// # Errors
/// [`PreprocessError::TrainTokenizer`] when there is nothing to train on or the file cannot be written.
pub fn train_tokenizer(
    texts: impl Iterator<Item = String> + Send,
    vocab_size: usize,
    path: &Path,
) -> Result<Vec<(&'static str, u32)>> {
    let failed = |reason| PreprocessError::TrainTokenizer { path: path.to_owned(), reason };
    let tokenizer = train(texts, vocab_size).map_err(failed)?;
    tokenizer.save(path, true).map_err(failed)?;
    Ok(SPECIAL_TOKENS.iter().filter_map(|token| Some((*token, tokenizer.token_to_id(token)?))).collect())
}

fn train(texts: impl Iterator<Item = String> + Send, vocab_size: usize) -> tokenizers::Result<Tokenizer> {
    let words = Split::new(SplitPattern::Regex(WORDS.to_owned()), SplitDelimiterBehavior::Isolated, false)?;
    let bytes = ByteLevel::new(false, true, false);
    let mut tokenizer = TokenizerBuilder::default()
        .with_model(BPE::default())
        .with_normalizer(Some(NFC))
        .with_pre_tokenizer(Some(Sequence::new(vec![
            PreTokenizerWrapper::Split(words),
            PreTokenizerWrapper::ByteLevel(bytes),
        ])))
        .with_post_processor(None::<ByteLevel>)
        .with_decoder(Some(ByteLevel::default()))
        .build()?;
    let mut trainer = BpeTrainerBuilder::new()
        .vocab_size(vocab_size.saturating_sub(SPECIAL_TOKENS.len()))
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .show_progress(false)
        .build();
    tokenizer.train(&mut trainer, texts)?;
    let special = SPECIAL_TOKENS.map(|token| AddedToken::from(token, true).normalized(false));
    tokenizer.add_special_tokens(special)?;
    // Once more through its file's form, whose type is that of any tokenizer.
    Tokenizer::from_bytes(tokenizer.to_string(false)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_what_it_was_trained_on_in_few_tokens_and_anything_else_in_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tokenizer.json");
        let texts = || (0..200).map(|i| format!("the red circle moves {}", ["left", "right"][i % 2]));
        let special = train_tokenizer(texts(), 320, &path).unwrap();
        assert_eq!(special.len(), SPECIAL_TOKENS.len());
        assert!(special.is_sorted_by(|a, b| a.1 < b.1) && special.iter().all(|(_, id)| *id < 320));
        let tokenizer = Tokenizer::from_file(&path).unwrap();
        let tokens = |text: &str| tokenizer.encode_fast(text, false).unwrap().get_ids().to_vec();
        assert!(tokens("the red circle moves left").len() <= 6);
        let strange = "Ωü 🐘";
        assert_eq!(tokenizer.decode(&tokens(strange), true).unwrap(), strange);
        assert_eq!(tokens("<|im_end|>"), [special[2].1]);
    }
}
