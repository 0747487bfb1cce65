//! Examples as one page to look at, with nothing in it that is loaded from elsewhere.

use std::fmt::Write;

use rayon::prelude::*;

use super::{Count, Example, Kind, Review};
use crate::embedder::{Input, Part};
use crate::page::{STYLE, escaped, thumbnail};

/// Longer texts are cut.
const LONGEST_TEXT: usize = 600;
/// Negatives that are shown.
const MOST_NEGATIVES: usize = 4;

const OWN_STYLE: &str = "\
article{border-top:1px solid var(--line);padding:.8em 0}\
.row{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,230px),1fr));gap:1em}\
figure{margin:0}figcaption{color:var(--faint);font-size:13px}figure img{max-width:100%;display:block;margin:.2em 0;border-radius:3px}\
.positive{border-left:3px solid #009e73;padding-left:.7em}.negative{border-left:3px solid #d55e00;padding-left:.7em}\
.query{border-left:3px solid #0072b2;padding-left:.7em}.text{white-space:pre-wrap;overflow-wrap:anywhere;margin:.2em 0;color:var(--ink)}\
.wrong{color:#d55e00;margin:.2em 0}.place{font-size:13px;margin:0 0 .4em}";

/// The page of what was found, as HTML. Pictures are decoded for it.
pub fn page(review: &Review, title: &str) -> String {
    let title = escaped(title);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">\n\
         <title>{title}</title>\n<style>{STYLE}{OWN_STYLE}</style>\n<h1>{title}</h1>\n"
    );
    _ = writeln!(page, "<p>{}</p>", escaped(&summary(review)));
    let tasks: Vec<_> = review.tasks.iter().map(|(task, count)| (task.to_string(), *count)).collect();
    page.push_str(&table("task", &tasks));
    let sources: Vec<_> = review.sources.iter().map(|(source, count)| (source.clone(), *count)).collect();
    page.push_str(&table("source", &sources));
    let cases: Vec<String> = review.examples.par_iter().map(case).collect();
    let mut task = None;
    for (example, case) in review.examples.iter().zip(cases) {
        if task.replace(example.pair.task) != Some(example.pair.task) {
            _ = writeln!(page, "<h2>{}</h2>", example.pair.task);
        }
        page.push_str(&case);
    }
    page
}

/// What there is, in a sentence.
fn summary(review: &Review) -> String {
    let mut summary = format!("{} pairs of {} media", review.pairs(), review.media);
    for kind in Kind::ALL {
        if let Some(count) = review.findings.get(&kind) {
            _ = write!(summary, ", {count} {}", kind.name());
        }
    }
    summary
}

fn table(what: &str, rows: &[(String, Count)]) -> String {
    let mut table = format!("<table>\n<tr><th>{what}</th><th>pairs</th><th>negatives</th></tr>\n");
    for (name, Count { pairs, negatives }) in rows {
        let name = if name.is_empty() { "(none)" } else { name };
        _ = writeln!(table, "<tr><td>{}</td><td>{pairs}</td><td>{negatives}</td></tr>", escaped(name));
    }
    table + "</table>\n"
}

fn case(example: &Example) -> String {
    let Example { place, pair, findings } = example;
    let source = pair.source.as_ref().map(|source| format!(" · {}", escaped(source))).unwrap_or_default();
    let wrong: String =
        findings.iter().map(|reason| format!("<p class=\"wrong\">{}</p>", escaped(reason))).collect();
    let mut row = figure("query", &pair.query) + &figure("positive", &pair.positive);
    for negative in pair.negatives.iter().take(MOST_NEGATIVES) {
        row.push_str(&figure("negative", negative));
    }
    let more = pair.negatives.len().saturating_sub(MOST_NEGATIVES);
    let more = if more > 0 { format!(" · {more} more negatives") } else { String::new() };
    format!(
        "<article><p class=\"place\">{}{source}{more}</p>{wrong}<div class=\"row\">{row}</div></article>\n",
        escaped(place)
    )
}

fn figure(role: &str, input: &Input) -> String {
    let mut figure = format!("<figure class=\"{role}\"><figcaption>{role}</figcaption>");
    if let Some(instruction) = &input.instruction {
        _ = write!(figure, "<figcaption>instruction: {}</figcaption>", escaped(&cut(instruction)));
    }
    for part in &input.parts {
        match part {
            Part::Text(text) => _ = write!(figure, "<div class=\"text\">{}</div>", escaped(&cut(text))),
            part => {
                let name = escaped(&name(part));
                let lone = Input { parts: vec![part.clone()], ..Input::default() };
                match thumbnail(&lone) {
                    Ok(Some(uri)) => _ = write!(figure, "<img src=\"{uri}\" alt=\"{name}\">"),
                    Ok(None) => {}
                    Err(reason) => _ = write!(figure, "<p class=\"wrong\">{}</p>", escaped(&reason)),
                }
                _ = write!(figure, "<figcaption>{name}</figcaption>");
            }
        }
    }
    figure + "</figure>"
}

fn name(part: &Part) -> String {
    let last = |path: Option<&std::path::Path>| {
        path.and_then(|path| path.file_name())
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default()
    };
    match part {
        Part::Image(image) => last(image.source.path()),
        Part::Frames(frames) => format!("{} frames", frames.frames.len()),
        Part::Video(video) => {
            let stretch =
                video.range.bounds().map(|(start, end)| format!(" {start}-{end} s")).unwrap_or_default();
            last(video.source.path()) + &stretch
        }
        Part::Text(_) => String::new(),
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(LONGEST_TEXT) {
        Some((end, _)) => format!("{}…", text[..end].trim_end()),
        None => text.to_owned(),
    }
}
