//! Markdown, for issues and model cards.

use super::aggregate::Ability;
use super::correlation::Method;
use super::table::over_models;
use super::{APART, Report, Table};

/// The report as GitHub-flavoured Markdown.
pub fn render(report: &Report) -> String {
    let mut out = String::from("# UVRB results\n");
    for table in [report.ability_table(), report.dataset_table()] {
        let (whole, apart) = table.split();
        out.push_str(&format!("\n## {}\n\n{}", table.title, render_table(report, &whole)));
        if let Some(apart) = apart {
            out.push_str(&format!("\n### {} {APART}\n\n{}", table.title, render_table(report, &apart)));
        }
    }
    for (method, name) in [(Method::Pearson, "Pearson"), (Method::Spearman, "Spearman")] {
        let matrix = report.correlations(method);
        out.push_str(&format!("\n## Correlation of abilities: {name}, {}\n\n", over_models(&matrix)));
        let codes = Ability::ALL.map(Ability::code);
        out.push_str(&head("", codes.into_iter()));
        for (code, row) in codes.iter().zip(&matrix) {
            let values =
                row.iter().map(|c| c.value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}")));
            out.push_str(&line(code, values));
        }
    }
    out.push('\n');
    for note in report.notes() {
        out.push_str(&format!("- {}\n", escape(&note)));
    }
    out
}

fn render_table(report: &Report, table: &Table) -> String {
    let names: Vec<String> = table.columns.iter().map(|column| escape(&column.name)).collect();
    let mut out = head("model", names.iter().map(String::as_str));
    for (model, row) in table.models.iter().map(|&model| &report.models[model]).zip(&table.rows) {
        let name = escape(&model.name);
        let name = if model.yours { format!("**{name}**") } else { name };
        out.push_str(&line(&name, row.iter().map(|cell| escape(&cell.score_text()))));
        if row.iter().any(|cell| cell.difference.is_some()) {
            let against = format!("against {}", escape(&report.baseline));
            out.push_str(&line(&against, row.iter().map(super::Cell::difference_text)));
        }
    }
    out
}

fn head<'a>(first: &str, names: impl Iterator<Item = &'a str> + Clone) -> String {
    let rule = line(":--", names.clone().map(|_| "--:".to_owned()));
    line(first, names.map(str::to_owned)) + &rule
}

fn line(first: &str, cells: impl Iterator<Item = String>) -> String {
    let cells: Vec<String> = std::iter::once(first.to_owned()).chain(cells).collect();
    format!("| {} |\n", cells.join(" | "))
}

/// Any string as text that is not taken for markup.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' | '\r' => out.push(' '),
            '\\' | '|' | '*' | '_' | '`' | '<' | '[' => out.extend(['\\', character]),
            other => out.push(other),
        }
    }
    out
}
