//! What a server answers.

use std::sync::OnceLock;

use serde::Deserialize;

use crate::encoder::{EncodeError, check};

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
            (r#"{"data": [{"embedding": [1, 1e39, 3]}]}"#, "out of range"),
            (r#"{"data": [{"embedding": [[1, 2, 3]]}]}"#, "sequence"),
            (r#"{"data": [{"embedding": "AACAPw=="}]}"#, "string"),
            (r#"{"data": [{"embedding": [1, 2]}]}"#, "dimension 2"),
        ] {
            let error = embedding(bad, &dim).unwrap_err().to_string();
            assert!(error.contains(named), "{bad}: {error}");
        }
    }
}
