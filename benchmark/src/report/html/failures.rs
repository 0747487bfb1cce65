//! What went wrong, query by query.

use gve::page::escaped;

use super::Page;
use crate::report::failures::{DatasetFailures, Failure, Ranked, Shown};

/// Longer texts are cut; some queries of the benchmark have 17,000 words.
const LONGEST_TEXT: usize = 400;

type Pictures<'a> = &'a [Result<String, String>];

/// A list for each result that has query records.
pub(super) fn lists(page: &Page<'_>) -> String {
    if page.failures.is_empty() {
        return "  <p class=\"hint\">No query records lie beside the results (<code>DATASET.queries.jsonl</code>), so \
                there is nothing to show here.</p>\n"
            .to_owned();
    }
    let mut out = String::new();
    if page.failures.iter().any(|failures| !failures.with_media) {
        out.push_str(
            "  <p class=\"hint\">Where a data set was not at hand there are ids alone: make the report with \
             <code>--data ROOT</code> to see texts and pictures.</p>\n",
        );
    }
    let mut first = true;
    for model in page.failures.chunk_by(|a, b| a.model == b.model) {
        let name = escaped(&model[0].model);
        out.push_str(&format!("  <div data-model=\"{name}\" data-origin=\"yours\">\n  <h3>{name}</h3>\n"));
        for failures in model {
            // One open list says what the closed ones hold.
            out.push_str(&list(failures, first && !failures.worst.is_empty(), page.pictures));
            first &= failures.worst.is_empty();
        }
        out.push_str("  </div>\n");
    }
    out
}

fn list(failures: &DatasetFailures, open: bool, pictures: Pictures<'_>) -> String {
    let open = if open { " open" } else { "" };
    let DatasetFailures { queries, failed, worst, .. } = failures;
    let shown = match worst.len() {
        shown if shown == *failed => String::new(),
        shown => format!(", the worst {shown} of them here"),
    };
    let cases: String = worst.iter().map(|failure| case(failure, pictures)).collect();
    format!(
        "  <details{open}><summary><b>{}</b> <span>{failed} of {queries} queries below full score{shown}</span></summary>\n  \
         <ul class=\"cases\">\n{cases}  </ul></details>\n",
        escaped(&failures.dataset)
    )
}

fn case(failure: &Failure, pictures: Pictures<'_>) -> String {
    let place = match (&failure.error, failure.rank) {
        (Some(error), _) => format!("could not be embedded: {}", escaped(error)),
        (None, Some(1)) => "a relevant document comes first, others too late".to_owned(),
        (None, Some(rank)) => format!("first relevant document at rank {rank}"),
        (None, None) => "no relevant document among those ranked".to_owned(),
    };
    let text =
        failure.query.text.as_deref().map(|text| format!("<p class=\"text\">{}</p>", escaped(&cut(text))));
    let picture = failure
        .query
        .picture
        .is_some()
        .then(|| format!("<figure>{}</figure>", frame(&failure.query, pictures)));
    let wanted = failure.positive.as_ref().map(|positive| figure(positive, failure.rank, pictures));
    let top: String =
        failure.top.iter().enumerate().map(|(row, ranked)| figure(ranked, Some(row + 1), pictures)).collect();
    let got = if top.is_empty() {
        String::new()
    } else {
        format!("<h4>ranked first</h4><div class=\"strip\">{top}</div>")
    };
    format!(
        "    <li class=\"case\">\n    <div class=\"query\"><h4>query</h4>{}{}<p class=\"place\">{place}</p><p class=\"id\">{}</p></div>\n    \
         <div class=\"wanted\">{}</div>\n    <div class=\"got\">{got}</div>\n    </li>\n",
        picture.unwrap_or_default(),
        text.unwrap_or_default(),
        escaped(&failure.query.id),
        wanted.map(|figure| format!("<h4>wanted</h4>{figure}")).unwrap_or_default(),
    )
}

fn figure(ranked: &Ranked, rank: Option<usize>, pictures: Pictures<'_>) -> String {
    let class = if ranked.relevant { " class=\"relevant\"" } else { "" };
    let rank = rank.map_or_else(|| "not ranked".to_owned(), |rank| format!("<b>{rank}</b>"));
    let score = ranked.score.map(|score| format!(" · {}", format!("{score:.3}").replace('-', "−")));
    let mark = if ranked.relevant { " ✓" } else { "" };
    let text = ranked.item.text.as_deref().map(|text| format!("<span>{}</span>", escaped(&cut(text))));
    format!(
        "<figure{class}>{}<figcaption>{rank}{}{mark}{}<span class=\"id\">{}</span></figcaption></figure>",
        frame(&ranked.item, pictures),
        score.unwrap_or_default(),
        text.unwrap_or_default(),
        escaped(&ranked.item.id)
    )
}

/// The picture, the reason why there is none, or nothing where none is to be expected.
fn frame(item: &Shown, pictures: Pictures<'_>) -> String {
    let Some(number) = item.picture else { return String::new() };
    match pictures.get(number) {
        Some(Ok(_)) => {
            format!(
                "<div class=\"frame\"><img data-picture=\"{number}\" alt=\"{}\"></div>",
                escaped(&item.id)
            )
        }
        Some(Err(reason)) => {
            format!("<div class=\"frame\" title=\"{}\">cannot be decoded</div>", escaped(reason))
        }
        None => String::new(),
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST_TEXT) {
        Some((end, _)) => format!("{}…", text[..end].trim_end()),
        None => text.to_owned(),
    }
}
