use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// What the captioner is to answer. The type is the schema: [`schema`] derives what is sent from it, and
/// [`find`](super::answer::find) reads answers into it, where missing, mistyped and unknown keys are errors.
pub(super) trait Reply: DeserializeOwned + JsonSchema + PartialEq {
    /// Name of the schema, and of the question in the journal of replies.
    const NAME: &'static str;

    /// What a schema cannot say; otherwise a sentence that says what is wrong.
    fn check(&self) -> Result<(), String>;
}

/// Five texts about a clip.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Captions {
    /// One sentence that says what the clip is about.
    pub(super) summary: String,
    /// Everything, in space and in order of time.
    pub(super) detailed: String,
    /// Situation, idea or mood.
    pub(super) r#abstract: String,
    /// What one would type into a search box.
    pub(super) keywords: Vec<String>,
    /// A single detail or moment.
    pub(super) partial: String,
}

/// A caption of one picture.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FrameCaption {
    /// One or two sentences.
    pub(super) caption: String,
}

/// A text that leads to the target together with the reference.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Composed {
    /// Whether reference and target are related, and different.
    pub(super) usable: bool,
    /// The text.
    pub(super) query: String,
    /// What can be learnt from the reference alone.
    pub(super) from_reference: String,
    /// What can be learnt from the text alone.
    pub(super) from_text: String,
}

impl Reply for Captions {
    const NAME: &'static str = "captions";

    fn check(&self) -> Result<(), String> {
        let Self { summary, detailed, r#abstract, keywords, partial } = self;
        if keywords.is_empty() || keywords.iter().any(|keyword| keyword.trim().is_empty()) {
            return Err("`keywords` is empty or has an empty one".to_owned());
        }
        not_empty(&[
            ("summary", summary),
            ("detailed", detailed),
            ("abstract", r#abstract),
            ("partial", partial),
        ])
    }
}

impl Reply for FrameCaption {
    const NAME: &'static str = "frame";

    fn check(&self) -> Result<(), String> {
        not_empty(&[("caption", &self.caption)])
    }
}

impl Reply for Composed {
    const NAME: &'static str = "composed";

    fn check(&self) -> Result<(), String> {
        let Self { usable, query, from_reference, from_text } = self;
        if !usable {
            return Ok(());
        }
        not_empty(&[("query", query), ("from_reference", from_reference), ("from_text", from_text)])
    }
}

fn not_empty(texts: &[(&str, &String)]) -> Result<(), String> {
    match texts.iter().find(|(_, text)| text.trim().is_empty()) {
        Some((name, _)) => Err(format!("`{name}` is empty")),
        None => Ok(()),
    }
}

/// The JSON schema of a reply.
pub(super) fn schema<R: Reply>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.meta_schema = None);
    settings.into_generator().into_root_schema_for::<R>().to_value()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn schemas_ask_for_what_is_read() {
        let schema = schema::<Captions>();
        assert_eq!(schema["required"], json!(["summary", "detailed", "abstract", "keywords", "partial"]));
        assert_eq!(schema["additionalProperties"], json!(false));
        assert_eq!(schema["properties"]["keywords"]["items"], json!({"type": "string"}));
        assert_eq!(super::schema::<Composed>()["properties"]["usable"]["type"], "boolean");
        assert!(schema.get("$schema").is_none() && !schema.to_string().contains("$ref"));
    }
}
