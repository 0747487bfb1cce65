use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;
use serde::ser::Error;
use serde::{Deserialize, Serialize, Serializer};

use super::entry::LibraryEntry;
use super::tags::{TagTable, TagTest};
use crate::media::{MediaKind, TimeRange};
use crate::retrieval::{PathPattern, RetrievalError};

/// Which files of a library a search looks at: those of which all holds that is said here. It leaves files
/// out before anything is ranked, so that as many are found as without it.
///
/// ```
/// use gve::media::MediaKind;
/// use gve::retrieval::Filter;
///
/// # fn main() -> Result<(), gve::retrieval::RetrievalError> {
/// let holidays = Filter::default().of_kind(MediaKind::Video).under("/home/me/Videos").named("*lake*")?;
/// # assert_ne!(holidays, Filter::default());
/// # Ok(()) }
/// ```
///
/// Serde has it as an object of what was said, by the names of the methods: bounds as `[1.5, null]`, the test of
/// a tag as `["stars", {"at_least": 4.0}]`. Bounds that are not finite have no form there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    #[serde(skip_serializing_if = "Option::is_none", with = "among")]
    among: Option<Arc<HashSet<PathBuf>>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    under: Vec<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    named: Option<PathPattern>,
    #[serde(rename = "of_kind", skip_serializing_if = "Option::is_none")]
    kind: Option<MediaKind>,
    #[serde(rename = "lasting", skip_serializing_if = "is_unbounded", serialize_with = "finite")]
    seconds: Bounds,
    #[serde(skip_serializing_if = "is_unbounded", serialize_with = "finite")]
    modified: Bounds,
    #[serde(skip_serializing_if = "is_unbounded", serialize_with = "finite")]
    captured: Bounds,
    #[serde(skip_serializing_if = "is_unbounded")]
    width: Bounds,
    #[serde(skip_serializing_if = "is_unbounded")]
    height: Bounds,
    #[serde(rename = "tagged", skip_serializing_if = "Vec::is_empty")]
    tags: Vec<(String, TagTest)>,
}

/// What lies from the one to the other, both included.
type Bounds = (Option<f64>, Option<f64>);

fn is_unbounded(bounds: &Bounds) -> bool {
    *bounds == (None, None)
}

/// JSON has no other numbers, and would have none in their place, which leaves nothing out.
fn finite<S: Serializer>(bounds: &Bounds, serializer: S) -> Result<S::Ok, S::Error> {
    match [bounds.0, bounds.1].into_iter().flatten().find(|bound| !bound.is_finite()) {
        Some(bound) => Err(S::Error::custom(format!("a filter's bound of {bound} cannot be written"))),
        None => bounds.serialize(serializer),
    }
}

/// Files in an order that does not depend on the run.
mod among {
    use std::collections::{BTreeSet, HashSet};
    use std::path::PathBuf;
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    type Files = Option<Arc<HashSet<PathBuf>>>;

    pub(super) fn serialize<S: Serializer>(files: &Files, serializer: S) -> Result<S::Ok, S::Error> {
        files.as_deref().map(|files| files.iter().collect::<BTreeSet<_>>()).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Files, D::Error> {
        Ok(Option::<HashSet<PathBuf>>::deserialize(deserializer)?.map(Arc::new))
    }
}

impl Filter {
    /// These files, as an album or the favourites of somebody. Paths are compared as a library has them, see
    /// [`under`](Self::under).
    #[must_use]
    pub fn among(self, files: impl IntoIterator<Item = impl Into<PathBuf>>) -> Self {
        Self { among: Some(Arc::new(files.into_iter().map(Into::into).collect())), ..self }
    }

    /// Files in this folder, or another one that was named; at any depth. Paths are compared letter by letter
    /// with those of the library, which are absolute and lead through no link:
    /// [`indexer::absolute`](crate::indexer::absolute) makes others so.
    #[must_use]
    pub fn under(mut self, folder: impl Into<PathBuf>) -> Self {
        self.under.push(folder.into());
        self
    }

    /// Files whose path looks like this: see [`PathPattern`].
    ///
    /// # Errors
    /// [`RetrievalError::InvalidPattern`].
    pub fn named(self, pattern: &str) -> Result<Self, RetrievalError> {
        Ok(Self { named: Some(pattern.parse()?), ..self })
    }

    /// Videos alone, or images.
    #[must_use]
    pub fn of_kind(self, kind: MediaKind) -> Self {
        Self { kind: Some(kind), ..self }
    }

    /// Videos that are so long in seconds, as a whole.
    #[must_use]
    pub fn lasting(self, least: Option<f64>, most: Option<f64>) -> Self {
        Self { seconds: (least, most), ..self }
    }

    /// Files last changed between these times, in seconds since 1970.
    #[must_use]
    pub fn modified(self, earliest: Option<f64>, latest: Option<f64>) -> Self {
        Self { modified: (earliest, latest), ..self }
    }

    /// Files taken between these times, in seconds since 1970 as in
    /// [`captured_seconds`](LibraryEntry::captured_seconds); none of which that is not known.
    #[must_use]
    pub fn captured(self, earliest: Option<f64>, latest: Option<f64>) -> Self {
        Self { captured: (earliest, latest), ..self }
    }

    /// Files whose pictures are so wide in pixels; none of which that is not known.
    #[must_use]
    pub fn width(self, least: Option<u32>, most: Option<u32>) -> Self {
        Self { width: (least.map(f64::from), most.map(f64::from)), ..self }
    }

    /// Files whose pictures are so high in pixels; none of which that is not known.
    #[must_use]
    pub fn height(self, least: Option<u32>, most: Option<u32>) -> Self {
        Self { height: (least.map(f64::from), most.map(f64::from)), ..self }
    }

    /// Files with a tag of this name that is so; may be asked of more than one tag, and more than once of
    /// one.
    #[must_use]
    pub fn tagged(mut self, name: impl Into<String>, test: TagTest) -> Self {
        self.tags.push((name.into(), test));
        self
    }

    /// Of each row whether it may be found; `None` where all may.
    pub(super) fn rows(&self, entries: &[LibraryEntry], tags: &TagTable) -> Option<Vec<bool>> {
        if *self == Self::default() {
            return None;
        }
        let mut lengths: HashMap<&Path, f64> = HashMap::new();
        if self.seconds != (None, None) {
            for entry in entries.iter().filter(|entry| entry.kind == MediaKind::Video) {
                let Some((_, end)) = entry.time_range.and_then(TimeRange::bounds) else { continue };
                let longest = lengths.entry(&entry.path).or_default();
                *longest = longest.max(end);
            }
        }
        let may_be = |entry: &LibraryEntry| {
            let seconds = lengths.get(entry.path.as_path()).copied();
            let modified = entry.fingerprint.modified_nanoseconds as f64 / 1e9;
            self.among.as_ref().is_none_or(|files| files.contains(&entry.path))
                && self.kind.is_none_or(|kind| kind == entry.kind)
                && (self.under.is_empty() || self.under.iter().any(|folder| entry.path.starts_with(folder)))
                && self.named.as_ref().is_none_or(|pattern| pattern.matches(&entry.path))
                && is_known_to_lie_in(seconds, self.seconds)
                && lies_in(modified, self.modified)
                && is_known_to_lie_in(entry.captured_seconds.map(|seconds| seconds as f64), self.captured)
                && is_known_to_lie_in(entry.width.map(f64::from), self.width)
                && is_known_to_lie_in(entry.height.map(f64::from), self.height)
                && self.tags.iter().all(|(name, test)| {
                    let value = tags.of(&entry.path).and_then(|tags| tags.get(name));
                    value.is_some_and(|value| test.holds(value))
                })
        };
        Some(entries.par_iter().with_min_len(1024).map(may_be).collect())
    }
}

fn lies_in(value: f64, (least, most): Bounds) -> bool {
    least.is_none_or(|least| value >= least) && most.is_none_or(|most| value <= most)
}

fn is_known_to_lie_in(value: Option<f64>, bounds: Bounds) -> bool {
    is_unbounded(&bounds) || value.is_some_and(|value| lies_in(value, bounds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retrieval::FileFingerprint;

    fn entry(path: &str, kind: MediaKind, end: Option<f64>, modified: i64) -> LibraryEntry {
        let fingerprint = FileFingerprint { size_bytes: 1, modified_nanoseconds: modified * 1_000_000_000 };
        let time_range = end.map(|end| TimeRange::between(0.0, end));
        LibraryEntry::new(path, kind, fingerprint).with_time_range(time_range)
    }

    #[test]
    fn all_that_is_said_has_to_hold() {
        use MediaKind::{Image, Video};

        let entries = [
            entry("/v/Lake.mp4", Video, Some(90.0), 100)
                .with_captured_seconds(Some(50))
                .with_width(Some(640))
                .with_height(Some(480)),
            // A moment of it is as long as the whole.
            entry("/v/Lake.mp4", Video, Some(5.0), 100),
            entry("/v/2025/lake.png", Image, None, 200),
            entry("/vv/hill.mp4", Video, Some(30.0), 300),
        ];
        let untimed = [entry("/v/a.mp4", Video, None, 100)];
        let short = Filter::default().lasting(None, Some(60.0));
        assert_eq!(short.rows(&untimed, &TagTable::default()), Some(vec![false]), "nobody knows");
        let all = Filter::default;
        let named = |pattern: &str| all().named(pattern).expect("a pattern");
        for (filter, expected) in [
            (all().among(["/v/Lake.mp4", "/vv/none.mp4"]), [true, true, false, false]),
            (all().among(Vec::<PathBuf>::new()), [false; 4]),
            (all().under("/v"), [true, true, true, false]),
            (all().under("/v/2025").under("/vv/"), [false, false, true, true]),
            (all().of_kind(Image), [false, false, true, false]),
            (all().lasting(Some(60.0), None), [true, true, false, false]),
            (all().lasting(None, Some(60.0)), [false, false, false, true]),
            (all().modified(Some(200.0), Some(250.0)), [false, false, true, false]),
            (all().modified(None, Some(200.0)), [true, true, true, false]),
            (all().captured(Some(50.0), None), [true, false, false, false]),
            (all().captured(None, Some(49.0)), [false; 4]),
            (all().width(Some(640), Some(640)), [true, false, false, false]),
            (all().width(Some(641), None), [false; 4]),
            (all().height(None, Some(480)), [true, false, false, false]),
            (all().height(None, Some(479)), [false; 4]),
            (all().tagged("stars", TagTest::AtLeast(1.0)), [false; 4]),
            (named("lake*"), [true, true, true, false]),
            (named("*.mp4"), [true, true, false, true]),
            (named("/v/*"), [true, true, false, false]),
            (named("/v/**/*.png"), [false, false, true, false]),
            (named("lake*").of_kind(Video), [true, true, false, false]),
        ] {
            let tags = TagTable::default();
            assert_eq!(filter.rows(&entries, &tags).as_deref(), Some(&expected[..]), "{filter:?}");
        }
        assert_eq!(all().rows(&entries, &TagTable::default()), None);
        let much = named("lake*").among(["/b", "/a"]).of_kind(Video).lasting(Some(1.5), None);
        let much = much.tagged("stars", TagTest::AtLeast(4.0)).under("/v");
        let text = serde_json::to_string(&much).unwrap();
        let expected = r#"{"among":["/a","/b"],"under":["/v"],"named":"lake*","of_kind":"video","lasting":[1.5,null],"tagged":[["stars",{"at_least":4.0}]]}"#;
        assert_eq!(text, expected);
        assert_eq!(serde_json::from_str::<Filter>(&text).unwrap(), much);
        let ever = all().captured(Some(f64::NEG_INFINITY), None);
        assert!(serde_json::to_string(&ever).is_err());
        assert_eq!(serde_json::to_string(&all()).unwrap(), "{}");
        assert_eq!(serde_json::from_str::<Filter>("{}").unwrap(), all());
        assert!(serde_json::from_str::<Filter>(r#"{"colour":1}"#).is_err());
        assert!(serde_json::from_str::<Filter>(r#"{"named":"[a"}"#).is_err());
        let fault = all().named("[a").expect_err("no pattern").to_string();
        assert!(fault.contains("\"[a\" is no pattern"), "{fault}");
    }
}
