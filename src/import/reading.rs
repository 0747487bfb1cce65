//! What layouts have in common: values to inputs, names to files, texts with places for media to parts.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::ImportSettings;
use super::error::Fault;
use super::vault::Vault;
use crate::embedder::{Input, Part};
use crate::media::MediaKind;
use crate::pairs::named_kind;

/// Endings under which a video or image is looked for whose name has another, or none.
const VIDEO_ENDINGS: [&str; 7] = ["mp4", "mkv", "webm", "avi", "mov", "m4v", "gif"];
const IMAGE_ENDINGS: [&str; 4] = ["jpg", "png", "jpeg", "webp"];

/// How the rows of one file are read.
pub(super) struct Reading<'a> {
    pub(super) settings: &'a ImportSettings,
    /// The folder that the file lies in.
    pub(super) base: PathBuf,
    /// What lay inside of files; in a dry run, nowhere else.
    pub(super) vault: &'a Vault,
}

impl Reading<'_> {
    /// The file that `name` means.
    pub(super) fn find(&self, name: &str, kind: MediaKind) -> Result<PathBuf, String> {
        let root = self.settings.media.as_deref().unwrap_or(&self.base);
        let path = root.join(name);
        if path.is_file() || self.vault.has(&path) {
            return Ok(path);
        }
        let endings: &[&str] = if kind == MediaKind::Video { &VIDEO_ENDINGS } else { &IMAGE_ENDINGS };
        let instead = endings.iter().flat_map(|ending| {
            let appended = root.join(format!("{name}.{ending}"));
            // What lies behind a dot in an id is no ending.
            let replaced = named_kind(name).map(|_| path.with_extension(ending));
            [Some(appended), replaced].into_iter().flatten()
        });
        let found = instead.into_iter().find(|path| path.is_file());
        found.ok_or_else(|| {
            let begin =
                if self.settings.media.is_some() { "as `media` says" } else { "as `media` is not given" };
            format!("{} is not there; relative paths begin in {}, {begin}", path.display(), shown(root))
        })
    }

    /// The video or image called `name`. What its name does not tell, `kind` does.
    pub(super) fn medium(&self, name: &str, kind: MediaKind) -> Result<Input, String> {
        let path = self.find(name, kind)?;
        Ok(match MediaKind::of_name(&path).unwrap_or(kind) {
            MediaKind::Video => Input::video(path),
            MediaKind::Image => Input::image(path),
        })
    }

    /// A text, or the medium at a path.
    pub(super) fn text_or_path(&self, text: &str) -> Result<Input, String> {
        match named_kind(text) {
            Some(kind) => self.medium(text, kind),
            None => Ok(Input::text(text)),
        }
    }

    /// One side of a pair: a text, a path, what `datasets` makes of a picture or video, or several of these
    /// by their kind.
    pub(super) fn side(&self, value: &Value) -> Result<Input, String> {
        match value {
            Value::String(text) if text.trim().is_empty() => Err("is empty".to_owned()),
            Value::String(text) => self.text_or_path(text),
            Value::Object(object) => self.composed(object),
            other => Err(format!("is {}, expected text or a path", kind_of(other))),
        }
    }

    fn composed(&self, object: &Map<String, Value>) -> Result<Input, String> {
        if let Some(path) = object.get("path").and_then(Value::as_str) {
            let kind = named_kind(path).unwrap_or(MediaKind::Image);
            return self.medium(path, kind);
        }
        let mut input = Input::default();
        for (key, kind) in [("image", MediaKind::Image), ("video", MediaKind::Video)] {
            match object.get(key) {
                None | Some(Value::Null) => {}
                Some(Value::String(path)) => input.parts.extend(self.medium(path, kind)?.parts),
                Some(Value::Object(inner)) => input.parts.extend(self.composed(inner)?.parts),
                Some(other) => return Err(format!("`{key}` is {}, expected a path", kind_of(other))),
            }
        }
        if let Some(text) = object.get("text").and_then(Value::as_str).filter(|text| !text.trim().is_empty())
        {
            input.parts.push(Part::Text(text.to_owned()));
        }
        if input.parts.is_empty() {
            let keys = keys(object);
            return Err(format!("is an object of {keys}, expected `text`, `image`, `video` or `path`"));
        }
        Ok(input)
    }

    /// Whether a row with a score or label is a pair.
    pub(super) fn is_pair(&self, row: &Row) -> Result<bool, Fault> {
        let scores = ["score", "label", "similarity", "similarity_score"]
            .into_iter()
            .filter_map(|key| row.fields.get(key).map(|value| (key, value)));
        // An empty one says nothing where there is another.
        let Some((key, value)) = scores.min_by_key(|(_, value)| value.is_null()) else { return Ok(true) };
        let number = match value {
            Value::Number(number) => number.as_f64(),
            Value::Bool(is_pair) => Some(f64::from(u8::from(*is_pair))),
            // As pandas writes booleans.
            Value::String(text) if ["True", "true"].contains(&text.trim()) => Some(1.0),
            Value::String(text) if ["False", "false"].contains(&text.trim()) => Some(0.0),
            Value::String(text) => text.trim().parse().ok().filter(|number: &f64| !number.is_nan()),
            _ => None,
        };
        let number = number.ok_or_else(|| format!("`{key}` is {}, expected a number", kind_of(value)))?;
        match self.settings.min_score {
            Some(least) => Ok(number >= least),
            None if key == "label" && [0.0, 1.0].contains(&number) => Ok(number > 0.0),
            None => Err(Fault::All(super::ImportError::Setting {
                place: row.place.clone(),
                reason: format!(
                    "has the {key} {number}, and not every score is that of a pair: say with `min_score` (--min-score) \
                     from which on it is one"
                ),
            })),
        }
    }
}

/// A row of a file, whatever kind it is.
pub(super) struct Row {
    /// File and line, or whatever else finds it again.
    pub(super) place: String,
    pub(super) fields: Map<String, Value>,
}

impl Row {
    /// What is under a key; `None` also for null and blank texts.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        let is_blank = |value: &Value| match value {
            Value::Null => true,
            Value::String(text) => text.trim().is_empty(),
            Value::Array(values) => values.is_empty(),
            _ => false,
        };
        self.fields.get(key).filter(|value| !is_blank(value))
    }

    /// The values under a key: those of a list, or one.
    pub(super) fn list(&self, key: &str) -> &[Value] {
        match self.get(key) {
            Some(Value::Array(values)) => values,
            Some(value) => std::slice::from_ref(value),
            None => &[],
        }
    }

    /// The text under a key.
    pub(super) fn text(&self, key: &str) -> Result<&str, String> {
        match self.get(key) {
            Some(Value::String(text)) => Ok(text),
            Some(other) => Err(format!("`{key}` is {}, expected text", kind_of(other))),
            None if self.fields.contains_key(key) => Err(format!("`{key}` is empty")),
            None => Err(format!("`{key}` is missing")),
        }
    }

    /// The first of `keys` with something under it.
    pub(super) fn first<'k>(&self, keys: &[&'k str]) -> Option<&'k str> {
        keys.iter().copied().find(|key| self.get(key).is_some())
    }

    /// The same, or why there is none.
    pub(super) fn one_of<'k>(&self, keys: &[&'k str]) -> Result<&'k str, String> {
        self.first(keys).ok_or_else(|| match keys.iter().find(|key| self.fields.contains_key(**key)) {
            Some(key) => format!("`{key}` is empty"),
            None => format!("none of {} is there", keys.join(", ")),
        })
    }

    /// What the query is asked under, in a column of its own.
    pub(super) fn instruction(&self) -> Option<String> {
        let key = self.first(&["prompt", "instruction"])?;
        self.text(key).ok().map(str::to_owned)
    }
}

/// Media that a text has places for, in their order.
#[derive(Default)]
pub(super) struct Media {
    pub(super) images: VecDeque<Input>,
    pub(super) videos: VecDeque<Input>,
}

impl Media {
    /// The next for a place of this kind. Some write the place of an image where a video is meant.
    fn next(&mut self, kind: MediaKind) -> Option<Input> {
        match kind {
            MediaKind::Image => self.images.pop_front().or_else(|| self.videos.pop_front()),
            MediaKind::Video => self.videos.pop_front(),
        }
    }

    /// `text` with the media in their places.
    pub(super) fn placed_in(&mut self, text: &str) -> Result<Input, String> {
        let mut input = Input::default();
        let mut rest = text;
        while let Some((start, length, kind)) = first_place(rest) {
            push_text(&mut input, &rest[..start]);
            let medium = self.next(kind);
            let token = &rest[start..start + length];
            input.parts.extend(medium.ok_or_else(|| format!("no file for its {token}"))?.parts);
            rest = &rest[start + length..];
        }
        push_text(&mut input, rest);
        Ok(input)
    }

    /// The same with media that have no place in front.
    pub(super) fn placed_or_before(&mut self, text: &str) -> Result<Input, String> {
        let mut input = self.placed_in(text)?;
        let left: Vec<Part> =
            self.videos.drain(..).chain(self.images.drain(..)).flat_map(|m| m.parts).collect();
        input.parts.splice(0..0, left);
        Ok(input)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.images.is_empty() && self.videos.is_empty()
    }
}

fn push_text(input: &mut Input, text: &str) {
    if !text.trim().is_empty() {
        input.parts.push(Part::Text(text.trim().to_owned()));
    }
}

/// The first place for a medium in `text`: where, how long and for which kind.
fn first_place(text: &str) -> Option<(usize, usize, MediaKind)> {
    use MediaKind::{Image, Video};
    let tokens = [("<image>", Image), ("<video>", Video), ("<|image_pad|>", Image), ("<|video_pad|>", Video)];
    let plain = tokens.into_iter().filter_map(|(token, kind)| Some((text.find(token)?, token.len(), kind)));
    let numbered = [("<|image_", Image), ("<|video_", Video)].into_iter().filter_map(|(start, kind)| {
        let at = text.find(start)?;
        let rest = &text[at + start.len()..];
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let is_token = digits > 0 && rest[digits..].starts_with("|>");
        is_token.then_some((at, start.len() + digits + 2, kind))
    });
    plain.chain(numbered).min_by_key(|(at, ..)| *at)
}

/// What a value of JSON is, with its article.
pub(super) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The first keys of an object, for messages.
pub(super) fn keys(object: &Map<String, Value>) -> String {
    const MOST: usize = 12;
    let mut names: Vec<&str> = object.keys().take(MOST).map(String::as_str).collect();
    if object.len() > MOST {
        names.push("...");
    }
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

fn shown(folder: &Path) -> String {
    if folder.as_os_str().is_empty() { "the present folder".to_owned() } else { folder.display().to_string() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn labels_of_0_and_1_say_what_is_a_pair() {
        let (settings, vault) = (ImportSettings::default(), Vault::new(Path::new(""), true));
        let reading = Reading { settings: &settings, base: PathBuf::new(), vault: &vault };
        let is_pair = |key: &str, value: &Value| {
            let row = Row { place: String::new(), fields: Map::from_iter([(key.to_owned(), value.clone())]) };
            reading.is_pair(&row).ok()
        };
        for (yes, no) in [
            (json!(1), json!(0)),
            (json!(1.0), json!(0.0)),
            (json!(true), json!(false)),
            (json!("1"), json!(" 0 ")),
            (json!("1.0"), json!("0.00")),
        ] {
            assert_eq!(
                (is_pair("label", &yes), is_pair("label", &no)),
                (Some(true), Some(false)),
                "{yes} and {no}"
            );
        }
        for value in [json!(0.7), json!("0.7"), json!(2), json!(-1), json!("nan"), json!("yes"), json!(null)]
        {
            assert_eq!(is_pair("label", &value), None, "{value}");
        }
        assert_eq!(is_pair("score", &json!(1)), None);
        assert_eq!(is_pair("other", &json!(0.7)), Some(true));
    }

    #[test]
    fn media_come_into_their_places() {
        let image = |n: usize| Input::image(format!("{n}.png"));
        let media = || Media { images: [image(1), image(2)].into(), videos: [Input::video("a.mp4")].into() };
        let placed = |text: &str, mut media: Media| media.placed_in(text);
        for (text, expected) in [
            ("<|image_1|>\nWhat? <|image_2|>", image(1).and_text("What?").and_image("2.png")),
            ("a <video> b<image>", Input::text("a").and_video("a.mp4").and_text("b").and_image("1.png")),
            ("<|image_x|> <im", Input::text("<|image_x|> <im")),
            ("<|video_pad|><|image_pad|>", Input::video("a.mp4").and_image("1.png")),
        ] {
            assert_eq!(placed(text, media()), Ok(expected), "{text}");
        }
        assert_eq!(placed("<video> <video>", media()), Err("no file for its <video>".to_owned()));
        let expected = Input::video("a.mp4").and_image("2.png").and_image("1.png").and_text("then");
        assert_eq!(media().placed_or_before("<image> then"), Ok(expected));
    }
}
