//! The main metric of a data set.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::metrics::CUTOFFS;

/// The one number by which a data set is compared, as `R@1`, `R@10` or `P@1` in text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum MainMetric {
    /// Any-hit recall, as UVRB counts: 1 where a positive is among the first k, else 0.
    RecallAt(usize),
    /// Positives among the first k, by k.
    PrecisionAt(usize),
}

impl MainMetric {
    /// What it is called among the scores of a result file, as in mteb.
    pub fn file_name(self) -> String {
        match self {
            Self::RecallAt(k) => format!("hit_rate_at_{k}"),
            Self::PrecisionAt(k) => format!("precision_at_{k}"),
        }
    }
}

/// A text that is no metric.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown metric `{0}`: use R@k (any-hit recall) or P@k (precision), k one of {CUTOFFS:?}")]
pub struct UnknownMetric(String);

impl FromStr for MainMetric {
    type Err = UnknownMetric;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || UnknownMetric(text.to_owned());
        let (kind, digits) = text.split_once('@').ok_or_else(unknown)?;
        let k = CUTOFFS.into_iter().find(|k| k.to_string() == digits).ok_or_else(unknown)?;
        match kind {
            "R" => Ok(Self::RecallAt(k)),
            "P" => Ok(Self::PrecisionAt(k)),
            _ => Err(unknown()),
        }
    }
}

impl fmt::Display for MainMetric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RecallAt(k) => write!(f, "R@{k}"),
            Self::PrecisionAt(k) => write!(f, "P@{k}"),
        }
    }
}

impl TryFrom<String> for MainMetric {
    type Error = UnknownMetric;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<MainMetric> for String {
    fn from(metric: MainMetric) -> Self {
        metric.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_read_and_written() {
        for (text, metric) in [
            ("R@1", MainMetric::RecallAt(1)),
            ("R@10", MainMetric::RecallAt(10)),
            ("R@1000", MainMetric::RecallAt(1000)),
            ("P@1", MainMetric::PrecisionAt(1)),
        ] {
            assert_eq!(text.parse(), Ok(metric));
            assert_eq!(metric.to_string(), text);
        }
        for text in ["R@2", "R@", "R", "", "r@1", "N@10", "R@01", "R@1 ", "P@-1"] {
            let error = MainMetric::from_str(text).unwrap_err().to_string();
            assert!(error.contains(&format!("`{text}`")) && error.contains("10, 20, 100"), "{error}");
        }
    }
}
