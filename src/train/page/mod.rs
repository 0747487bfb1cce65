//! A run as one page to look at: `run.html`, from what `log.jsonl` holds. Nothing in it is loaded from elsewhere.

mod chart;
mod curves;

use std::fmt::Write;
use std::fs;

use super::TrainError;
use super::config::{TrainConfig, Trained};
use crate::page::{STYLE, escaped};
use crate::store::{IoError, write_file};
use chart::Chart;
pub(in crate::train) use curves::Curves;

/// What is of these pages alone.
const OWN_STYLE: &str = "\
main{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,520px),1fr));gap:1.6em 2em}\
svg{width:100%;height:auto;display:block}svg text{fill:var(--faint);font-size:11px}.grid{stroke:var(--line)}\
.key{display:flex;flex-wrap:wrap;gap:.1em 1em;font-size:13px;color:var(--faint)}.key i{display:inline-block;width:1em;height:.25em;margin-right:.4em;vertical-align:middle}\
.best td{font-weight:bold}";

/// Writes the page of the run in `output`.
pub(super) fn write(config: &TrainConfig, total_steps: usize) -> Result<(), TrainError> {
    let log = config.output.join("log.jsonl");
    let text = fs::read_to_string(&log).map_err(IoError::of("read", log))?;
    let page = page(config, total_steps, &Curves::read(&text));
    Ok(write_file(config.output.join("run.html"), |file| std::io::Write::write_all(file, page.as_bytes()))?)
}

fn page(config: &TrainConfig, total_steps: usize, curves: &Curves) -> String {
    let name = config.output.file_name().unwrap_or(config.output.as_os_str()).to_string_lossy();
    let name = escaped(&name);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width\">\n<title>{name}</title>\n<style>{STYLE}{OWN_STYLE}</style>\n<h1>{name}</h1>\n"
    );
    _ = writeln!(page, "<p>{}</p>\n<main>", escaped(&summary(config, total_steps, curves)));
    let mut add = |title: &str, what: &str, chart: Chart<'_>| {
        if !chart.is_empty() {
            _ = writeln!(page, "<section><h2>{title}</h2>{}\n<p>{what}</p></section>", chart.svg(title));
        }
    };
    let end = total_steps;
    let of = |names: &[&str]| Chart::of(end, names.iter().filter_map(|name| curves.named(name)));
    let group = |prefix: &str| Chart::of(end, curves.with_prefix(prefix));
    add("Loss", "of a step, and its running mean", of(&["loss"]).smoothed());
    add(
        "Recall on held-out pairs",
        "share of the queries that find what they should: at rank 1",
        Chart::of(end, curves.with_prefix("recall@1/").chain(curves.named("recall@1"))).with_points(),
    );
    add("Recall within ten", "the same, among the first ten", group("recall@10/").with_points());
    add("UVRB", "main scores by data set", group("uvrb/").with_points());
    add(
        "Cosine of positives, and what is left to the hardest negative",
        "the gap should grow; the cosine may stay",
        of(&["positive_score", "hardest_negative_gap"]).smoothed(),
    );
    add("Learning rate", "of a step", of(&["learning_rate"]));
    add("Tasks", "share of each task in the batches of an epoch so far", group("task_share/"));
    add(
        "Alignment of tasks",
        "mean cosine of positive pairs at the start of an epoch, by which the pyramid chooses",
        group("alignment/").with_points(),
    );
    add(
        "What the prober tells apart",
        "how often a query is nearer to its own positive than to another's; 0.5 is by chance",
        group("separation/").with_points(),
    );
    add("Probability of tasks", "by epoch", group("probability/").with_points());
    add("Norm of the gradient", "before clipping", of(&["gradient_norm"]).smoothed());
    add("Pairs per second", "of a step", of(&["pairs_per_second"]).smoothed());
    page.push_str("</main>\n");
    page.push_str(&table(curves));
    page
}

/// What the run is, and how far it has come.
fn summary(config: &TrainConfig, total_steps: usize, curves: &Curves) -> String {
    let trained = match config.train {
        Trained::Lora => "an adapter",
        Trained::Full => "all weights",
    };
    let (size, rate) = (config.batch.size, config.optimizer.learning_rate);
    let mut summary = format!(
        "{trained} of {}, step {} of {total_steps}, batches of {size}, learning rate {rate:e}",
        config.model.path,
        curves.last_step()
    );
    if let Some((step, metric, value)) = curves.best() {
        _ = write!(summary, "; best {metric} {value:.4} at step {step}, in best/");
    }
    if let Some(reason) = curves.end() {
        _ = write!(summary, "; ended after {reason}");
    }
    summary
}

/// The scores as numbers, a row for each evaluation.
fn table(curves: &Curves) -> String {
    let names: Vec<&str> =
        curves.names().filter(|name| name.starts_with("recall@") || name.starts_with("uvrb/")).collect();
    let steps = curves.steps_of(&names);
    if steps.is_empty() {
        return String::new();
    }
    let head: String = names.iter().map(|name| format!("<th>{}</th>", escaped(name))).collect();
    let mut table = format!("<table>\n<tr><th>step</th>{head}</tr>\n");
    for step in steps {
        let cell = |name: &&str| match curves.at(name, step) {
            Some(value) => format!("<td>{value:.4}</td>"),
            None => "<td></td>".to_owned(),
        };
        let class = if curves.best().is_some_and(|(best, ..)| best == step) { " class=\"best\"" } else { "" };
        let cells: String = names.iter().map(cell).collect();
        _ = writeln!(table, "<tr{class}><td>{step}</td>{cells}</tr>");
    }
    table.push_str("</table>\n");
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = r#"{"event":"evaluation","step":0,"recall":{"t2v":{"recall@1":0.25,"recall@10":0.5}}}
{"event":"best","step":0,"metric":"recall@1","value":0.25}
{"event":"epoch","step":0,"epoch":0,"alignment":{"t2v":0.1},"probabilities":{"t2v":1.0},"mined_pairs":0}
{"event":"step","step":1,"epoch":0,"tasks":["t2v"],"loss":2.0,"positive_score":0.2,"hardest_negative_gap":null,"learning_rate":0.1,"gradient_norm":1.0,"task_shares":{"t2v":1.0},"pairs_per_second":3.0}
{"event":"step","step":2,"epoch":0,"tasks":["t2v"],"loss":1.0,"positive_score":0.4,"hardest_negative_gap":0.1,"learning_rate":0.05,"gradient_norm":1.0,"task_shares":{"t2v":1.0},"pairs_per_second":3.0}
{"event":"evaluation","step":2,"recall":{"t2v":{"recall@1":0.75,"recall@10":1.0}}}
{"event":"scores","step":2,"scores":{"uvrb/<MSRVTT>":0.5}}
{"event":"best","step":2,"metric":"recall@1","value":0.75}
{"event":"stopped","step":2,"reason":"2 evaluations in a row without a gain"}
"#;

    fn config() -> TrainConfig {
        let text = "output = \"runs/a<b\"\n[model]\npath = \"m\"\n[data]\npairs = [\"p.jsonl\"]\n";
        toml::from_str(text).unwrap()
    }

    #[test]
    fn the_page_shows_curves_scores_and_how_it_ended() {
        let page = page(&config(), 4, &Curves::read(LOG));
        for part in [
            "<title>a&lt;b</title>",
            "an adapter of m, step 2 of 4, batches of 1024",
            "best recall@1 0.7500 at step 2, in best/; ended after 2 evaluations in a row without a gain",
            "<h2>Loss</h2>",
            "<h2>Recall on held-out pairs</h2>",
            "<h2>UVRB</h2>",
            "<th>uvrb/&lt;MSRVTT&gt;</th>",
            "</i>&lt;MSRVTT&gt; 0.5</span>",
            "<tr class=\"best\"><td>2</td>",
            "<td>0.2500</td>",
        ] {
            assert!(page.contains(part), "{part} is not in {page}");
        }
        assert!(!page.contains("<MSRVTT>") && !page.contains("http"), "{page}");
    }

    #[test]
    fn a_run_that_has_just_begun_has_a_page() {
        let page = page(&config(), 4, &Curves::read(""));
        assert!(page.contains("step 0 of 4") && !page.contains("<svg") && !page.contains("<table"), "{page}");
    }
}
