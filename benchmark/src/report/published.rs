//! The paper's results: 16 models on 16 data sets (arXiv 2510.27571, tables 1 and 2).

use std::collections::BTreeMap;
use std::path::Path;

use crate::Error;

const DATASETS: &str = include_str!("../../published/published_datasets.csv");
const ABILITIES: &str = include_str!("../../published/published_abilities.csv");

/// The model that results are compared to where nothing else is asked for: the paper's best.
pub const BASELINE: &str = "GVE-7B";

/// One row of both tables.
#[derive(Debug, Clone, PartialEq)]
pub struct PublishedModel {
    /// The paper's name for it.
    pub name: String,
    /// Scores by data set (table 1); without its AVG.
    pub datasets: BTreeMap<String, f64>,
    /// Scores by ability and `AVG`, as printed in table 2. For GME-2B (AVG) and VLM2Vec-V2 (AVG, TXT, CG)
    /// these do not follow from table 1: misprints of the paper.
    pub abilities_as_printed: BTreeMap<String, f64>,
}

/// A model's name and its scores by column.
type Row = (String, BTreeMap<String, f64>);

/// The paper's models, in its order.
///
/// # Errors
/// Only if the tables that are compiled in are broken.
pub fn published_models() -> Result<Vec<PublishedModel>, Error> {
    let mut abilities: BTreeMap<_, _> = parse("published_abilities.csv", ABILITIES)?.into_iter().collect();
    let with_abilities = |(name, mut datasets): Row| {
        datasets.remove("AVG");
        let abilities_as_printed = abilities.remove(&name).unwrap_or_default();
        PublishedModel { name, datasets, abilities_as_printed }
    };
    Ok(parse("published_datasets.csv", DATASETS)?.into_iter().map(with_abilities).collect())
}

/// Rows of `model,COLUMN,...`; numbers, no quotes.
fn parse(path: &str, text: &str) -> Result<Vec<Row>, Error> {
    let mut lines = text.lines();
    let header: Vec<_> = lines.next().unwrap_or_default().split(',').skip(1).collect();
    let row = |(number, line): (usize, &str)| {
        let wrong = |reason: &str| Error::invalid(Path::new(path), number + 2, reason);
        let (name, values) = line.split_once(',').ok_or_else(|| wrong("no columns"))?;
        let values: Vec<f64> =
            values.split(',').map(str::parse).collect::<Result<_, _>>().map_err(|_| wrong("not a number"))?;
        if values.len() != header.len() {
            return Err(wrong("not as many columns as the header"));
        }
        Ok((name.to_owned(), header.iter().map(|name| (*name).to_owned()).zip(values).collect()))
    };
    lines.enumerate().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Manifest;
    use crate::report::aggregate::Ability;

    #[test]
    fn every_model_has_every_number() {
        let models = published_models().unwrap();
        assert_eq!(models.len(), 16);
        for model in &models {
            for spec in Manifest::builtin().datasets() {
                assert!(model.datasets.contains_key(&spec.id), "{}: {}", model.name, spec.id);
            }
            assert_eq!(model.datasets.len(), 16);
            for ability in Ability::ALL {
                assert!(model.abilities_as_printed.contains_key(ability.code()), "{}", model.name);
            }
        }
        assert!(models.iter().any(|model| model.name == BASELINE));
    }

    #[test]
    fn broken_tables_name_their_line() {
        for (text, named) in
            [("model,A\nm,0.5\nm,x", "t.csv:3: not a number"), ("model,A\nm,1,2", "t.csv:2: not as many")]
        {
            let message = parse("t.csv", text).unwrap_err().to_string();
            assert!(message.starts_with(named), "{message}");
        }
    }
}
