//! Columns that are named by what they hold, as the trainers of sentence-transformers and FlagEmbedding have
//! them: <https://sbert.net/docs/sentence_transformer/training_overview.html#dataset-format>,
//! <https://github.com/FlagOpen/FlagEmbedding/tree/master/examples/finetune/embedder>.

use serde_json::{Map, Value};

use super::Layout;
use crate::import::error::Fault;
use crate::import::reading::{Reading, Row};
use crate::pairs::Pair;

/// anchor, positive and negatives; query, pos and neg; sentence1, sentence2 and score.
pub(super) const SENTENCE_TRANSFORMERS: Layout = Layout {
    name: "sentence-transformers",
    about: "columns: anchor/positive/negative_1.., query/pos/neg (lists), sentence1/sentence2/score",
    keys: &[
        &["anchor", "positive"],
        &["query", "pos"],
        &["query", "positive"],
        &["question", "answer"],
        &["sentence1", "sentence2"],
    ],
    looks,
    read,
};

const QUERIES: [&str; 9] =
    ["anchor", "query", "question", "sentence1", "sentence_1", "sentence_A", "sentence_a", "text1", "text_1"];
const POSITIVES: [&str; 12] = [
    "positive",
    "positives",
    "pos",
    "answer",
    "passage",
    "document",
    "sentence2",
    "sentence_2",
    "sentence_B",
    "sentence_b",
    "text2",
    "text_2",
];
const NEGATIVES: [&str; 4] = ["negative", "negatives", "neg", "hard_negative"];

fn looks(fields: &Map<String, Value>) -> bool {
    let has = |names: &[&str]| names.iter().any(|name| fields.contains_key(*name));
    has(&QUERIES) && has(&POSITIVES)
}

fn read(row: &Row, reading: &Reading<'_>) -> Result<Vec<Pair>, Fault> {
    let (query, positive) = (row.one_of(&QUERIES)?, row.one_of(&POSITIVES)?);
    if !reading.is_pair(row)? {
        return Ok(Vec::new());
    }
    let side = |key: &str, value: &Value| reading.side(value).map_err(|reason| format!("`{key}` {reason}"));
    let mut asked = side(query, row.get(query).unwrap_or(&Value::Null))?;
    asked.instruction = row.instruction();
    let mut negatives = Vec::new();
    for key in row.fields.keys().filter(|key| is_negative(key)) {
        for value in row.list(key) {
            negatives.push(side(key, value)?);
        }
    }
    let pairs = row.list(positive).iter().map(|value| {
        let pair = Pair::new(asked.clone(), side(positive, value)?)?;
        Ok(Pair { negatives: negatives.clone(), ..pair })
    });
    pairs.collect::<Result<_, String>>().map_err(Fault::Row)
}

/// Whether a column is one of negatives: `negative`, `neg_3`, ...
fn is_negative(key: &str) -> bool {
    let stem = key.trim_end_matches(|c: char| c.is_ascii_digit());
    NEGATIVES.contains(&stem.strip_suffix('_').unwrap_or(stem)) || NEGATIVES.contains(&stem)
}
