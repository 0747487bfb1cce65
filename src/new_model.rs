//! Models that have learned nothing yet, to train small ones from nothing. They are of the family of GVE,
//! Qwen2.5-VL.
//!
//! [`create`] joins the two halves of a checkpoint: [`init_weights`] makes random weights for a shape, and
//! [`train_tokenizer`] a vocabulary for the texts that it will be trained on. The result is a directory in
//! Hugging Face layout that everything else takes for a model.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::cancel::CancelToken;
use crate::error::Error;
use crate::model::qwen_vl::{TEMPLATE_TEXT, TOKEN_IDS, settings_files};
use crate::model::{ModelError, cards, init_weights, sentence_transformers};
use crate::preprocess::{PixelBounds, train_tokenizer};
use crate::store::{Existing, IoError, write_folder};
use crate::text::{LineError, Lines, decode};

/// What [`create`] makes.
#[derive(Debug, Clone)]
pub struct NewModel {
    /// The shape: a `config.json` of Qwen2.5-VL. Ids and number of tokens in it are replaced.
    pub config: PathBuf,
    /// JSON lines, such as captions and training pairs, whose `text` and `instruction` values the tokenizer
    /// is trained on.
    pub texts: Vec<PathBuf>,
    /// Tokens the tokenizer has, at most.
    pub vocab_size: usize,
    /// Bounds on the area of the pictures that the model is made for.
    pub pixels: PixelBounds,
    /// Where the random weights come from.
    pub seed: u64,
}

/// Sizes of what [`create`] made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Created {
    /// Number of parameters.
    pub parameters: usize,
    /// Number of tokens in the vocabulary.
    pub tokens: usize,
}

/// Makes a checkpoint in `out`, which may not be there yet or be empty; when it fails, nothing is left
/// behind. Equal settings and texts give equal weights.
///
/// # Errors
/// [`ModelError::Io`] and [`ModelError::Config`] for a shape or texts that cannot be read or a model that
/// cannot be written, [`ModelError::Cancelled`], and
/// [`PreprocessError::TrainTokenizer`](crate::preprocess::PreprocessError::TrainTokenizer).
pub fn create(out: &Path, settings: &NewModel, cancel: &CancelToken) -> Result<Created, Error> {
    let go_on = || if cancel.is_cancelled() { Err(ModelError::Cancelled) } else { Ok(()) };
    let mut config: Value = parse(&settings.config, 1, &read(&settings.config)?)?;
    if !config.is_object() {
        let reason = "is not a JSON object, expected the `config.json` of a model".to_owned();
        return Err(ModelError::Config { path: settings.config.clone(), reason }.into());
    }
    let mut texts = Vec::new();
    for path in &settings.texts {
        let open = |reason| ModelError::from(IoError::of("read", path)(reason));
        for line in Lines::open(path).map_err(open)? {
            go_on()?;
            let line = line.map_err(|error| match error {
                LineError::Io(source) => open(source),
                error => ModelError::Config { path: path.clone(), reason: error.to_string() },
            })?;
            collect(&parse(path, line.number, &line.text)?, &mut texts);
        }
    }
    let folder = out;
    write_folder(folder, Existing::Refuse, |out| {
        // The words of the chat template stand around every text.
        let texts = texts.into_iter().chain(std::iter::repeat_n(TEMPLATE_TEXT.to_owned(), 100));
        let special = train_tokenizer(texts, settings.vocab_size, &out.join("tokenizer.json"))?;
        let special: BTreeMap<_, _> = special.into_iter().collect();
        go_on()?;
        for (key, token) in TOKEN_IDS {
            config[key] = json!(special.get(token));
        }
        let tokens = special.values().max().map_or(0, |&id| id as usize + 1);
        config["vocab_size"] = json!(tokens);
        let files = settings_files(settings.pixels);
        for (name, value) in std::iter::once(("config.json", config)).chain(files) {
            let path = out.join(name);
            fs::write(&path, format!("{value:#}\n"))
                .map_err(IoError::of("write", &path))
                .map_err(ModelError::from)?;
        }
        sentence_transformers::describe(out)?;
        let parameters = init_weights(out, settings.seed)?;
        let card = cards::of_random(folder, parameters, tokens, settings.seed);
        card.write(out, out).map_err(ModelError::from)?;
        go_on()?;
        Ok(Created { parameters, tokens })
    })
}

fn read(path: &Path) -> Result<String, ModelError> {
    let bytes = fs::read(path).map_err(IoError::of("read", path))?;
    decode(bytes).map_err(|reason| ModelError::Config { path: path.to_owned(), reason })
}

fn parse(path: &Path, first_line: usize, text: &str) -> Result<Value, ModelError> {
    serde_json::from_str(text).map_err(|error| ModelError::Config {
        path: path.to_owned(),
        reason: format!("line {}: not JSON: {error}", first_line + error.line().saturating_sub(1)),
    })
}

/// All values of the keys `text` and `instruction`, however deep.
fn collect(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| match value {
            Value::String(text) if matches!(key.as_str(), "text" | "instruction") => texts.push(text.clone()),
            _ => collect(value, texts),
        }),
        Value::Array(items) => items.iter().for_each(|item| collect(item, texts)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_that_is_no_object_is_refused_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let (config, out) = (folder.path().join("config.json"), folder.path().join("out"));
        for shape in ["[1]", "\"qwen\"", "7", "null"] {
            fs::write(&config, shape).unwrap();
            let pixels = PixelBounds::new(3136, 9408).unwrap();
            let settings =
                NewModel { config: config.clone(), texts: vec![], vocab_size: 300, pixels, seed: 1 };
            let message = create(&out, &settings, &CancelToken::new()).unwrap_err().to_string();
            assert!(message.contains("config.json") && message.contains("not a JSON object"), "{message}");
            assert!(!out.exists());
        }
    }
}
