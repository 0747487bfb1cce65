//! JSON, for programs.
//!
//! `models` holds the user's, `published` the paper's: `{"<name>": {"datasets": {..}, "abilities": {"AVG":
//! .., "TXT": .., ..}, "avg_datasets": ..}}`. A score or mean that is missing is `null`; `datasets` names all
//! 16, and after them the user's own. `subsampled` lists what rests on part of a data set, `other_sizes` what
//! rests on one of another size than UVRB's.

use serde_json::{Map, Value, json};

use super::aggregate::Ability;
use super::correlation::{Coefficient, Method};
use super::{AVERAGE, Model, Report};
use crate::Error;
use crate::report::published::published_models;

/// The report as JSON, indented.
///
/// # Errors
/// Only if the paper's tables, which are compiled in, are broken.
pub fn render(report: &Report) -> Result<String, Error> {
    let (mut models, mut published) = (Map::new(), Map::new());
    for model in &report.models {
        let map = if model.yours { &mut models } else { &mut published };
        map.insert(model.name.clone(), render_model(report, model));
    }
    for paper in published_models()? {
        if let Some(model) = published.get_mut(&paper.name) {
            model["abilities_as_printed"] = json!(paper.abilities_as_printed);
        }
    }
    let value = json!({
        "models": models,
        "published": published,
        "against": report.baseline,
        "differences": differences(report),
        "correlations": {
            "abilities": Ability::ALL.map(Ability::code),
            "pearson": matrix(&report.correlations(Method::Pearson), |c| json!(c.value)),
            "spearman": matrix(&report.correlations(Method::Spearman), |c| json!(c.value)),
            "models": matrix(&report.correlations(Method::Pearson), |c| json!(c.models)),
        },
        "notes": report.notes(),
    });
    Ok(format!("{value:#}\n"))
}

fn render_model(report: &Report, model: &Model) -> Value {
    let ids = report.datasets.iter().chain(&report.own_datasets);
    let datasets: Map<_, _> = ids.map(|id| (id.clone(), json!(model.scores.get(id)))).collect();
    let mut abilities = Map::from_iter([(AVERAGE.to_owned(), json!(model.aggregate.average))]);
    for (ability, score) in Ability::ALL.iter().zip(model.aggregate.abilities) {
        abilities.insert(ability.code().to_owned(), json!(score));
    }
    let mut value = json!({
        "datasets": datasets,
        "abilities": abilities,
        "avg_datasets": model.aggregate.average_datasets,
    });
    if !model.subsamples.is_empty() {
        value["subsampled"] = json!(model.subsamples);
    }
    if !model.other_sizes.is_empty() {
        value["other_sizes"] = json!(model.other_sizes);
    }
    value
}

/// The user's models against the baseline, in the form of `models`.
fn differences(report: &Report) -> Value {
    let (abilities, datasets) = (report.ability_table(), report.dataset_table());
    let mut all = Map::new();
    for (number, model) in report.models.iter().enumerate().filter(|(_, model)| model.yours) {
        let named = |table: &super::Table, skip: usize| -> Map<String, Value> {
            let cells = table.columns.iter().zip(&table.rows[number]).skip(skip);
            cells.map(|(column, cell)| (column.name.clone(), json!(cell.difference))).collect()
        };
        let value = json!({
            "datasets": named(&datasets, 1),
            "abilities": named(&abilities, 0),
            "avg_datasets": datasets.rows[number].first().and_then(|cell| cell.difference),
        });
        all.insert(model.name.clone(), value);
    }
    Value::Object(all)
}

fn matrix(coefficients: &[Vec<Coefficient>], of: impl Fn(&Coefficient) -> Value) -> Value {
    coefficients.iter().map(|row| row.iter().map(&of).collect::<Vec<_>>()).collect::<Vec<_>>().into()
}
