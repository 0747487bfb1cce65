//! Conversations about a picture or a video: <https://github.com/haotian-liu/LLaVA/blob/main/docs/Finetune_Custom_Data.md>.

use serde_json::{Map, Value};

use super::{Layout, has_all};
use crate::embedder::{Input, Part};
use crate::import::error::Fault;
use crate::import::reading::{Media, Reading, Row, kind_of};
use crate::media::MediaKind;
use crate::pairs::Pair;

/// What is asked, with what is seen, finds the answer.
pub(super) const LLAVA: Layout = Layout {
    name: "llava",
    about: "image or video and conversations: each question, with what is seen, finds its answer",
    keys: &[KEYS],
    looks: |fields: &Map<String, Value>| has_all(fields, KEYS),
    read: |row, reading| read(row, reading, question_to_answer),
};

/// What is answered finds what is seen.
pub(super) const LLAVA_CAPTIONS: Layout = Layout {
    name: "llava-captions",
    about: "the same as captions: each answer finds the image or video",
    keys: &[],
    // Unasked, such rows are taken for those above.
    looks: |fields: &Map<String, Value>| has_all(fields, KEYS),
    read: |row, reading| read(row, reading, answer_to_medium),
};

const KEYS: &[&str] = &["conversations"];

type Make = fn(&[Input], &str, &str) -> Result<Pair, String>;

fn read(row: &Row, reading: &Reading<'_>, make: Make) -> Result<Vec<Pair>, Fault> {
    let paths = |key: &str, kind| {
        let one = |value: &Value| match value {
            Value::String(path) => reading.medium(path, kind),
            Value::Object(_) => reading.side(value),
            other => Err(format!("`{key}` is {}, expected a path", kind_of(other))),
        };
        row.list(key).iter().map(one).collect::<Result<Vec<_>, String>>()
    };
    let mut seen = paths("video", MediaKind::Video)?;
    seen.extend(paths("image", MediaKind::Image)?);
    let turns = row.list("conversations").iter().map(turn).collect::<Result<Vec<_>, String>>()?;
    let mut pairs = Vec::new();
    for two in turns.windows(2) {
        if let [(Who::Asks, question), (Who::Answers, answer)] = two {
            pairs.push(make(&seen, question, answer)?);
        }
    }
    if pairs.is_empty() {
        return Err(Fault::Row(
            "`conversations` has no turn of human that is followed by one of gpt".to_owned(),
        ));
    }
    Ok(pairs)
}

#[derive(PartialEq)]
enum Who {
    Asks,
    Answers,
    System,
}

fn turn(value: &Value) -> Result<(Who, &str), String> {
    let get = |keys: [&str; 2]| keys.into_iter().find_map(|key| value.get(key)?.as_str());
    let from = get(["from", "role"]).ok_or("a turn of `conversations` has no `from`")?;
    let said = get(["value", "content"]).ok_or("a turn of `conversations` has no `value`")?;
    match from {
        "human" | "user" => Ok((Who::Asks, said)),
        "gpt" | "assistant" => Ok((Who::Answers, said)),
        "system" => Ok((Who::System, said)),
        other => Err(format!("a turn of `conversations` is from `{other}`, expected human or gpt")),
    }
}

fn question_to_answer(seen: &[Input], question: &str, answer: &str) -> Result<Pair, String> {
    let is_video = |input: &&Input| input.parts.iter().any(|part| matches!(part, Part::Video(_)));
    let (videos, images): (Vec<&Input>, Vec<&Input>) = seen.iter().partition(is_video);
    let mut media = Media {
        images: images.into_iter().cloned().collect(),
        videos: videos.into_iter().cloned().collect(),
    };
    let question =
        media.placed_or_before(question).map_err(|reason| format!("`conversations` have {reason}"))?;
    Pair::new(question, Input::text(answer.trim()))
}

fn answer_to_medium(seen: &[Input], _: &str, answer: &str) -> Result<Pair, String> {
    if seen.is_empty() {
        return Err("neither `image` nor `video` is there".to_owned());
    }
    let parts = seen.iter().flat_map(|input| input.parts.clone()).collect();
    Pair::new(Input::text(answer.trim()), Input { parts, ..Input::default() })
}
