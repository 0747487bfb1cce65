//! Plain text for terminals.

use super::aggregate::Ability;
use super::correlation::{Coefficient, Method};
use super::{APART, Report, Table};

/// Wider tables are cut into several below each other.
const WIDTH: usize = 118;

/// The report as text.
pub fn render(report: &Report) -> String {
    let mut out = String::new();
    for table in [report.ability_table(), report.dataset_table()] {
        let (whole, apart) = table.split();
        out.push_str(&format!("{}\n\n{}", table.title, render_table(report, &whole)));
        if let Some(apart) = apart {
            out.push_str(&format!("{} {APART}\n\n{}", table.title, render_table(report, &apart)));
        }
    }
    for (method, name) in [(Method::Pearson, "Pearson"), (Method::Spearman, "Spearman")] {
        out.push_str(&render_correlations(name, &report.correlations(method)));
    }
    for note in report.notes() {
        out.push_str(&format!("{note}\n"));
    }
    out
}

/// Lines of a grid: the first cell left, the others right.
struct Grid(Vec<Vec<String>>);

impl Grid {
    /// Aligned, in as many blocks as fit; a line of no cells becomes a rule.
    fn render(&self) -> String {
        let columns = self.0.iter().map(Vec::len).max().unwrap_or(0);
        let width_of = |column: usize| {
            let cells = self.0.iter().filter_map(|line| line.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width_of).collect();
        let mut out = String::new();
        let mut start = 1;
        while start < columns {
            let mut end = start;
            let mut width = widths[0];
            while end < columns && (end == start || width + 2 + widths[end] <= WIDTH) {
                width += 2 + widths[end];
                end += 1;
            }
            for line in &self.0 {
                out.push_str(&self.line(line, &widths, start..end, width));
            }
            out.push('\n');
            start = end;
        }
        out
    }

    fn line(
        &self,
        line: &[String],
        widths: &[usize],
        columns: std::ops::Range<usize>,
        width: usize,
    ) -> String {
        let Some(first) = line.first() else { return format!("{}\n", "-".repeat(width)) };
        let mut text = format!("{first:<name$}", name = widths[0]);
        for column in columns {
            let cell = line.get(column).map_or("", String::as_str);
            text.push_str(&format!("  {cell:>cell_width$}", cell_width = widths[column]));
        }
        format!("{}\n", text.trim_end())
    }
}

fn render_table(report: &Report, table: &Table) -> String {
    let mut lines = vec![
        std::iter::once(&"model".to_owned())
            .chain(table.columns.iter().map(|column| &column.name))
            .cloned()
            .collect::<Vec<_>>(),
    ];
    // A star stands outside the column of digits.
    let starred = |text: String| if text.ends_with('*') { text } else { format!("{text} ") };
    let any_star = table.rows.iter().flatten().any(|cell| cell.apart);
    let pad = |text: String| if any_star { starred(text) } else { text };
    let mut last_yours = None;
    for (model, row) in table.models.iter().map(|&model| &report.models[model]).zip(&table.rows) {
        if last_yours.is_some_and(|yours| yours != model.yours) {
            lines.push(Vec::new());
        }
        last_yours = Some(model.yours);
        let scores = row.iter().map(|cell| pad(cell.score_text()));
        lines.push(std::iter::once(model.name.clone()).chain(scores).collect());
        if row.iter().any(|cell| cell.difference.is_some()) {
            let differences = row.iter().map(|cell| pad(cell.difference_text()));
            lines
                .push(std::iter::once(format!("  against {}", report.baseline)).chain(differences).collect());
        }
    }
    if any_star {
        for name in lines[0].iter_mut().skip(1) {
            name.push(' ');
        }
    }
    Grid(lines).render()
}

fn render_correlations(method: &str, matrix: &[Vec<Coefficient>]) -> String {
    let codes = Ability::ALL.map(Ability::code);
    let mut lines = vec![std::iter::once("").chain(codes).map(str::to_owned).collect::<Vec<_>>()];
    for (code, row) in codes.iter().zip(matrix) {
        let values =
            row.iter().map(|c| c.value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}")));
        lines.push(std::iter::once((*code).to_owned()).chain(values).collect());
    }
    format!("Correlation of abilities ({method}, {})\n\n{}", over_models(matrix), Grid(lines).render())
}

/// On how many models a matrix rests.
pub(super) fn over_models(matrix: &[Vec<Coefficient>]) -> String {
    let counts = || matrix.iter().flatten().map(|c| c.models);
    match (counts().min().unwrap_or(0), counts().max().unwrap_or(0)) {
        (least, most) if least == most => format!("n = {most} models"),
        (least, most) => format!("n = {least} to {most} models"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_align_and_break() {
        let grid = Grid(vec![
            vec!["model".into(), "AVG".into(), "T".into()],
            vec!["a".into(), "0.500".into()],
            vec![],
            vec!["longer".into(), "-".into(), "0.25".into()],
        ]);
        assert_eq!(
            grid.render(),
            "model     AVG     T\na       0.500\n-------------------\nlonger      -  0.25\n\n"
        );
        let wide = Grid(vec![
            std::iter::once("m".to_owned()).chain((0..20).map(|n| format!("column-{n:02}"))).collect(),
        ]);
        let text = wide.render();
        assert!(text.lines().all(|line| line.len() <= WIDTH), "{text}");
        assert_eq!(text.matches("column-").count(), 20);
        assert_eq!(text.matches("\n\n").count(), 2, "two blocks: {text}");
    }
}
