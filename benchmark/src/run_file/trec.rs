//! One line of a TREC run: `qid Q0 docid rank score tag`.

use super::{Collector, Entry, check_score};
use crate::Error;
use crate::ranking::Ranked;

/// Reads a line. Only query, document and score mean something; `Q0`, the rank and the tag may be anything.
pub(super) fn read_line(collector: &mut Collector<'_>, text: &str, line: usize) -> Result<(), Error> {
    let fields: Vec<&str> = text.split_ascii_whitespace().collect();
    let [query, _, document, _, score, _] = fields[..] else {
        let reason = format!("expected `qid Q0 docid rank score tag`, found {} fields", fields.len());
        return Err(collector.fault(line, reason));
    };
    let query = collector.query(query, line)?;
    let document = collector.document(query, document, line)?;
    let score = score
        .parse()
        .map_err(|_| format!("the score `{score}` is no number"))
        .and_then(check_score)
        .map_err(|reason| collector.fault(line, reason))?;
    let ranking = collector.entries[query].get_or_insert_default();
    ranking.push(Entry { ranked: Ranked { document, score }, line });
    Ok(())
}
