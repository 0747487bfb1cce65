//! The tables of scores, and the user's models at a glance.

use gve::page::escaped;

use super::Page;
use crate::report::aggregate::Ability;
use crate::report::model::count;
use crate::report::{APART, AVERAGE, Cell, Model, Report, Table};
use crate::result::{DatasetResult, ModelResults};

/// Of the user's models, so many are drawn in the radar at first.
const DRAWN_AT_FIRST: usize = 3;
/// Missing data sets named one by one.
const NAMED: usize = 5;

/// A card for each of the user's models.
pub(super) fn summary(page: &Page<'_>) -> String {
    let (table, report) = (page.report.ability_table(), page.report);
    let yours =
        report.models.iter().zip(&table.rows).filter(|(model, _)| model.yours && model.width.is_none());
    yours
        .map(|(model, row)| {
            let results = page.results.iter().find(|results| results.name == model.name);
            card(report, model, row.first(), results)
        })
        .collect()
}

fn card(report: &Report, model: &Model, average: Option<&Cell>, results: Option<&ModelResults>) -> String {
    let figure = average.map_or_else(|| "–".to_owned(), |cell| score(cell).0);
    let difference = average.and_then(|cell| cell.difference).map(|value| {
        format!(" <span>{} against {}</span>", signed(value, "span"), escaped(&report.baseline))
    });
    let mut out = format!(
        "  <article class=\"card\" data-model=\"{name}\" data-origin=\"yours\"><h3>{name}</h3>\n  \
         <p class=\"figure\"><b>{figure}</b> <span>{AVERAGE}{}</span></p>\n",
        difference.unwrap_or_default(),
        name = escaped(&model.name),
    );
    let remarks = results.map(|results| remarks(model, results)).unwrap_or_default();
    for line in std::iter::once(coverage(report, model)).chain(remarks) {
        out.push_str(&format!("  <p>{}</p>\n", escaped(&line)));
    }
    out.push_str("  </article>\n");
    out
}

/// How much of the benchmark there is.
fn coverage(report: &Report, model: &Model) -> String {
    let missing: Vec<_> = report.datasets.iter().filter(|id| !model.scores.contains_key(*id)).collect();
    let total = report.datasets.len();
    let scored = total - missing.len();
    if missing.is_empty() {
        return format!("all {total} data sets");
    }
    let named: Vec<_> = missing.iter().take(NAMED).map(|id| id.as_str()).collect();
    let more =
        if missing.len() > NAMED { format!(" and {} more", missing.len() - NAMED) } else { String::new() };
    format!("{scored} of {total} data sets; missing: {}{more}", named.join(", "))
}

/// What else a reader should know of a model's results.
fn remarks(model: &Model, results: &ModelResults) -> Vec<String> {
    let mut remarks = model.remarks.clone();
    if !model.subsamples.is_empty() {
        let number = count(model.subsamples.len(), "data set", "data sets");
        remarks.push(format!("* a sub-sample only of {number}"));
    }
    if !model.other_sizes.is_empty() {
        remarks.push(format!(
            "* not of UVRB's size: {}",
            count(model.other_sizes.len(), "data set", "data sets")
        ));
    }
    let results = || results.results.values().map(|stored| &stored.result);
    let made = results().map(provenance).next().unwrap_or_default();
    if results().all(|result| provenance(result) == made) && !made.is_empty() {
        remarks.push(made);
    }
    remarks
}

/// How a result was made, in a few words.
fn provenance(result: &DatasetResult) -> String {
    let setting = |key: &str| result.settings.get(key).and_then(|value| value.as_str()).map(str::to_owned);
    let version = result.gve_version.as_ref().map(|version| format!("gve {version}"));
    let prompt = result.prompt_style.as_ref().map(|style| format!("prompt as {style}"));
    [version, setting("device"), setting("dtype"), prompt]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(" · ")
}

/// The table of abilities, whose rows select what the radar draws.
pub(super) fn abilities(report: &Report) -> String {
    let groups = [("", 2), ("tasks", 3), ("domains", 3), ("sub-domains", 3)]
        .map(|(name, span)| (name.to_owned(), span));
    tables(report, &report.ability_table(), &groups, true)
}

/// The table of data sets, grouped by the ability they belong to.
pub(super) fn datasets(report: &Report) -> String {
    let mut groups = vec![(String::new(), 2)];
    for id in &report.datasets {
        // The last that names it is the narrowest.
        let ability = Ability::ALL.into_iter().rfind(|ability| ability.datasets().contains(&id.as_str()));
        let title = ability.map_or("", Ability::title);
        match groups.last_mut() {
            Some((last, span)) if last == title => *span += 1,
            _ => groups.push((title.to_owned(), 1)),
        }
    }
    if !report.own_datasets.is_empty() {
        groups.push(("your own".to_owned(), report.own_datasets.len()));
    }
    tables(report, &report.dataset_table(), &groups, false)
}

/// A table, and below it, where there are such, that of scores which compare to nothing but their like. Where
/// rows select what is drawn, one of each model does.
fn tables(report: &Report, both: &Table, groups: &[(String, usize)], selects: bool) -> String {
    let (whole, apart) = both.split();
    let mut out = table(report, &whole, "scores", groups, &|_| selects);
    if let Some(apart) = apart {
        let selects = |model: usize| selects && !whole.models.contains(&model);
        out.push_str(&format!("<p class=\"apart\">{} <span>{APART}</span></p>\n", both.title));
        out.push_str(&table(report, &apart, "scores apart", groups, &selects));
    }
    out
}

fn table(
    report: &Report,
    table: &Table,
    class: &str,
    groups: &[(String, usize)],
    selects: &dyn Fn(usize) -> bool,
) -> String {
    let group = |(name, span): &(String, usize)| match name.as_str() {
        "" => format!("<td colspan=\"{span}\"></td>"),
        name => format!(
            "<th class=\"group\" colspan=\"{span}\" scope=\"colgroup\"><span>{}</span></th>",
            escaped(name)
        ),
    };
    let heads: String = table
        .columns
        .iter()
        .map(|column| head("number", &column.name, &column.title, column.name == AVERAGE))
        .collect();
    let mut out = format!(
        "<table class=\"{class}\" aria-label=\"{}\">\n<thead>\n<tr>{}</tr>\n<tr>{}{heads}</tr>\n</thead>\n<tbody>\n",
        table.title,
        groups.iter().map(group).collect::<String>(),
        head("name", "model", "the model’s name", false),
    );
    let best = best_of_columns(table);
    for (&number, row) in table.models.iter().zip(&table.rows) {
        let model = &report.models[number];
        let name = escaped(&model.name);
        let (class, origin) = if model.yours { (" class=\"yours\"", "yours") } else { ("", "paper") };
        let title = if selects(number) {
            let drawn = (model.yours && number < DRAWN_AT_FIRST) || model.name == report.baseline;
            let checked = if drawn { " checked" } else { "" };
            format!(
                "<label><input type=\"checkbox\" value=\"{number}\" hidden{checked}> \
                 <span>{name}</span></label>"
            )
        } else {
            name.clone()
        };
        out.push_str(&format!(
            "<tr{class} data-model=\"{name}\" data-origin=\"{origin}\"><th scope=\"row\" \
             data-value=\"{name}\">{title}</th>"
        ));
        for (column, cell) in row.iter().enumerate() {
            out.push_str(&number_cell(cell, best[column], table.columns[column].name == AVERAGE));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table>\n");
    out
}

fn head(kind: &str, name: &str, title: &str, leads: bool) -> String {
    let class = if leads { " class=\"lead-column\"" } else { "" };
    format!(
        "<th scope=\"col\"{class} aria-sort=\"none\" data-kind=\"{kind}\" title=\"{}\"><button \
         type=\"button\">{}</button></th>",
        escaped(title),
        escaped(name)
    )
}

fn number_cell(cell: &Cell, best: Option<f64>, leads: bool) -> String {
    let (text, value) = score(cell);
    let is_best = !cell.apart && cell.score.is_some() && cell.score == best;
    let classes: Vec<_> = [("lead-column", leads), ("best", is_best), ("none", cell.score.is_none())]
        .into_iter()
        .filter_map(|(class, holds)| holds.then_some(class))
        .collect();
    let class = if classes.is_empty() { String::new() } else { format!(" class=\"{}\"", classes.join(" ")) };
    let difference = cell.difference.map(|value| signed(value, "small")).unwrap_or_default();
    format!("<td{class} data-value=\"{value}\">{text}{difference}</td>")
}

/// A score as it is read and as it is sorted by.
fn score(cell: &Cell) -> (String, String) {
    match cell.score {
        Some(score) => (cell.score_text(), score.to_string()),
        None => ("–".to_owned(), String::new()),
    }
}

/// A difference with a true minus sign, in an element that is coloured by its sign.
fn signed(value: f64, element: &str) -> String {
    let text = super::super::signed(value).replace('-', "−");
    let class = match text.chars().next() {
        Some('+') => " class=\"up\"",
        Some('−') => " class=\"down\"",
        _ => "",
    };
    format!("<{element}{class}>{text}</{element}>")
}

/// The highest score of each column among those that compare.
fn best_of_columns(table: &Table) -> Vec<Option<f64>> {
    let best = |column: usize| {
        let cells = table.rows.iter().map(|row| row[column]).filter(|cell| !cell.apart);
        cells.filter_map(|cell| cell.score).max_by(f64::total_cmp)
    };
    (0..table.columns.len()).map(best).collect()
}
