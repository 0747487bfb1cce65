use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf, is_separator};
use std::str::FromStr;

use glob::{MatchOptions, Pattern};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::RetrievalError;

/// What paths look like: `*` is anything but `/`, `**` any folders, `?` a character, `[ab]` one of some. A
/// pattern without `/` is of the name alone; one that begins with `/`, `**` or a drive is of the whole path, and
/// another one of its end: `raw/*.mov` is `**/raw/*.mov`. A `/` at the end means nothing. Upper and lower case are
/// the same. Serde has it as the text that it is, and [`of_file`](Self::of_file) as `{"file": ...}`.
///
/// ```
/// use gve::retrieval::PathPattern;
///
/// # fn main() -> Result<(), gve::retrieval::RetrievalError> {
/// let pattern: PathPattern = "2025/*.mp4".parse()?;
/// assert!(pattern.matches("/home/me/2025/Lake.MP4".as_ref()));
/// assert!(!pattern.matches("/home/me/2025/may/lake.mp4".as_ref()));
/// let one = PathPattern::of_file("/home/me/[a].mp4".as_ref());
/// assert!(one.matches("/home/me/[a].mp4".as_ref()) && !one.matches("/home/me/[A].mp4".as_ref()));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PathPattern(Kind);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Kind {
    /// As it was said, and what names or whole paths are held against, in lower case.
    Like {
        said: String,
        pattern: Pattern,
        is_name: bool,
    },
    File(PathBuf),
}

/// How serde has it.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Form<'a> {
    Like(Cow<'a, str>),
    File { file: Cow<'a, Path> },
}

impl PathPattern {
    /// That of one file or folder and no other, by its whole path, letter by letter.
    #[must_use]
    pub fn of_file(path: &Path) -> Self {
        Self(Kind::File(path.to_owned()))
    }

    /// Whether a path looks like this.
    #[must_use]
    pub fn matches(&self, path: &Path) -> bool {
        let options =
            MatchOptions { case_sensitive: false, require_literal_separator: true, ..MatchOptions::new() };
        let (pattern, text) = match &self.0 {
            Kind::File(file) => return file == path,
            Kind::Like { pattern, is_name: true, .. } => match path.file_name() {
                Some(name) => (pattern, name.to_string_lossy()),
                None => return false,
            },
            Kind::Like { pattern, .. } => (pattern, path.to_string_lossy()),
        };
        // The pattern folds the letters of ASCII alone.
        let text = if text.is_ascii() { text } else { folded(&text).into() };
        pattern.matches_with(&text, options)
    }
}

impl FromStr for PathPattern {
    type Err = RetrievalError;

    /// # Errors
    /// [`RetrievalError::InvalidPattern`].
    fn from_str(said: &str) -> Result<Self, RetrievalError> {
        let text = said.strip_prefix("./").unwrap_or(said);
        let text = text.strip_suffix(is_separator).filter(|text| !text.is_empty()).unwrap_or(text);
        let is_name = !text.contains(is_separator);
        let is_whole =
            text.starts_with("**") || text.starts_with(is_separator) || Path::new(text).is_absolute();
        let whole = if is_name || is_whole { folded(text) } else { format!("**/{}", folded(text)) };
        let pattern = Pattern::new(&whole).map_err(|error| RetrievalError::InvalidPattern {
            pattern: said.to_owned(),
            reason: error.msg.to_owned(),
        })?;
        Ok(Self(Kind::Like { said: said.to_owned(), pattern, is_name }))
    }
}

/// Without case, letter by letter: in a word a capital sigma becomes one or the other small one by what stands
/// beside it, which in a pattern is not what stands in a path.
fn folded(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).map(|letter| if letter == 'ς' { 'σ' } else { letter }).collect()
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Like { said, .. } => f.write_str(said),
            Kind::File(file) => file.display().fmt(f),
        }
    }
}

impl Serialize for PathPattern {
    /// # Errors
    /// A file whose path is no Unicode.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Kind::Like { said, .. } => Form::Like(said.into()),
            Kind::File(file) => Form::File { file: file.into() },
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for PathPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Form::deserialize(deserializer)? {
            Form::Like(said) => said.parse().map_err(D::Error::custom),
            Form::File { file } => Ok(Self::of_file(&file)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn like(pattern: &str) -> PathPattern {
        pattern.parse().expect("a pattern")
    }

    #[test]
    fn patterns_are_of_names_of_ends_or_of_whole_paths() {
        for (pattern, path, expected) in [
            ("cache", "/v/Cache", true),
            ("cache/", "/v/cache", true),
            ("./cache", "/v/cache", true),
            ("cache", "/v/cache/a.mp4", false),
            ("raw/*.mov", "/v/2025/raw/a.MOV", true),
            ("./raw/*.mov", "/raw/a.mov", true),
            ("raw/*.mov", "/v/draw/a.mov", false),
            ("/raw/*.mov", "/v/raw/a.mov", false),
            ("**/raw/*.mov", "/v/raw/a.mov", true),
            ("/v/**", "/v/raw/a.mov", true),
            ("Ökonomie*", "/v/ökonomie.mp4", true),
            ("*été*", "/v/L'ÉTÉ.mp4", true),
            ("ΟΔΟΣ*", "/v/ΟΔΟΣ.mp4", true),
            ("ΟΔΟΣ.mp4", "/v/οδος.mp4", true),
            ("[a-c].mp4", "/v/B.mp4", true),
            ("/", "/", true),
            ("*", "/", false),
        ] {
            assert_eq!(like(pattern).matches(path.as_ref()), expected, "{pattern} and {path}");
        }
        assert!("[a".parse::<PathPattern>().is_err() && "a***".parse::<PathPattern>().is_err());
    }

    #[test]
    fn one_file_is_that_file() {
        let one = PathPattern::of_file("/v/[a].mp4".as_ref());
        for (path, expected) in
            [("/v/[a].mp4", true), ("/v/[A].mp4", false), ("/w/v/[a].mp4", false), ("/v/a.mp4", false)]
        {
            assert_eq!(one.matches(path.as_ref()), expected, "{path}");
        }
        assert!(!PathPattern::of_file("a.mp4".as_ref()).matches("/v/a.mp4".as_ref()));
        #[cfg(unix)]
        {
            use std::os::unix::ffi::OsStrExt;

            let odd = Path::new(std::ffi::OsStr::from_bytes(b"/v/\xff.mp4"));
            assert!(PathPattern::of_file(odd).matches(odd) && like("*.mp4").matches(odd));
        }
    }

    #[test]
    fn patterns_come_back_from_json() {
        for (pattern, expected) in [
            (like("./Raw/*.mov"), r#""./Raw/*.mov""#),
            (PathPattern::of_file("/v/*.mp4".as_ref()), r#"{"file":"/v/*.mp4"}"#),
        ] {
            let text = serde_json::to_string(&pattern).unwrap();
            assert_eq!(text, expected);
            assert_eq!(serde_json::from_str::<PathPattern>(&text).unwrap(), pattern);
        }
        assert!(serde_json::from_str::<PathPattern>(r#""[a""#).is_err());
    }
}
