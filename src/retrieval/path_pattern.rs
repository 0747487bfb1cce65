use std::fmt;
use std::path::Path;
use std::str::FromStr;

use glob::{MatchOptions, Pattern};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::RetrievalError;

/// What paths look like: `*` is anything but `/`, `**` any folders, `?` a character, `[ab]` one of some. A
/// pattern without `/` is of the name alone, and another one of the whole path. Upper and lower case are the
/// same. Serde has it as the text that it is.
///
/// ```
/// use gve::retrieval::PathPattern;
///
/// # fn main() -> Result<(), gve::retrieval::RetrievalError> {
/// let pattern: PathPattern = "**/2025/*.mp4".parse()?;
/// assert!(pattern.matches("/home/me/2025/Lake.MP4".as_ref()));
/// assert!(!pattern.matches("/home/me/2025/may/lake.mp4".as_ref()));
/// let one = PathPattern::of_file("/home/me/[a].mp4".as_ref());
/// assert!(one.matches("/home/me/[a].mp4".as_ref()) && !one.matches("/home/me/a.mp4".as_ref()));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PathPattern(Pattern);

impl PathPattern {
    /// That of one file or folder, by its whole path.
    #[must_use]
    pub fn of_file(path: &Path) -> Self {
        // What is escaped is a pattern; as a name of its own it would be none of a path.
        Self(Pattern::new(&Pattern::escape(&path.to_string_lossy())).unwrap_or_default())
    }

    /// Whether a path looks like this.
    #[must_use]
    pub fn matches(&self, path: &Path) -> bool {
        let options =
            MatchOptions { case_sensitive: false, require_literal_separator: true, ..MatchOptions::new() };
        if self.0.as_str().contains('/') {
            return self.0.matches_path_with(path, options);
        }
        path.file_name().is_some_and(|name| self.0.matches_path_with(Path::new(name), options))
    }
}

impl FromStr for PathPattern {
    type Err = RetrievalError;

    /// # Errors
    /// [`RetrievalError::InvalidPattern`].
    fn from_str(pattern: &str) -> Result<Self, RetrievalError> {
        Pattern::new(pattern).map(Self).map_err(|error| RetrievalError::InvalidPattern {
            pattern: pattern.to_owned(),
            reason: error.msg.to_owned(),
        })
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

impl Serialize for PathPattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.as_str())
    }
}

impl<'de> Deserialize<'de> for PathPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
