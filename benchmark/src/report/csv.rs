//! Comma-separated values (RFC 4180), for spreadsheets and data frames.
//!
//! One line for each model's scores, and for each of the user's models one more for its differences to the
//! baseline; the column `value` tells them apart. Missing is empty.

use super::{Cell, Model, Report};

/// The report as CSV.
pub fn render(report: &Report) -> String {
    let (abilities, datasets) = (report.ability_table(), report.dataset_table());
    let mut header: Vec<String> = ["model", "origin", "value"].map(str::to_owned).to_vec();
    header.extend(abilities.columns.iter().map(|column| column.name.clone()));
    header.push("AVG(datasets)".to_owned());
    header.extend(datasets.columns.iter().skip(1).map(|column| column.name.clone()));
    header.extend(["subsampled", "other_sizes"].map(str::to_owned));
    let mut out = line(&header);
    for ((model, abilities), datasets) in report.models.iter().zip(&abilities.rows).zip(&datasets.rows) {
        let cells: Vec<Cell> = abilities.iter().chain(datasets).copied().collect();
        out.push_str(&line(&fields(model, "score", cells.iter().map(|cell| cell.score))));
        if cells.iter().any(|cell| cell.difference.is_some()) {
            let value = format!("difference to {}", report.baseline);
            out.push_str(&line(&fields(model, &value, cells.iter().map(|cell| cell.difference))));
        }
    }
    out
}

fn fields(model: &Model, value: &str, numbers: impl Iterator<Item = Option<f64>>) -> Vec<String> {
    let origin = if model.yours { "yours" } else { "paper" };
    let mut fields = vec![model.name.clone(), origin.to_owned(), value.to_owned()];
    fields.extend(numbers.map(|number| number.map(|n| format!("{n:.6}")).unwrap_or_default()));
    fields.push(model.subsamples.keys().cloned().collect::<Vec<_>>().join(" "));
    fields.push(model.other_sizes.keys().cloned().collect::<Vec<_>>().join(" "));
    fields
}

fn line(fields: &[String]) -> String {
    let quoted: Vec<String> = fields.iter().map(|field| quote(field)).collect();
    format!("{}\r\n", quoted.join(","))
}

fn quote(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_where_they_must_be() {
        let cases = [
            ("plain", "plain"),
            ("a,b", "\"a,b\""),
            ("say \"x\"", "\"say \"\"x\"\"\""),
            ("a\nb", "\"a\nb\""),
        ];
        for (field, expected) in cases {
            assert_eq!(quote(field), expected);
        }
    }
}
