//! Training of embeddings in ms-swift: <https://swift.readthedocs.io/en/latest/BestPractices/Embedding.html>. What a message
//! says is a text with places for media, or a list of parts, which `StdTemplateInputs.remove_messages_media` of ms-swift
//! makes such a text of.

use serde_json::{Map, Value};

use super::{Layout, has_all};
use crate::embedder::Input;
use crate::import::error::Fault;
use crate::import::reading::{Media, Reading, Row, kind_of};
use crate::media::MediaKind;
use crate::pairs::Pair;

/// Messages with places for media; before release 3.8 query, response and rejected_response.
pub(super) const MS_SWIFT: Layout = Layout {
    name: "ms-swift",
    about: "messages, positive_messages, negative_messages with images and videos; query, response, rejected_response",
    keys: &[MESSAGES, RESPONSE],
    looks: |fields: &Map<String, Value>| has_all(fields, MESSAGES) || has_all(fields, RESPONSE),
    read,
};

const MESSAGES: &[&str] = &["messages", "positive_messages"];
const RESPONSE: &[&str] = &["query", "response"];

fn read(row: &Row, reading: &Reading<'_>) -> Result<Vec<Pair>, Fault> {
    let is_pair = reading.is_pair(row)?;
    let sides =
        if row.fields.contains_key("messages") { messages(row, reading) } else { responses(row, reading) };
    let (query, positives, negatives) = sides?;
    if !is_pair {
        return Ok(Vec::new());
    }
    let pairs = positives
        .into_iter()
        .map(|positive| Ok(Pair { negatives: negatives.clone(), ..Pair::new(query.clone(), positive)? }));
    pairs.collect::<Result<_, String>>().map_err(Fault::Row)
}

type Sides = (Input, Vec<Input>, Vec<Input>);

fn messages(row: &Row, reading: &Reading<'_>) -> Result<Sides, String> {
    let mut media = media(row.list("images"), row.list("videos"), reading)?;
    let query = conversation("messages", row.get("messages"), &mut media, reading)?;
    let others = |role: &str| {
        let key = format!("{role}_messages");
        let one = |number: usize, value: &Value| {
            let nth = |kind: &str| match row.list(&format!("{role}_{kind}")).get(number) {
                Some(Value::Array(values)) => values.clone(),
                Some(Value::Null) | None => Vec::new(),
                Some(value) => vec![value.clone()],
            };
            let mut media = self::media(&nth("images"), &nth("videos"), reading)?;
            conversation(&format!("{key}[{number}]"), Some(value), &mut media, reading)
        };
        let listed = row.list(&key).iter().enumerate();
        listed.map(|(number, value)| one(number, value)).collect::<Result<Vec<_>, String>>()
    };
    let positives = others("positive")?;
    if positives.is_empty() {
        return Err("`positive_messages` is empty".to_owned());
    }
    Ok((query, positives, others("negative")?))
}

/// The older form: all media in one list, in the order in which query, response and rejected responses have
/// places for them.
fn responses(row: &Row, reading: &Reading<'_>) -> Result<Sides, String> {
    let mut media = media(row.list("images"), row.list("videos"), reading)?;
    let query = placed("query", row.text("query")?, &mut media)?;
    let positive = placed("response", row.text("response")?, &mut media)?;
    let mut negatives = Vec::new();
    for value in row.list("rejected_response") {
        let text = value.as_str().ok_or_else(|| format!("`rejected_response` holds {}", kind_of(value)))?;
        negatives.push(placed("rejected_response", text, &mut media)?);
    }
    all_placed("query", &media)?;
    Ok((query, vec![positive], negatives))
}

/// What is said in a conversation; a system message is the instruction.
fn conversation(
    key: &str,
    value: Option<&Value>,
    media: &mut Media,
    reading: &Reading<'_>,
) -> Result<Input, String> {
    let list = value.and_then(Value::as_array).ok_or_else(|| format!("`{key}` is no list of messages"))?;
    let listed = (!media.images.is_empty(), !media.videos.is_empty());
    let mut input = Input::default();
    for message in list {
        let content = match message.get("content") {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Array(parts)) => {
                let text = parts.iter().map(|part| written(part, media, listed, reading));
                text.collect::<Result<_, _>>()
                    .map_err(|reason| format!("`{key}` has a part that {reason}"))?
            }
            _ => return Err(format!("`{key}` has a message without `content` as text or a list of parts")),
        };
        match message.get("role").and_then(Value::as_str) {
            Some("system") => input.instruction = Some(content),
            _ => input.parts.extend(placed(key, &content, media)?.parts),
        }
    }
    all_placed(key, media)?;
    Ok(input)
}

/// A part of a message as it stands in a text: itself, or a place for a medium, which joins `media` if the part names
/// it. Where lists of the row name media, as `listed` has it of images and videos, parts do not.
fn written(
    part: &Value,
    media: &mut Media,
    listed: (bool, bool),
    reading: &Reading<'_>,
) -> Result<String, String> {
    let kind = part.get("type").and_then(Value::as_str).unwrap_or_default();
    let value = part.get(kind).filter(|value| !value.is_null());
    let (place, medium, listed, queue) = match (kind, value) {
        ("text", Some(Value::String(text))) => return Ok(text.clone()),
        ("image" | "image_url", _) => ("<image>", MediaKind::Image, listed.0, &mut media.images),
        ("video" | "video_url", _) => ("<video>", MediaKind::Video, listed.1, &mut media.videos),
        _ => return Err("is none of text, image and video with a `type` and what that names".to_owned()),
    };
    if let Some(value) = value {
        if listed {
            return Err(format!("names its {kind} itself, where the row has a list of them"));
        }
        queue.push_back(one_medium(value.get("url").unwrap_or(value), medium, reading)?);
    }
    Ok(place.to_owned())
}

fn placed(key: &str, text: &str, media: &mut Media) -> Result<Input, String> {
    media.placed_in(text).map_err(|reason| format!("`{key}` has {reason}"))
}

fn all_placed(key: &str, media: &Media) -> Result<(), String> {
    if media.is_empty() {
        Ok(())
    } else {
        Err(format!("`{key}` has fewer places than files: <image>, <video>"))
    }
}

fn media(images: &[Value], videos: &[Value], reading: &Reading<'_>) -> Result<Media, String> {
    let read = |values: &[Value], kind| {
        values.iter().map(|value| one_medium(value, kind, reading)).collect::<Result<_, String>>()
    };
    Ok(Media { images: read(images, MediaKind::Image)?, videos: read(videos, MediaKind::Video)? })
}

fn one_medium(value: &Value, kind: MediaKind, reading: &Reading<'_>) -> Result<Input, String> {
    match value {
        Value::String(path) => reading.medium(path, kind),
        Value::Object(_) => reading.side(value),
        other => Err(format!("names media by {}, expected paths", kind_of(other))),
    }
}
