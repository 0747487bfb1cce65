//! How SigLIP reads texts. Its files say little of it.

use std::borrow::Cow;
use std::path::Path;

use crate::model::two_towers::{End, TextRule};
use crate::preprocess::{PreprocessError, TextTokenizer, TokenizerSettings};

/// The rule of the tokenizer in `model_dir`. Texts are filled up with the token for that, which counts.
///
/// SigLIP 2 was trained on lower-case texts (`README_siglip2.md` of big_vision), which transformers keeps to
/// since `Siglip2Tokenizer` of its release 5 whatever the files say, and releases before did not. SigLIP 1
/// drops signs as well (`SiglipTokenizer.canonicalize_text`).
pub(super) fn rule(model_dir: &Path, tokenizer: &TextTokenizer) -> Result<TextRule, PreprocessError> {
    let settings = TokenizerSettings::load(model_dir)?;
    let class = settings.tokenizer_class.as_deref().unwrap_or_default();
    let canonical: fn(&str) -> Cow<'_, str> = match (class, settings.do_lower_case) {
        ("SiglipTokenizer", None | Some(true)) => |text| Cow::Owned(without_signs(&lower_case(text))),
        ("GemmaTokenizer" | "GemmaTokenizerFast" | "Siglip2Tokenizer", None | Some(true)) => {
            |text| Cow::Owned(lower_case(text))
        }
        (_, Some(false)) => {
            return Err(
                settings.unsupported("do_lower_case is false, expected true: SigLIP reads lower case".into())
            );
        }
        (other, _) => {
            return Err(settings.unsupported(format!(
                "tokenizer_class is {other:?}, expected SiglipTokenizer, Siglip2Tokenizer or GemmaTokenizer"
            )));
        }
    };
    let (before, behind) = tokenizer.surroundings()?;
    for (name, told, has) in [
        ("add_bos_token", settings.add_bos_token, !before.is_empty()),
        ("add_eos_token", settings.add_eos_token, !behind.is_empty()),
    ] {
        if let Some(told) = told.filter(|told| *told != has) {
            let file = tokenizer.path().display();
            return Err(
                settings.unsupported(format!("{name} is {told}, and {file} does otherwise: make them agree"))
            );
        }
    }
    let pad = settings.pad_token.as_deref().unwrap_or("<pad>");
    let pad = tokenizer.id_of(pad).ok_or_else(|| {
        settings
            .unsupported(format!("pad_token is {pad:?}, which {} does not have", tokenizer.path().display()))
    })?;
    Ok(TextRule { canonical, end: End::Filled(pad) })
}

/// Letter by letter, as the tokenizers do it.
fn lower_case(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}

fn without_signs(text: &str) -> String {
    let kept: String = text.chars().filter(|c| !c.is_ascii_punctuation()).collect();
    kept.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_canonical() {
        assert_eq!(lower_case("ÅNGSTRÖM ΟΔΟΣ"), "ångström οδοσ");
        assert_eq!(without_signs("  it's\n a_b, (42)! "), "its ab 42");
    }
}
