//! Long texts in stretches that can be tokenised one by one.
//!
//! A tokenizer holds 50 to 150 bytes for each byte of text that it works on, so a long text is given to it in
//! parts. Words are found by Qwen's rule (`train_tokenizer::WORDS`) and tokens within words, so wherever a
//! word ends, whatever follows, the ids of a text are those of the part before and those of the part behind.
//! This module knows some such places.

use serde_json::{Value, json};
use tokenizers::{ModelWrapper, Tokenizer};

use super::train_tokenizer::WORDS;

/// Signs of East Asian texts, which have no blanks.
const EAST_ASIAN_SIGNS: [char; 8] =
    ['\u{3001}', '\u{3002}', '\u{ff01}', '\u{ff0c}', '\u{ff1a}', '\u{ff1b}', '\u{ff1f}', '\u{3000}'];

/// Whether texts may be broken for this tokenizer: one with Qwen's words, no randomness, and no added tokens
/// that hold a place to break at.
pub(super) fn may_break(tokenizer: &Tokenizer) -> bool {
    let is_separate = tokenizer.get_added_tokens_decoder().values().all(|token| {
        let mut pairs = token.content.chars().zip(token.content.chars().skip(1));
        !token.lstrip && !token.rstrip && !pairs.any(|(before, next)| is_break(before, next))
    });
    let has_fixed_merges =
        matches!(tokenizer.get_model(), ModelWrapper::BPE(model) if model.dropout.is_none());
    let normalizer = serde_json::to_value(tokenizer.get_normalizer()).unwrap_or_default();
    let mut words = serde_json::to_value(tokenizer.get_pre_tokenizer()).unwrap_or_default();
    if let Some(bytes) = words.pointer_mut("/pretokenizers/1").and_then(Value::as_object_mut) {
        // Offsets are nothing that ids depend on.
        bytes.remove("trim_offsets");
    }
    let qwen = json!({"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": WORDS}, "behavior": "Isolated", "invert": false},
        {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false},
    ]});
    is_separate
        && has_fixed_merges
        && (normalizer.is_null() || normalizer == json!({"type": "NFC"}))
        && words == qwen
}

/// The first place at or behind byte `from` where `text` may be broken.
pub(super) fn next_break(text: &str, from: usize) -> Option<usize> {
    let from = (from.max(1)..text.len()).find(|at| text.is_char_boundary(*at))?;
    let mut before = text[..from].chars().next_back()?;
    text[from..].char_indices().find_map(|(offset, next)| {
        let breaks = is_break(before, next);
        before = next;
        breaks.then_some(from + offset)
    })
}

/// Whether a word ends between two characters, whatever stands around them.
fn is_break(before: char, next: char) -> bool {
    match next {
        // No word goes on with a blank: blanks begin words, or are words of blanks.
        ' ' => !before.is_whitespace(),
        // Signs take the line ends behind them into their word, letters and digits do not.
        '\n' => before.is_ascii_alphanumeric() || is_east_asian_letter(before),
        // A digit is a word by itself.
        '0'..='9' => before.is_ascii_alphanumeric(),
        'a'..='z' | 'A'..='Z' => before.is_ascii_digit(),
        next => is_east_asian_letter(before) && EAST_ASIAN_SIGNS.contains(&next),
    }
}

/// Letters by any version of Unicode, in ranges without gaps: ideographs, kana, hangul.
fn is_east_asian_letter(c: char) -> bool {
    matches!(c, '\u{4e00}'..='\u{9fa5}' | '\u{3041}'..='\u{3094}' | '\u{30a1}'..='\u{30fa}' | '\u{ac00}'..='\u{d7a3}')
}
