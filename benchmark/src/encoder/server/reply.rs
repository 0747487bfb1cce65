//! What a server answers.

use std::sync::OnceLock;

use serde::Deserialize;
use serde_json::Value;

use crate::encoder::{EncodeError, check};

/// Longest message of a server that is passed on, in characters.
const MAX_MESSAGE: usize = 300;

/// Servers add fields of their own.
#[derive(Deserialize)]
struct Reply {
    data: Vec<Datum>,
}

#[derive(Deserialize)]
struct Datum {
    embedding: Vec<f32>,
}

/// The embedding in the answer to one input. `dim` is the width that all have, set by the first.
pub(super) fn embedding(text: &str, dim: &OnceLock<usize>) -> Result<Vec<f32>, EncodeError> {
    let fault = |reason: String| EncodeError::new(format!("the server's answer is no embedding: {reason}"));
    let reply: Reply = serde_json::from_str(text).map_err(|error| fault(error.to_string()))?;
    let Ok([Datum { embedding }]) = <[Datum; 1]>::try_from(reply.data).map_err(|data| data.len()) else {
        return Err(fault("`data` must hold one entry for one input".into()));
    };
    check(&embedding).map_err(|error| fault(error.to_string()))?;
    let expected = *dim.get_or_init(|| embedding.len());
    if embedding.len() != expected {
        return Err(fault(format!("it has dimension {}, those before have {expected}", embedding.len())));
    }
    Ok(embedding)
}

/// What a server says in an error: the message of OpenAI's or FastAPI's error body, else the body itself, as one
/// line of bounded length.
pub(super) fn error_message(body: &str) -> String {
    let json: Value = serde_json::from_str(body).unwrap_or_default();
    let places = ["/error/message", "/message", "/detail", "/error"];
    let message = places.iter().find_map(|place| json.pointer(place)?.as_str()).unwrap_or(body);
    let line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MAX_MESSAGE) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_checked() {
        let dim = OnceLock::new();
        let good = r#"{"object": "list", "data": [{"index": 0, "embedding": [1, -0.5, 2e-3]}], "usage": {}}"#;
        assert_eq!(embedding(good, &dim).unwrap(), [1.0, -0.5, 0.002]);
        for (bad, named) in [
            ("", "EOF"),
            ("<html>", "expected value"),
            ("{}", "data"),
            (r#"{"data": []}"#, "one entry"),
            (r#"{"data": [{"embedding": [1, 2, 3]}, {"embedding": [1, 2, 3]}]}"#, "one entry"),
            (r#"{"data": [{"embedding": []}]}"#, "empty"),
            (r#"{"data": [{"embedding": [0, 0, 0]}]}"#, "zero"),
            (r#"{"data": [{"embedding": [1, null, 3]}]}"#, "null"),
            (r#"{"data": [{"embedding": [1, NaN, 3]}]}"#, "expected value"),
            (r#"{"data": [{"embedding": [1, 1e39, 3]}]}"#, "not finite"),
            (r#"{"data": [{"embedding": [[1, 2, 3]]}]}"#, "sequence"),
            (r#"{"data": [{"embedding": "AACAPw=="}]}"#, "string"),
            (r#"{"data": [{"embedding": [1, 2]}]}"#, "dimension 2"),
        ] {
            let error = embedding(bad, &dim).unwrap_err().to_string();
            assert!(error.contains(named), "{bad}: {error}");
        }
    }

    #[test]
    fn the_message_of_an_error_is_found() {
        for (body, expected) in [
            (r#"{"error": {"message": "too\nlong", "type": "BadRequest"}}"#, "too long"),
            (r#"{"object": "error", "message": "no such model"}"#, "no such model"),
            (r#"{"detail": "Not Found"}"#, "Not Found"),
            ("<h1>Bad\n gateway</h1>", "<h1>Bad gateway</h1>"),
            ("", ""),
        ] {
            assert_eq!(error_message(body), expected);
        }
        assert_eq!(error_message(&"ä".repeat(400)).chars().count(), MAX_MESSAGE + 3);
    }
}
