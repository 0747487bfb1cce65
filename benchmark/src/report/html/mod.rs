//! One page that works offline: tables to sort, a radar of the abilities, correlations, and what went wrong.
//!
//! The page is written here, complete; its script adds sorting, filtering and the radar. It asks nothing of
//! any network, and its content security policy would not let it; nor does it run any script but its own,
//! whatever a query says.

mod failures;
mod scores;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gve::page::escaped;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::aggregate::Ability;
use super::correlation::{Coefficient, Method};
use super::failures::DatasetFailures;
use super::table::over_models;
use super::{Model, Report};
use crate::result::ModelResults;

const TEMPLATE: &str = include_str!("../page/page.html");
const STYLE: &str = include_str!("../page/page.css");
const SCRIPT: &str = include_str!("../page/page.js");

/// What goes onto a page.
#[derive(Debug, Clone, Copy)]
pub struct Page<'a> {
    /// The numbers.
    pub report: &'a Report,
    /// The results they come from.
    pub results: &'a [ModelResults],
    /// What to show of each result's failures.
    pub failures: &'a [DatasetFailures],
    /// `data:` URIs of [`Pictures`](super::failures::Pictures), in their order; or why there is none.
    pub pictures: &'a [Result<String, String>],
}

/// The page as HTML.
pub fn render(page: &Page<'_>) -> String {
    let Page { report, .. } = page;
    let yours = report.models.iter().filter(|model| model.yours && model.width.is_none()).count();
    let models = if yours == 1 { "One model".to_owned() } else { format!("{yours} models") };
    let lead = format!(
        "{models} beside the paper’s {}, on the universal video retrieval benchmark. Differences are against \
         {}.",
        report.models.iter().filter(|model| !model.yours).count(),
        escaped(&report.baseline)
    );
    let parts = [
        ("css", STYLE.to_owned()),
        ("js", SCRIPT.to_owned()),
        ("script-hash", format!("sha256-{}", STANDARD.encode(Sha256::digest(SCRIPT.as_bytes())))),
        ("lead", lead),
        ("summary", scores::summary(page)),
        ("ability-table", scores::abilities(report)),
        ("dataset-table", scores::datasets(report)),
        ("correlations", correlations(report)),
        ("failures", failures::lists(page)),
        ("notes", report.notes().iter().map(|note| format!("    <li>{}</li>\n", escaped(note))).collect()),
        ("data", data(page)),
    ];
    fill(TEMPLATE, &parts)
}

/// Puts `parts` into the places of a template, `{{name}}`. What is put in is not looked at again.
fn fill(template: &str, parts: &[(&str, String)]) -> String {
    let mut out =
        String::with_capacity(template.len() + parts.iter().map(|(_, part)| part.len()).sum::<usize>());
    for (number, piece) in template.split("{{").enumerate() {
        match piece.split_once("}}") {
            Some((name, rest)) if number > 0 => {
                let part = parts.iter().find(|(known, _)| *known == name);
                out.push_str(part.map_or("", |(_, text)| text));
                out.push_str(rest);
            }
            _ => out.push_str(piece),
        }
    }
    out
}

/// What the script needs, as JSON that cannot end the element it stands in.
fn data(page: &Page<'_>) -> String {
    let models: Vec<_> = page.report.models.iter().map(drawn).collect();
    let abilities = Ability::ALL.map(|ability| json!({"code": ability.code(), "title": ability.title()}));
    let pictures: Vec<_> = page.pictures.iter().map(|picture| picture.as_ref().ok()).collect();
    let data = json!({"models": models, "abilities": abilities, "pictures": pictures});
    data.to_string().replace('<', "\\u003c")
}

/// What is drawn of a model: the abilities that compare to others', or, marked, all of one that has none of
/// these.
fn drawn(model: &Model) -> Value {
    let whole =
        Ability::ALL.map(|ability| model.aggregate.ability(ability).filter(|_| !model.is_apart([ability])));
    let apart = whole.iter().all(Option::is_none) && model.aggregate.abilities.iter().any(Option::is_some);
    let abilities = if apart { model.aggregate.abilities } else { whole };
    json!({"name": model.name, "abilities": abilities, "apart": apart})
}

fn correlations(report: &Report) -> String {
    [(Method::Pearson, "Pearson"), (Method::Spearman, "Spearman")]
        .map(|(method, name)| matrix(name, &report.correlations(method)))
        .concat()
}

fn matrix(name: &str, coefficients: &[Vec<Coefficient>]) -> String {
    let head = |ability: Ability, scope: &str| {
        format!("<th scope=\"{scope}\" title=\"{}\">{}</th>", ability.title(), ability.code())
    };
    let mut out = format!(
        "    <table class=\"matrix\"><caption>{name} <span>{}</span></caption>\n    <thead><tr><td></td>{}</tr></thead>\n    <tbody>\n",
        over_models(coefficients),
        Ability::ALL.map(|ability| head(ability, "col")).concat()
    );
    for (ability, row) in Ability::ALL.iter().zip(coefficients) {
        let cells: String = row.iter().map(coefficient).collect();
        out.push_str(&format!("    <tr>{}{cells}</tr>\n", head(*ability, "row")));
    }
    out.push_str("    </tbody></table>\n");
    out
}

fn coefficient(coefficient: &Coefficient) -> String {
    let models = coefficient.models;
    let Some(value) = coefficient.value else { return format!("<td title=\"n = {models}\">–</td>") };
    let class = if value < 0.0 { "minus" } else { "plus" };
    // Full colour at 1; squared, so that weak ones stay pale.
    let strength = value * value * 100.0;
    let text = format!("{value:.2}").replace('-', "−");
    format!("<td class=\"{class}\" style=\"--strength: {strength:.0}%\" title=\"n = {models}\">{text}</td>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_filled_once() {
        let parts = [("a", "{{b}}".to_owned()), ("b", "B".to_owned())];
        assert_eq!(fill("x{{a}}y{{b}}z", &parts), "x{{b}}yBz");
    }

    /// Every place of the template has a part, and the other way round.
    #[test]
    fn the_template_has_the_places_that_are_filled() {
        let places: Vec<_> =
            TEMPLATE.split("{{").skip(1).filter_map(|piece| piece.split_once("}}")).collect();
        let mut names: Vec<_> = places.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        let expected = [
            "ability-table",
            "correlations",
            "css",
            "data",
            "dataset-table",
            "failures",
            "js",
            "lead",
            "notes",
            "script-hash",
            "summary",
        ];
        assert_eq!(names, expected);
    }
}
