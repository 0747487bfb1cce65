//! One line of ranked JSON lines: a query with its documents.

use gve::text::Id;
use serde::Deserialize;

use super::{Collector, Entry, check_score};
use crate::Error;
use crate::ranking::Ranked;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    qid: Id,
    docs: Vec<Document>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a document's id, or {\"id\", \"score\"}")]
enum Document {
    Scored(Scored),
    Bare(Id),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scored {
    id: Id,
    score: f32,
}

pub(super) fn read_line(collector: &mut Collector<'_>, text: &str, line: usize) -> Result<(), Error> {
    let Line { qid, docs } = serde_json::from_str(text)
        .map_err(|error| collector.fault(line, format!("not a ranking: {error}")))?;
    let Id(qid) = qid;
    let query = collector.query(&qid, line)?;
    if collector.entries[query].is_some() {
        return Err(collector.fault(line, format!("a second ranking for query `{qid}`")));
    }
    let scored = docs.iter().filter(|document| matches!(document, Document::Scored(_))).count();
    if scored != 0 && scored != docs.len() {
        let reason =
            format!("{scored} of {} documents have a score; give all of them one, or none", docs.len());
        return Err(collector.fault(line, reason));
    }
    let mut ranking = Vec::with_capacity(docs.len());
    for (index, document) in docs.into_iter().enumerate() {
        let (id, score) = match document {
            Document::Scored(Scored { id, score }) => (id, score),
            // Falls with the rank, so that putting it in order by score changes nothing.
            Document::Bare(id) => (id, -(index as f32)),
        };
        let document = collector.document(query, &id.0, line)?;
        let score = check_score(score).map_err(|reason| collector.fault(line, reason))?;
        ranking.push(Entry { ranked: Ranked { document, score }, line });
    }
    collector.entries[query] = Some(ranking);
    Ok(())
}
