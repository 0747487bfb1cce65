//! Training of VLM2Vec: <https://huggingface.co/datasets/TIGER-Lab/MMEB-train>.

use serde_json::{Map, Value};

use super::Layout;
use crate::embedder::{Input, Part};
use crate::import::error::Fault;
use crate::import::reading::{Media, Reading, Row, kind_of};
use crate::media::MediaKind;
use crate::pairs::Pair;

/// Texts with the places of pictures, and paths.
pub(super) const VLM2VEC: Layout = Layout {
    name: "vlm2vec",
    about: "qry, qry_image_path, pos_text, pos_image_path, neg_text, neg_image_path; also _video_path",
    keys: &[&["qry", "pos_text"], &["qry", "pos_image_path"], &["qry", "pos_video_path"]],
    looks: |fields: &Map<String, Value>| {
        let has = |key: &str| fields.contains_key(key);
        ["qry", "qry_text", "qry_image_path", "qry_video_path"].into_iter().any(has)
            && ["pos_text", "pos_image_path", "pos_video_path"].into_iter().any(has)
    },
    read,
};

fn read(row: &Row, reading: &Reading<'_>) -> Result<Vec<Pair>, Fault> {
    let text = if row.get("qry").is_some() { "qry" } else { "qry_text" };
    let mut query =
        sides(row, reading, "qry", text)?.into_iter().next().ok_or("`qry` is empty".to_owned())?;
    query.instruction = query.instruction.or_else(|| row.instruction());
    let positives = sides(row, reading, "pos", "pos_text")?;
    if positives.is_empty() {
        return Err(Fault::Row("`pos_text` and `pos_image_path` are empty".to_owned()));
    }
    let negatives = sides(row, reading, "neg", "neg_text")?;
    let pairs = positives
        .into_iter()
        .map(|positive| Ok(Pair { negatives: negatives.clone(), ..Pair::new(query.clone(), positive)? }));
    pairs.collect::<Result<_, String>>().map_err(Fault::Row)
}

/// The inputs of one side: one, or as many as its lists are long.
fn sides(row: &Row, reading: &Reading<'_>, side: &str, text_key: &str) -> Result<Vec<Input>, String> {
    let (image_key, video_key) = (format!("{side}_image_path"), format!("{side}_video_path"));
    let lists = [row.list(text_key), row.list(&image_key), row.list(&video_key)];
    let count = lists.map(<[Value]>::len).into_iter().max().unwrap_or_default();
    let path = |key: &str, values: &[Value], number: usize, kind| match values.get(number) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(path)) if path.is_empty() => Ok(None),
        Some(Value::String(path)) => reading.medium(path, kind).map(Some),
        Some(value @ Value::Object(_)) => reading.side(value).map(Some),
        Some(other) => Err(format!("`{key}` is {}, expected a path", kind_of(other))),
    };
    let one = |number: usize| {
        let image = path(&image_key, lists[1], number, MediaKind::Image)?;
        let video = path(&video_key, lists[2], number, MediaKind::Video)?;
        let mut media = Media { images: image.into_iter().collect(), videos: video.into_iter().collect() };
        let text = match lists[0].get(number) {
            None | Some(Value::Null) => "",
            Some(Value::String(text)) => text,
            Some(other) => return Err(format!("`{text_key}` is {}, expected text", kind_of(other))),
        };
        let input = media.placed_or_before(text).map_err(|reason| format!("`{text_key}` has {reason}"))?;
        Ok(with_instruction(input))
    };
    let made = (0..count).map(one).collect::<Result<Vec<_>, String>>()?;
    Ok(made.into_iter().filter(|input| !input.parts.is_empty()).collect())
}

/// What such a text asks for beside a picture, "Represent the given image.", is an instruction and no part of
/// what is embedded, unless something comes behind a colon.
fn with_instruction(mut input: Input) -> Input {
    let is_asked = |part: &Part| matches!(part, Part::Text(text) if text.starts_with("Represent the ") && !text.contains([':', '\n']));
    if input.parts.len() > 1
        && let Some(place) = input.parts.iter().position(is_asked)
        && let Part::Text(text) = input.parts.remove(place)
    {
        input.instruction = Some(text);
    }
    input
}
