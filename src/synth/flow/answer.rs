//! The reply in what a captioner says. Models fence it, think first, or add a sentence; the object in there
//! is taken, if there is no doubt which one is meant.

use serde::de::IgnoredAny;
use serde_json::{Deserializer, Value};

use super::reply::Reply;
use crate::http::{Secrets, error_message};

/// Marks that models put around what they think before they answer.
const THOUGHTS: [(&str, &str); 6] = [
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
];

/// A reply, and where it stood.
#[derive(Debug, PartialEq)]
pub(super) struct Found<'a, R> {
    pub(super) reply: R,
    /// Its JSON.
    pub(super) json: &'a str,
    /// Whether there was something else around it, beside white space.
    pub(super) is_taken_out: bool,
}

/// Reads a reply as it was written down. Of a key that stands in it twice, which earlier versions took, the
/// last counts.
pub(super) fn reread<R: Reply>(stored: &str) -> Result<R, String> {
    let json: Value = serde_json::from_str(stored).map_err(|error| error.to_string())?;
    read(&json.to_string())
}

/// Reads an answer that is a reply and nothing else.
fn read<R: Reply>(text: &str) -> Result<R, String> {
    let mut whole = Deserializer::from_str(text);
    let is_json = serde::Deserialize::deserialize(&mut whole).and_then(|IgnoredAny| whole.end());
    is_json.map_err(|error| format!("it is not JSON: {error}"))?;
    // A list of values in order would be read as well.
    if !text.trim_start().starts_with('{') {
        return Err("it is not a JSON object".to_owned());
    }
    let reply: R =
        serde_json::from_str(text).map_err(|error| format!("it does not fit the schema: {error}"))?;
    reply.check()?;
    Ok(reply)
}

/// Finds the reply in an answer: the answer itself, or the one object in it that fits the schema. Otherwise
/// says what is wrong in a way that helps to do better, on one line. Of an answer that `is_cut` off, which
/// may end in a draft, no part is taken. `secrets` are left out of what is said of it.
pub(super) fn find<'a, R: Reply>(
    answer: &'a str,
    is_cut: bool,
    secrets: &Secrets,
) -> Result<Found<'a, R>, String> {
    let whole = answer.trim();
    let found = match read(whole) {
        Ok(reply) => Ok(Found { reply, json: whole, is_taken_out: false }),
        // All of it is JSON, and what is in there is no answer but a part of one.
        Err(fault) if is_cut || serde_json::from_str::<IgnoredAny>(whole).is_ok() => Err(fault),
        Err(fault) => take_out(whole, fault),
    };
    // What is wrong may be quoted, at any length.
    found.map_err(|fault| error_message(&fault, secrets))
}

/// The one object in `answer` that fits. `fault` is what is wrong with the answer as a whole.
fn take_out<R: Reply>(answer: &str, fault: String) -> Result<Found<'_, R>, String> {
    let objects = objects(after_thoughts(answer)?)?;
    let (mut fitting, mut misfits) = (Vec::<Found<'_, R>>::new(), Vec::new());
    for &json in &objects {
        match read(json) {
            // What is said twice is said once.
            Ok(reply) if fitting.iter().all(|found| found.reply != reply) => {
                fitting.push(Found { reply, json, is_taken_out: true });
            }
            Ok(_) => {}
            Err(misfit) => misfits.push(misfit),
        }
    }
    match (fitting.len(), misfits.into_iter().next()) {
        (0, None) => Err(fault),
        (0, Some(misfit)) if objects.len() == 1 => Err(misfit),
        (0, Some(misfit)) => {
            Err(format!("it holds {} JSON objects, and none fits: of the first, {misfit}", objects.len()))
        }
        (1, _) => fitting.pop().ok_or(fault),
        (count, _) => {
            Err(format!("it holds {count} different JSON objects that fit the schema, expected one"))
        }
    }
}

/// What is said after all thoughts. Drafts stand in them, so an answer that ends within them is none.
fn after_thoughts(answer: &str) -> Result<&str, String> {
    let ends = THOUGHTS.iter().filter_map(|(_, close)| Some(answer.rfind(close)? + close.len()));
    let said = &answer[ends.max().unwrap_or(0)..];
    match THOUGHTS.iter().find(|(open, _)| said.contains(open)) {
        Some((open, close)) => Err(format!("it is not JSON: it has `{open}` and no `{close}` after it")),
        None => Ok(said),
    }
}

/// The JSON objects that stand in `text`, from the first to the last.
///
/// # Errors
/// Something that begins as an object and does not end as one, or stands in a list: what is in there may be a
/// part of what was meant.
fn objects(text: &str) -> Result<Vec<&str>, String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find('{') {
        let (before, from) = rest.split_at(start);
        // Any other brace is one of the prose.
        if !from[1..].trim_start().starts_with(['"', '}']) {
            rest = &from[1..];
            continue;
        }
        if before.trim_end().ends_with('[') {
            return Err("its JSON object stands in a list, expected the object alone".to_owned());
        }
        let mut values = Deserializer::from_str(from).into_iter::<IgnoredAny>();
        match values.next() {
            Some(Ok(_)) => found.push(&from[..values.byte_offset()]),
            Some(Err(error)) => return Err(format!("its JSON object is broken: {error}")),
            None => {}
        }
        rest = &from[values.byte_offset().max(1)..];
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::reply::{Captions, Composed, FrameCaption};
    use super::*;

    const GOOD: &str = r#"{"caption": "a dog } in { the \" sun"}"#;

    fn caption(answer: &str) -> Result<(String, bool), String> {
        find::<FrameCaption>(answer, false, &Secrets::default()).map(|found| {
            assert_eq!(reread::<FrameCaption>(found.json).as_ref(), Ok(&found.reply));
            (found.reply.caption, found.is_taken_out)
        })
    }

    #[test]
    fn the_one_object_is_taken_out_of_what_stands_around_it() {
        let draft = r#"{"caption": "a draft"}"#;
        for around in [
            "```json\n@\n```".to_owned(),
            "```\n@\n```\n".to_owned(),
            "Here you are:\n\n```JSON\n@\n```\nAnything else?".to_owned(),
            "Sure! @".to_owned(),
            "@ I hope that helps {or not}.".to_owned(),
            "\u{feff}@".to_owned(),
            "\u{feff}```json\r\n@\r\n```".to_owned(),
            "<think>It is {a dog}, I think.</think>@".to_owned(),
            "<think>\n\n</think>\n\n```json\n@\n```".to_owned(),
            format!("<think>First {draft}, no.</think>\n@"),
            format!("<think>a</think> {draft} <think>b</think> @"),
            format!("The template opened the thoughts: {draft}\n</think>\n@"),
            format!("[THINK]{draft}[/THINK]@"),
            format!("◁think▷{draft}◁/think▷@"),
            "<think>x</think><answer>@</answer>".to_owned(),
            "<|begin_of_box|>@<|end_of_box|>".to_owned(),
            "The keys {}, then: @".to_owned(),
            "@ {\"note\": \"an object of another kind\"}".to_owned(),
            "@\n@".to_owned(),
            "@ or, in other words, {\"caption\":\"a dog } in { the \\\" sun\"}".to_owned(),
            "A set {1, 2}, a list [3], {{ and }}: @".to_owned(),
        ] {
            let found = caption(&around.replace('@', GOOD));
            assert_eq!(found, Ok(("a dog } in { the \" sun".to_owned(), true)), "{around}");
        }
        for plain in [GOOD.to_owned(), format!("\n {GOOD}\r\n")] {
            assert!(!caption(&plain).unwrap().1, "{plain}");
        }
        // Marks in the text are the text's.
        let marks = r#"{"caption": "<think> stands on a sign, {\"caption\": \"x\"} too"}"#;
        assert!(!caption(marks).unwrap().1);
    }

    #[test]
    fn what_is_ambiguous_or_broken_is_refused() {
        let other = r#"{"caption": "a cat"}"#;
        for (answer, expected) in [
            (format!("{GOOD} {other}"), "2 different JSON objects that fit the schema, expected one"),
            (format!("Draft: {GOOD}\nFinal: ```json\n{other}\n```"), "2 different JSON objects"),
            (format!("<think>{GOOD}</think>"), "it is not JSON"),
            (format!("<think>I would say {GOOD}"), "it has `<think>` and no `</think>` after it"),
            (format!("{GOOD} <think>or rather"), "it has `<think>` and no `</think>` after it"),
            (format!("<think>a</think> <think>{GOOD}"), "no `</think>` after it"),
            (format!("[{GOOD}]"), "it is not a JSON object"),
            (format!("```json\n[{GOOD}]\n```"), "stands in a list"),
            (format!("```json\n{{\"answer\": {GOOD}}}\n```"), "unknown field `answer`"),
            (format!("{{\"answer\": {GOOD},}}"), "its JSON object is broken: "),
            ("```json\n{\"caption\": \"a dog\",}\n```".to_owned(), "its JSON object is broken: "),
            (format!("{GOOD} and {{\"caption\": \"a c"), "its JSON object is broken: EOF"),
            ("{\u{201c}caption\u{201d}: \u{201c}a dog\u{201d}}".to_owned(), "it is not JSON"),
            ("```python\n{'caption': 'a dog'}\n```".to_owned(), "it is not JSON"),
            (r#"{"caption": "a dog", "caption": "a cat"}"#.to_owned(), "duplicate field `caption`"),
            (r#"See: {"caption": "a dog", "caption": "a cat"}"#.to_owned(), "duplicate field `caption`"),
            (
                r#"{"note": 1} {"title": 2}"#.to_owned(),
                "it holds 2 JSON objects, and none fits: of the first,",
            ),
            (r#"Here: {"caption": ""}"#.to_owned(), "`caption` is empty"),
            (serde_json::to_string(GOOD).unwrap(), "it is not a JSON object"),
            ("{".repeat(9000), "it is not JSON"),
            (r#"{"a":"#.repeat(9000), "its JSON object is broken: EOF"),
        ] {
            let fault = caption(&answer).unwrap_err();
            assert!(fault.contains(expected), "{answer}: {fault}");
        }
        let twice = reread::<FrameCaption>(r#"{"caption": "a dog", "caption": "a cat"}"#);
        assert_eq!(twice.map(|reply| reply.caption).as_deref(), Ok("a cat"));
        assert!(find::<FrameCaption>(GOOD, true, &Secrets::default()).is_ok());
        let fault =
            find::<FrameCaption>(&format!("I think {GOOD} is"), true, &Secrets::default()).unwrap_err();
        assert!(fault.starts_with("it is not JSON"), "{fault}");
    }

    #[test]
    fn answers_of_any_kind_are_read_in_time() {
        for part in ["{", "[{\"", "[", "{}", "{\"a\"}", "\"{", "<think>", "{\"a\": [", "\u{feff}{ \u{201c}"] {
            let answer = part.repeat((1 << 20) / part.len());
            assert!(caption(&answer).is_err());
        }
    }

    fn parse<R: Reply>(text: &str) -> Result<R, String> {
        find(text, false, &Secrets::default()).map(|found| found.reply)
    }

    #[test]
    fn replies_are_held_to_the_schema() {
        let good = json!({
            "summary": "a", "detailed": "b", "abstract": "c", "keywords": ["d", "e"], "partial": "f",
        });
        assert_eq!(parse::<Captions>(&good.to_string()).unwrap().keywords, ["d", "e"]);
        let with = |key: &str, value: Value| {
            let mut reply = good.clone();
            reply[key] = value;
            reply.to_string()
        };
        let without = good.to_string().replace("\"summary\"", "\"Summary\"");
        for (text, expected) in [
            (String::new(), "it is not JSON: EOF"),
            ("Here you are: {}".to_owned(), "it does not fit the schema: missing field `summary`"),
            ("```json\n{}\n```".to_owned(), "missing field `summary`"),
            (r#"["a", "b", "c", ["d"], "f"]"#.to_owned(), "it is not a JSON object"),
            ("{}".to_owned(), "it does not fit the schema: missing field `summary`"),
            (without, "unknown field `Summary`"),
            (with("keywords", json!("d, e")), "invalid type: string \"d, e\", expected a sequence"),
            (with("keywords", json!([])), "`keywords` is empty"),
            (with("partial", json!(" ")), "`partial` is empty"),
            (with("summary", json!(null)), "invalid type: null"),
        ] {
            let fault = parse::<Captions>(&text).unwrap_err();
            assert!(fault.contains(expected), "{text}: {fault}");
        }
        let fault = parse::<Captions>(&with("keywords", json!("d".repeat(9000)))).unwrap_err();
        assert!(fault.starts_with("it does not fit the schema") && fault.len() < 320, "{fault}");
    }

    #[test]
    fn a_query_that_is_not_usable_may_be_empty() {
        let reply = |usable| json!({"usable": usable, "query": "", "from_reference": "", "from_text": ""});
        assert!(!parse::<Composed>(&reply(false).to_string()).unwrap().usable);
        assert_eq!(parse::<Composed>(&reply(true).to_string()).unwrap_err(), "`query` is empty");
    }
}
