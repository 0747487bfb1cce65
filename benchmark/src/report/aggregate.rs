//! From scores of data sets to the nine abilities (arXiv 2510.27571, table 2).

use std::collections::BTreeMap;

use crate::manifest::{DatasetSpec, Domain, Manifest, SubDomain, Task};

/// What a group of data sets probes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ability {
    /// Text to video; the mean of its three domains.
    Textual,
    /// Text with an image or a clip to video.
    Composed,
    /// Image or clip to video.
    Visual,
    /// The gist of a clip.
    CoarseGrained,
    /// Details; the mean of its three sub-domains.
    FineGrained,
    /// Long videos or long texts.
    LongContext,
    /// Objects and where they are.
    Spatial,
    /// Motion, of objects and of the camera.
    Temporal,
    /// Texts about a part of the video.
    PartiallyRelevant,
}

impl Ability {
    /// All nine, in the order of the paper's table.
    pub const ALL: [Self; 9] = [
        Self::Textual,
        Self::Composed,
        Self::Visual,
        Self::CoarseGrained,
        Self::FineGrained,
        Self::LongContext,
        Self::Spatial,
        Self::Temporal,
        Self::PartiallyRelevant,
    ];
    /// Those whose mean is AVG.
    pub const MAIN: [Self; 6] = [
        Self::Textual,
        Self::Composed,
        Self::Visual,
        Self::CoarseGrained,
        Self::FineGrained,
        Self::LongContext,
    ];

    /// The paper's abbreviation.
    pub fn code(self) -> &'static str {
        match self {
            Self::Textual => "TXT",
            Self::Composed => "CMP",
            Self::Visual => "VIS",
            Self::CoarseGrained => "CG",
            Self::FineGrained => "FG",
            Self::LongContext => "LC",
            Self::Spatial => "S",
            Self::Temporal => "T",
            Self::PartiallyRelevant => "PR",
        }
    }

    /// The name in words.
    pub fn title(self) -> &'static str {
        match self {
            Self::Textual => "text to video",
            Self::Composed => "composed to video",
            Self::Visual => "visual to video",
            Self::CoarseGrained => "coarse-grained",
            Self::FineGrained => "fine-grained",
            Self::LongContext => "long context",
            Self::Spatial => "spatial",
            Self::Temporal => "temporal",
            Self::PartiallyRelevant => "partially relevant",
        }
    }

    fn parts(self) -> Parts {
        match self {
            Self::Textual => Parts::Abilities([Self::CoarseGrained, Self::FineGrained, Self::LongContext]),
            Self::FineGrained => Parts::Abilities([Self::Spatial, Self::Temporal, Self::PartiallyRelevant]),
            Self::Composed => Parts::Datasets(|spec| spec.task == Task::Composed),
            Self::Visual => Parts::Datasets(|spec| spec.task == Task::Visual),
            Self::CoarseGrained => Parts::Datasets(|spec| spec.domain == Some(Domain::CoarseGrained)),
            Self::LongContext => Parts::Datasets(|spec| spec.domain == Some(Domain::LongContext)),
            Self::Spatial => Parts::Datasets(|spec| spec.sub_domain == Some(SubDomain::Spatial)),
            Self::Temporal => Parts::Datasets(|spec| spec.sub_domain == Some(SubDomain::Temporal)),
            Self::PartiallyRelevant => {
                Parts::Datasets(|spec| spec.sub_domain == Some(SubDomain::PartiallyRelevant))
            }
        }
    }

    /// The ids of the data sets that go into it.
    pub fn datasets(self) -> Vec<&'static str> {
        match self.parts() {
            Parts::Abilities(parts) => parts.iter().flat_map(|part| part.datasets()).collect(),
            Parts::Datasets(belongs) => {
                let specs = Manifest::builtin().datasets().iter();
                specs.filter(|spec| belongs(spec)).map(|spec| spec.id.as_str()).collect()
            }
        }
    }
}

/// What an ability is the mean of.
enum Parts {
    Abilities([Ability; 3]),
    Datasets(fn(&DatasetSpec) -> bool),
}

/// One model's means. A mean is missing where a score that goes into it is: it is never taken over fewer.
#[derive(Debug, Clone, PartialEq)]
pub struct Aggregate {
    /// In the order of [`Ability::ALL`].
    pub abilities: [Option<f64>; 9],
    /// AVG: the mean of [`Ability::MAIN`].
    pub average: Option<f64>,
    /// The mean of the benchmark's data sets.
    pub average_datasets: Option<f64>,
}

impl Aggregate {
    /// Of scores by data set; others than the benchmark's own do not count.
    pub fn of(scores: &BTreeMap<String, f64>) -> Self {
        let ability = |ability: Ability| ability_score(ability, scores);
        Self {
            abilities: Ability::ALL.map(ability),
            average: mean(Ability::MAIN.map(ability)),
            average_datasets: mean(
                Manifest::builtin().datasets().iter().map(|spec| scores.get(&spec.id).copied()),
            ),
        }
    }

    /// One ability's score.
    pub fn ability(&self, ability: Ability) -> Option<f64> {
        Ability::ALL.iter().zip(self.abilities).find(|(a, _)| **a == ability).and_then(|(_, score)| score)
    }
}

fn ability_score(ability: Ability, scores: &BTreeMap<String, f64>) -> Option<f64> {
    match ability.parts() {
        Parts::Abilities(parts) => mean(parts.map(|part| ability_score(part, scores))),
        Parts::Datasets(_) => mean(ability.datasets().into_iter().map(|id| scores.get(id).copied())),
    }
}

/// The mean, unless there is nothing or anything is missing.
fn mean(values: impl IntoIterator<Item = Option<f64>>) -> Option<f64> {
    let values = values.into_iter().collect::<Option<Vec<f64>>>()?;
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn abilities_are_made_of_the_data_sets_the_paper_names() {
        let cases: [(Ability, &[&str]); 7] = [
            (Ability::CoarseGrained, &["MSRVTT", "DiDeMo", "CRB-G"]),
            (Ability::Spatial, &["CRB-S", "VDC-O"]),
            (Ability::Temporal, &["CRB-T", "CMRB"]),
            (Ability::PartiallyRelevant, &["DREAM-E", "LoVR-TH", "PEV-K"]),
            (Ability::LongContext, &["LoVR-V", "VDC-D"]),
            (Ability::Composed, &["MS-TI", "MS-TV"]),
            (Ability::Visual, &["MSRVTT-I2V", "LoVR-C2V"]),
        ];
        for (ability, expected) in cases {
            assert_eq!(ability.datasets(), expected, "{}", ability.code());
        }
    }

    #[test]
    fn means_are_of_means_and_never_over_fewer() {
        let mut scores: BTreeMap<String, f64> =
            Manifest::builtin().datasets().iter().map(|spec| (spec.id.clone(), 0.0)).collect();
        scores.insert("CRB-S".into(), 0.9);
        let all = Aggregate::of(&scores);
        // 0.9 / 2 in S, / 3 in FG, / 3 in TXT; not 0.9 / 7 and so on.
        let close = |found: Option<f64>, expected: f64| {
            assert!((found.unwrap() - expected).abs() < 1e-12, "{found:?} {expected}");
        };
        close(all.ability(Ability::Spatial), 0.45);
        close(all.ability(Ability::FineGrained), 0.15);
        close(all.ability(Ability::Textual), 0.05);
        close(all.average, 0.2 / 6.0);
        close(all.average_datasets, 0.9 / 16.0);

        scores.insert("my-own".into(), 1.0);
        assert_eq!(Aggregate::of(&scores), all, "a data set of one's own counts nowhere");

        scores.remove("CMRB");
        let some = Aggregate::of(&scores);
        let missing: Vec<_> =
            Ability::ALL.into_iter().filter(|a| some.ability(*a).is_none()).map(Ability::code).collect();
        assert_eq!(missing, ["TXT", "FG", "T"]);
        assert_eq!((some.average, some.average_datasets), (None, None));
        assert_eq!(some.ability(Ability::Spatial), all.ability(Ability::Spatial));
    }
}
