//! Results beside the paper's 16 models: tables, correlations and a page.
//!
//! A [`Report`] holds every model's scores and means. [`table`], [`markdown`], [`csv`] and [`json`] print it;
//! [`html`] makes one page of it, with the queries that failed ([`failures`]) and pictures of them
//! ([`thumbnail`](gve::page::thumbnail)).

pub mod aggregate;
pub mod correlation;
pub mod csv;
pub mod failures;
pub mod html;
pub mod json;
pub mod markdown;
mod model;
pub mod published;
pub mod table;

use std::collections::BTreeSet;

use crate::Error;
use crate::manifest::Manifest;
use crate::result::ModelResults;
use aggregate::Ability;
use correlation::{Coefficient, Method, correlations};
pub use model::Model;
use published::{BASELINE, published_models};

/// The mean over abilities, as the paper heads its column.
pub const AVERAGE: &str = "AVG";

/// Every model's scores.
#[derive(Debug, Clone)]
pub struct Report {
    /// The benchmark's data sets, in the order of the manifest.
    pub datasets: Vec<String>,
    /// Data sets of the user's own, which go into no mean.
    pub own_datasets: Vec<String>,
    /// The user's models, then the paper's; each best first, those without AVG last.
    pub models: Vec<Model>,
    /// The name of the model that the user's are compared to.
    pub baseline: String,
}

/// A table to be printed in one format or another.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// What the columns are.
    pub title: &'static str,
    /// Their heads.
    pub columns: Vec<Column>,
    /// The model of each row, by its place in [`Report::models`]; all of them, in a table as a report gives
    /// it.
    pub models: Vec<usize>,
    /// One for each model: a cell for each column.
    pub rows: Vec<Vec<Cell>>,
}

impl Table {
    /// The scores that compare to the paper's, and, where there are any, those of copies and parts, which
    /// compare to nothing but their like and stand in a table of their own. Models without a score are in the
    /// first.
    pub fn split(&self) -> (Self, Option<Self>) {
        let part = |apart: bool, keeps: &dyn Fn(&[Cell]) -> bool| {
            let blank = Cell { score: None, difference: None, apart: false };
            let kept = self.models.iter().zip(&self.rows).filter(|(_, row)| keeps(row));
            let cells = |row: &[Cell]| -> Vec<Cell> {
                row.iter().map(|cell| if cell.apart == apart { *cell } else { blank }).collect()
            };
            let (models, rows) = kept.map(|(model, row)| (*model, cells(row))).unzip();
            Self { title: self.title, columns: self.columns.clone(), models, rows }
        };
        let any_apart = |row: &[Cell]| row.iter().any(|cell| cell.apart);
        let any_whole = |row: &[Cell]| row.iter().any(|cell| cell.score.is_some() && !cell.apart);
        let apart = self.rows.iter().any(|row| any_apart(row)).then(|| part(true, &any_apart));
        (part(false, &|row| any_whole(row) || !any_apart(row)), apart)
    }
}

/// What a table of scores is headed by that compare to nothing but their like.
pub const APART: &str = "of copies and parts, which compare to nothing but their like";

/// The head of a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// An abbreviation or an id.
    pub name: String,
    /// The same in words.
    pub title: String,
}

/// One score of one model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cell {
    /// The score; `None` where a result is missing.
    pub score: Option<f64>,
    /// For the user's models: by how much it is above the baseline's, where the two compare.
    pub difference: Option<f64>,
    /// Whether it compares to nothing but its like: it rests on part of a data set, or on one of another size
    /// than UVRB's.
    pub apart: bool,
}

/// A score, and of what part or copy it is where it compares to nothing but its like; else nothing.
type Scored = (Option<f64>, String);

impl Report {
    /// A report on `models` beside the paper's, compared to the model named `against` ([`BASELINE`] where
    /// `None`). `own_datasets` are ids beyond the built-in manifest.
    ///
    /// # Errors
    /// [`Error::Settings`] where `against` names no model.
    pub fn new(
        models: &[ModelResults],
        own_datasets: Vec<String>,
        against: Option<&str>,
    ) -> Result<Self, Error> {
        let mut yours: Vec<Model> = models.iter().flat_map(Model::of_results).collect();
        let mut paper: Vec<Model> = published_models()?
            .into_iter()
            .map(|model| Model::new(model.name, false, model.datasets))
            .collect();
        for group in [&mut yours, &mut paper] {
            // NaN cannot be: scores are checked when they are read. Missing sorts behind everything.
            group.sort_by(|a, b| {
                b.aggregate.average.partial_cmp(&a.aggregate.average).unwrap_or(std::cmp::Ordering::Equal)
            });
        }
        let models: Vec<Model> = yours.into_iter().chain(paper).collect();
        let baseline = against.unwrap_or(BASELINE).to_owned();
        if !models.iter().any(|model| model.name == baseline) {
            let names: Vec<_> = models.iter().map(|model| model.name.as_str()).collect();
            let reason = format!("no model `{baseline}` to compare to; there are: {}", names.join(", "));
            return Err(Error::Settings(reason));
        }
        let datasets = Manifest::builtin().datasets().iter().map(|spec| spec.id.clone()).collect();
        Ok(Self { datasets, own_datasets, models, baseline })
    }

    /// AVG and the nine abilities.
    pub fn ability_table(&self) -> Table {
        let average = Column { name: AVERAGE.into(), title: "mean of TXT, CMP, VIS, CG, FG and LC".into() };
        let abilities =
            Ability::ALL.map(|ability| Column { name: ability.code().into(), title: ability.title().into() });
        let scores = |model: &Model| -> Vec<_> {
            let average = (model.aggregate.average, model.part(Ability::MAIN));
            let ability = |ability: Ability| (model.aggregate.ability(ability), model.part([ability]));
            std::iter::once(average).chain(Ability::ALL.map(ability)).collect()
        };
        self.table("Abilities", std::iter::once(average).chain(abilities).collect(), scores)
    }

    /// The mean of the benchmark's data sets, each of them, and the user's own.
    pub fn dataset_table(&self) -> Table {
        let average = Column { name: AVERAGE.into(), title: "mean of the benchmark's data sets".into() };
        let ids: Vec<_> = self.datasets.iter().chain(&self.own_datasets).collect();
        let title = |id: &String| match Manifest::builtin().get(id) {
            Ok(spec) => spec.title.clone(),
            Err(_) => "a data set of your own, in no mean".to_owned(),
        };
        let columns = ids.iter().map(|id| Column { name: (*id).clone(), title: title(id) });
        let scores = |model: &Model| -> Vec<_> {
            let parts = self.datasets.iter().map(|id| model.dataset_part(id)).collect();
            let dataset = |id: &String| (model.scores.get(id).copied(), model.dataset_part(id).to_owned());
            std::iter::once((model.aggregate.average_datasets, parts))
                .chain(ids.iter().map(|id| dataset(id)))
                .collect()
        };
        self.table("Data sets", std::iter::once(average).chain(columns).collect(), scores)
    }

    fn table(
        &self,
        title: &'static str,
        columns: Vec<Column>,
        scores: impl Fn(&Model) -> Vec<Scored>,
    ) -> Table {
        let baseline = self.models.iter().find(|model| model.name == self.baseline).map(&scores);
        let baseline = baseline.unwrap_or_else(|| vec![(None, String::new()); columns.len()]);
        let row = |model: &Model| {
            let cell = |((score, part), (reference, reference_part)): (Scored, &Scored)| {
                let compared = model.yours && model.name != self.baseline && part == *reference_part;
                let difference = score.zip(*reference).filter(|_| compared).map(|(a, b)| a - b);
                Cell { score, difference, apart: !part.is_empty() && score.is_some() }
            };
            scores(model).into_iter().zip(&baseline).map(cell).collect()
        };
        let models = (0..self.models.len()).collect();
        Table { title, columns, models, rows: self.models.iter().map(row).collect() }
    }

    /// How the abilities go together over all models, once each, those left out of whose scores some compare to
    /// nothing but their like.
    pub fn correlations(&self, method: Method) -> Vec<Vec<Coefficient>> {
        let is_whole = |m: &&Model| m.subsamples.is_empty() && m.other_sizes.is_empty() && m.width.is_none();
        let whole = self.models.iter().filter(is_whole);
        let rows: Vec<Vec<_>> = whole.map(|model| model.aggregate.abilities.to_vec()).collect();
        correlations(&rows, method)
    }

    /// What a reader of the numbers has to know, a sentence or two each.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = vec![
            "AVG of abilities is the mean of TXT, CMP, VIS, CG, FG and LC; AVG of data sets the mean of all 16. \
             A mean is formed only where nothing that goes into it is missing."
                .to_owned(),
            "Abilities of the paper's models are computed from its table of data sets (arXiv 2510.27571, table 1). They \
             are within 0.0011 of its table of abilities, but for AVG of GME-2B and AVG, TXT and CG of VLM2Vec-V2, which \
             are misprints there."
                .to_owned(),
        ];
        if !self.own_datasets.is_empty() {
            notes.push(format!(
                "In no mean, being no part of the benchmark: {}.",
                self.own_datasets.join(", ")
            ));
        }
        for model in self.models.iter().filter(|model| model.width.is_none() && !model.subsamples.is_empty())
        {
            // Most often one setting for all data sets.
            let settings: BTreeSet<_> = model.subsamples.values().map(ToString::to_string).collect();
            let ids: Vec<_> = model.subsamples.keys().map(String::as_str).collect();
            notes.push(format!(
                "* {}: only a sub-sample was scored ({}) of {}. Such scores compare to nothing but their \
                 like.",
                model.name,
                settings.into_iter().collect::<Vec<_>>().join("; "),
                ids.join(", ")
            ));
        }
        notes.extend(self.models.iter().filter_map(Model::note_on_sizes));
        for model in &self.models {
            notes.extend(model.remarks.iter().map(|remark| format!("{}: {remark}.", model.name)));
        }
        notes
    }
}

impl Cell {
    /// The score in three digits, with a star where it compares to nothing but its like; `-` where it is
    /// missing.
    pub fn score_text(&self) -> String {
        let star = if self.apart { "*" } else { "" };
        self.score.map_or_else(|| "-".to_owned(), |score| format!("{score:.3}{star}"))
    }

    /// The difference in three digits with its sign; `-` where there is none.
    pub fn difference_text(&self) -> String {
        self.difference.map_or_else(|| "-".to_owned(), signed)
    }
}

/// Three digits with a sign, but for zero.
fn signed(value: f64) -> String {
    let text = format!("{value:+.3}");
    // Minus nothing is nothing.
    if text == "-0.000" || text == "+0.000" { "0.000".to_owned() } else { text }
}
