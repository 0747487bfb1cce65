//! The data sets of the benchmark and how each is scored: `datasets.toml`, typed.
//!
//! Nothing is looked up with a default. A key that nobody reads, an id that is not there, a metric without a
//! cut-off that is reported: each is an error that names the file and the line. A prompt lost to a typo would
//! lower scores and show nowhere.

mod metric;
mod parse;
mod spec;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

pub use metric::{MainMetric, UnknownMetric};
pub use spec::{Candidates, DatasetSpec, Domain, Layout, SubDomain, Task};

use crate::Error;
use crate::text_file;

/// Where the file lies that the built-in manifest is made of, as errors name it.
const BUILTIN_PATH: &str = "datasets.toml";

#[allow(clippy::expect_used, reason = "the file is part of the program, and a test parses it")]
static BUILTIN: LazyLock<Manifest> = LazyLock::new(|| {
    Manifest::from_toml(include_str!("../../../datasets.toml"), Path::new(BUILTIN_PATH))
        .expect("the built-in datasets.toml is valid")
});

/// The data sets there are.
///
/// ```
/// use uvrb::manifest::{MainMetric, Manifest};
///
/// let spec = Manifest::builtin().get("CMRB")?;
/// assert_eq!(spec.metric, MainMetric::RecallAt(10));
/// let error = Manifest::builtin().get("CRB_G").unwrap_err();
/// assert!(error.to_string().contains("did you mean `CRB-G`?"));
/// # Ok::<(), uvrb::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    datasets: Vec<DatasetSpec>,
    /// Where each entry stands.
    origins: Vec<Origin>,
}

#[derive(Debug, Clone, PartialEq)]
struct Origin {
    path: PathBuf,
    line: usize,
}

impl Manifest {
    /// The 16 data sets of UVRB.
    pub fn builtin() -> &'static Self {
        &BUILTIN
    }

    /// The 16 data sets of UVRB, and behind them those of the user's own file, where there is one.
    ///
    /// # Errors
    /// [`Error::Io`], and those of [`Self::from_toml`] and [`Self::extended`].
    pub fn builtin_with(datasets_file: Option<&Path>) -> Result<Self, Error> {
        match datasets_file {
            Some(path) => Self::builtin().extended(Self::from_file(path)?),
            None => Ok(Self::builtin().clone()),
        }
    }

    /// Reads a file of entries.
    ///
    /// # Errors
    /// [`Error::Io`], and those of [`Self::from_toml`].
    pub fn from_file(path: &Path) -> Result<Self, Error> {
        let text = text_file::read(path)?;
        Self::from_toml(&text, path)
    }

    /// Reads entries; `path` names their file in errors.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the line: bad TOML, unknown or missing keys, values that make no sense, an id
    /// twice.
    pub fn from_toml(text: &str, path: &Path) -> Result<Self, Error> {
        let entries = parse::parse(text, path)?;
        let mut manifest = Self { datasets: Vec::new(), origins: Vec::new() };
        for (spec, line) in entries {
            manifest.push(spec, Origin { path: path.to_owned(), line })?;
        }
        Ok(manifest)
    }

    /// This manifest and behind it the entries of `other`.
    ///
    /// # Errors
    /// [`Error::Invalid`] where an id is in both.
    pub fn extended(&self, other: Self) -> Result<Self, Error> {
        let mut manifest = self.clone();
        for (spec, origin) in other.datasets.into_iter().zip(other.origins) {
            manifest.push(spec, origin)?;
        }
        Ok(manifest)
    }

    /// The data set `id`.
    ///
    /// # Errors
    /// [`Error::UnknownDataset`] with the nearest id.
    pub fn get(&self, id: &str) -> Result<&DatasetSpec, Error> {
        self.datasets
            .iter()
            .find(|spec| spec.id == id)
            .ok_or_else(|| Error::UnknownDataset { id: id.to_owned(), hint: self.hint(id) })
    }

    /// Prompts by data set, from a TOML file of `ID = "prompt"` lines.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Invalid`] with the line: bad TOML, or an id that is no data set, whose prompt
    /// nobody would read.
    pub fn read_prompts(&self, path: &Path) -> Result<BTreeMap<String, String>, Error> {
        let text = text_file::read(path)?;
        let prompts = parse::prompts(&text, path)?;
        for (id, line) in prompts.iter().map(|(id, (_, line))| (id, *line)) {
            self.get(id).map_err(|error| Error::invalid(path, line, error))?;
        }
        Ok(prompts.into_iter().map(|(id, (prompt, _))| (id, prompt)).collect())
    }

    /// All data sets, in the order of the file.
    pub fn datasets(&self) -> &[DatasetSpec] {
        &self.datasets
    }

    fn push(&mut self, spec: DatasetSpec, origin: Origin) -> Result<(), Error> {
        if let Some(first) = self.datasets.iter().position(|other| other.id == spec.id) {
            let Origin { path, line } = &self.origins[first];
            let reason = format!(
                "data set `{}` is there already, in {}:{line}; give it another id",
                spec.id,
                path.display()
            );
            return Err(Error::invalid(origin.path, origin.line, reason));
        }
        self.datasets.push(spec);
        self.origins.push(origin);
        Ok(())
    }

    fn hint(&self, id: &str) -> String {
        let wanted = simplified(id);
        let nearest = self
            .datasets
            .iter()
            .map(|spec| (strsim::damerau_levenshtein(&wanted, &simplified(&spec.id)), &spec.id))
            .min_by_key(|(distance, _)| *distance);
        match nearest {
            // A third of the letters wrong is as far as a typo goes.
            Some((distance, nearest)) if distance * 3 <= wanted.chars().count() => {
                format!("did you mean `{nearest}`?")
            }
            _ => "`uvrb list` shows the ids".into(),
        }
    }
}

/// Letters and digits alone: `CRB_G`, `crb-g` and `CRB-G` are the same to a hint.
fn simplified(id: &str) -> String {
    id.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_name_the_nearest_id_or_the_list() {
        for (typo, expected) in [
            ("CRB_G", "did you mean `CRB-G`?"),
            ("msrvtt", "did you mean `MSRVTT`?"),
            ("MSVRTT", "did you mean `MSRVTT`?"),
            ("MSRVTT_I2V", "did you mean `MSRVTT-I2V`?"),
            ("LoVR-Th", "did you mean `LoVR-TH`?"),
            ("ActivityNet", "`uvrb list` shows the ids"),
            ("", "`uvrb list` shows the ids"),
        ] {
            let error = Manifest::builtin().get(typo).unwrap_err();
            assert_eq!(error.to_string(), format!("unknown data set `{typo}`: {expected}"));
        }
    }
}
