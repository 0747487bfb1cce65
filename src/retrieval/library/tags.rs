//! What users say of files, beside their rows.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::checksum;
use super::entry::FileFingerprint;
use super::reader::Library;
use super::segment_writer::path_text;
use super::writer::LibraryWriter;
use crate::retrieval::RetrievalError;
use crate::retrieval::columns::one_line;
use crate::store::{IoError, Lock, limited_file, write_file};

/// In the library's directory: a checksum, and then a line of JSON for each file that has tags.
const FILE_NAME: &str = "library.tags";
/// Whoever changes that file holds this one, a writer as well.
const LOCK_NAME: &str = "library.tags.lock";
/// How long others who change it are waited for. It takes them milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest such file, in bytes.
const MAX_BYTES: u64 = 1 << 31;

/// The value of a tag.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum TagValue {
    /// Yes or no.
    Flag(bool),
    /// A number.
    Number(f64),
    /// A text.
    Text(String),
    /// Some texts.
    Texts(Vec<String>),
}

impl From<bool> for TagValue {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<f64> for TagValue {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for TagValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// The tags of a file, by their names.
pub type Tags = BTreeMap<String, TagValue>;

/// What is to be changed about the tags of a file, by their names: the value, or that there is to be none.
pub type TagChanges = BTreeMap<String, Option<TagValue>>;

/// What a tag has to be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TagTest {
    /// What reads like this: a text, `true` or `false`, a number however it is written; or a list with such a
    /// text in it.
    Is(String),
    /// A number that is at least so large.
    AtLeast(f64),
    /// A number that is at most so large.
    AtMost(f64),
}

impl TagTest {
    pub(super) fn holds(&self, value: &TagValue) -> bool {
        match (self, value) {
            (Self::Is(text), TagValue::Flag(flag)) => *text == flag.to_string(),
            (Self::Is(text), TagValue::Number(number)) => text.parse() == Ok(*number),
            (Self::Is(text), TagValue::Text(value)) => text == value,
            (Self::Is(text), TagValue::Texts(values)) => values.contains(text),
            (Self::AtLeast(least), TagValue::Number(number)) => number >= least,
            (Self::AtMost(most), TagValue::Number(number)) => number <= most,
            _ => false,
        }
    }
}

/// Where the tags of files were copied to, and what they were.
pub(super) type CopiedTags = HashMap<PathBuf, Vec<(PathBuf, Tags)>>;

/// The tags of all files. Of one that the library does not have any more there may be some left.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct TagTable(BTreeMap<PathBuf, Tags>);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    path: std::borrow::Cow<'a, str>,
    tags: std::borrow::Cow<'a, Tags>,
}

impl TagTable {
    /// The state of the file of tags; `None` where there is none.
    pub(super) fn file(library: &Path) -> Option<FileFingerprint> {
        FileFingerprint::of_file(&library.join(FILE_NAME)).ok()
    }

    /// Those of a library.
    ///
    /// # Errors
    /// [`RetrievalError::DamagedTags`], [`RetrievalError::Io`].
    pub(super) fn read(library: &Path) -> Result<Self, RetrievalError> {
        let path = library.join(FILE_NAME);
        let text = match limited_file::read_text(&path, MAX_BYTES) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                return Err(RetrievalError::DamagedTags { path, reason: one_line(error) });
            }
            Err(error) => return Err(IoError::of("read", path)(error).into()),
        };
        Self::parse(&text).map_err(|reason| RetrievalError::DamagedTags { path, reason })
    }

    /// The files that have any.
    pub(super) fn into_paths(self) -> impl Iterator<Item = PathBuf> {
        self.0.into_keys()
    }

    /// Changes those of a library, one after the other.
    fn change(library: &Path, change: impl FnOnce(&mut Self)) -> Result<(), RetrievalError> {
        let _lock = lock(library)?;
        let before = Self::read(library)?;
        let mut after = before.clone();
        change(&mut after);
        if after == before { Ok(()) } else { after.write(library) }
    }

    /// Tags files of a library, and gives back those that it does not have.
    fn set(
        library: &Path,
        changes: &[(PathBuf, TagChanges)],
        has: impl Fn(&Path) -> bool,
    ) -> Result<Vec<PathBuf>, RetrievalError> {
        for (path, changes) in changes {
            for (name, value) in changes {
                if let Some(TagValue::Number(value)) = value
                    && !value.is_finite()
                {
                    let (path, name, value) = (path.clone(), name.clone(), *value);
                    return Err(RetrievalError::InvalidTag { path, name, value });
                }
            }
        }
        let mut unknown = Vec::new();
        Self::change(library, |table| {
            for (path, changes) in changes {
                if !has(path) {
                    unknown.push(path.clone());
                    continue;
                }
                let tags = table.0.entry(path.clone()).or_default();
                for (name, value) in changes {
                    match value {
                        Some(value) => drop(tags.insert(name.clone(), value.clone())),
                        None => drop(tags.remove(name)),
                    }
                }
            }
            table.0.retain(|_, tags| !tags.is_empty());
        })?;
        Ok(unknown)
    }

    /// Gives files the tags of others, all at once.
    fn copy<'a>(&mut self, moves: impl Iterator<Item = (&'a Path, &'a Path)>) -> CopiedTags {
        let before = self.clone();
        let mut copied = CopiedTags::new();
        for (from, to) in moves {
            let tags = before.of(from).cloned().unwrap_or_default();
            self.0.insert(to.to_owned(), tags.clone());
            copied.entry(from.to_owned()).or_default().push((to.to_owned(), tags));
        }
        self.0.retain(|_, tags| !tags.is_empty());
        copied
    }

    /// Takes files out; what they were tagged with after they were `copied` goes where they were copied to.
    fn forget(&mut self, gone: &HashSet<&Path>, copied: &CopiedTags) {
        for path in gone {
            let now = self.0.remove(*path).unwrap_or_default();
            for (to, before) in copied.get(*path).into_iter().flatten() {
                let tags = self.0.entry(to.clone()).or_default();
                tags.retain(|name, _| now.contains_key(name) || !before.contains_key(name));
                let said = now.iter().filter(|(name, value)| before.get(*name) != Some(value));
                tags.extend(said.map(|(name, value)| (name.clone(), value.clone())));
            }
        }
        self.0.retain(|_, tags| !tags.is_empty());
    }

    fn parse(text: &str) -> Result<Self, String> {
        let (checksum, lines) = text.split_once('\n').ok_or("it is cut short")?;
        if checksum != format!("{:016x}", checksum::of_text(lines)) {
            return Err("its checksum does not fit".to_owned());
        }
        let file = |line| {
            let Line { path, tags } = serde_json::from_str(line).map_err(one_line)?;
            Ok((path.into_owned().into(), tags.into_owned()))
        };
        lines.lines().map(file).collect::<Result<_, _>>().map(Self)
    }

    fn write(&self, library: &Path) -> Result<(), RetrievalError> {
        let path = library.join(FILE_NAME);
        let mut lines = String::new();
        for (file, tags) in &self.0 {
            let line = Line { path: path_text(file)?.into(), tags: std::borrow::Cow::Borrowed(tags) };
            let line = serde_json::to_string(&line).map_err(std::io::Error::from);
            lines.push_str(&line.map_err(IoError::of("write", &path))?);
            lines.push('\n');
        }
        let checksum = checksum::of_text(&lines);
        Ok(write_file(path, |file| write!(file, "{checksum:016x}\n{lines}"))?)
    }

    pub(super) fn of(&self, path: &Path) -> Option<&Tags> {
        self.0.get(path)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Path, &Tags)> {
        self.0.iter().map(|(path, tags)| (path.as_path(), tags))
    }
}

impl Library {
    /// Tags files; what has no value is taken away, and other tags stay. Gives back the files that are not in
    /// this snapshot, of which nothing is written down. Tags follow their file when it is
    /// [renamed](LibraryWriter::rename) or [relocated](LibraryWriter::relocate), and go with it.
    ///
    /// A writer may be at work meanwhile. The snapshot stays what it is; [`reload`](Self::reload) shows the
    /// tags, and reads nothing else where there is nothing else.
    ///
    /// # Errors
    /// [`RetrievalError::InvalidTag`] for a number that is not finite, [`RetrievalError::DamagedTags`],
    /// [`RetrievalError::Io`], and [`RetrievalError::Locked`] where others keep changing tags for ten
    /// seconds; nothing is changed then.
    pub fn tag(&self, changes: &[(PathBuf, TagChanges)]) -> Result<Vec<PathBuf>, RetrievalError> {
        let wanted: HashSet<&Path> = changes.iter().map(|(path, _)| path.as_path()).collect();
        let paths = self.entries().iter().map(|entry| entry.path.as_path());
        let known: HashSet<&Path> = paths.filter(|path| wanted.contains(path)).collect();
        TagTable::set(self.directory(), changes, |path| known.contains(path))
    }
}

fn lock(library: &Path) -> Result<Lock, RetrievalError> {
    let path = library.join(LOCK_NAME);
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(lock) = Lock::take(&path)? {
            return Ok(lock);
        }
        if Instant::now() >= end {
            return Err(RetrievalError::Locked { path: library.to_owned(), holder: Lock::holder(&path) });
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

impl LibraryWriter {
    /// As [`Library::tag`].
    ///
    /// # Errors
    /// As [`Library::tag`].
    pub fn tag(&mut self, changes: &[(PathBuf, TagChanges)]) -> Result<Vec<PathBuf>, RetrievalError> {
        TagTable::set(&self.directory, changes, |path| self.has(path))
    }

    /// Why nobody can read the tags, which are not among the [damage](Self::damage) that a writer mends:
    /// [`RetrievalError::DamagedTags`] or [`RetrievalError::Io`]. `None` as a rule.
    #[must_use]
    pub fn tags_damage(&self) -> Option<RetrievalError> {
        TagTable::read(&self.directory).err()
    }

    /// To be done before rows become those of other files: whatever happens then, one of the two has the
    /// tags. Gives back what was copied, for [`forget_tags`](Self::forget_tags).
    pub(super) fn copy_tags<'a>(
        &self,
        moves: impl Iterator<Item = (&'a Path, &'a Path)>,
    ) -> Result<CopiedTags, RetrievalError> {
        let mut copied = CopiedTags::new();
        TagTable::change(&self.directory, |table| copied = table.copy(moves))?;
        Ok(copied)
    }

    /// To be done after files were forgotten. What was said of them after their tags were `copied` is said of
    /// what they became.
    pub(super) fn forget_tags(
        &self,
        gone: &HashSet<&Path>,
        copied: &CopiedTags,
    ) -> Result<(), RetrievalError> {
        TagTable::change(&self.directory, |table| table.forget(gone, copied))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_what_it_reads_like() {
        let is = |text: &str| TagTest::Is(text.into());
        let text = |text: &str| TagValue::Text(text.into());
        let list = TagValue::Texts(vec!["a".into(), "b".into()]);
        for (test, value, expected) in [
            (is("a"), text("a"), true),
            (is("a"), text("A"), false),
            (is("a"), list.clone(), true),
            (is("a,b"), list.clone(), false),
            (is("5.0"), TagValue::Number(5.0), true),
            (is("5"), TagValue::Number(5.5), false),
            (is("5"), text("5"), true),
            (is("true"), TagValue::Flag(true), true),
            (is("true"), TagValue::Flag(false), false),
            (TagTest::AtLeast(5.0), TagValue::Number(5.0), true),
            (TagTest::AtLeast(5.0), TagValue::Number(4.0), false),
            (TagTest::AtMost(5.0), TagValue::Number(5.0), true),
            (TagTest::AtMost(5.0), TagValue::Number(6.0), false),
            (TagTest::AtMost(5.0), text("4"), false),
            (TagTest::AtLeast(0.0), list, false),
        ] {
            assert_eq!(test.holds(&value), expected, "{test:?} {value:?}");
        }
    }

    #[test]
    fn what_is_said_of_a_file_while_it_moves_goes_with_it() {
        let tags = |stars: f64, rest: &[&str]| -> Tags {
            let rest = rest.iter().map(|name| ((*name).to_owned(), TagValue::Flag(true)));
            rest.chain([("stars".to_owned(), TagValue::Number(stars))]).collect()
        };
        let [a, b, c] = ["/a", "/b", "/c"].map(Path::new);
        let mut table =
            TagTable([(a, tags(4.0, &["old"])), (c, tags(1.0, &[]))].map(|(p, t)| (p.into(), t)).into());
        let copied = table.copy([(a, b)].into_iter());
        assert_eq!((table.of(a), table.of(b)), (Some(&tags(4.0, &["old"])), Some(&tags(4.0, &["old"]))));
        // Of the one by those who do not know yet, of the other by those who do.
        table.0.insert(a.into(), tags(5.0, &["new"]));
        table.0.insert(b.into(), tags(4.0, &["old", "known"]));
        table.forget(&HashSet::from([a]), &copied);
        let both = (table.of(b), table.of(c));
        assert_eq!(both, (Some(&tags(5.0, &["known", "new"])), Some(&tags(1.0, &[]))));
        assert_eq!(table.of(a), None);
    }

    #[test]
    fn a_table_is_whole_or_damaged() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(TagTable::read(folder.path()).unwrap(), TagTable::default());
        let tags = Tags::from([
            ("stars".into(), TagValue::Number(4.0)),
            ("who".into(), TagValue::Texts(vec!["Ada\n".into()])),
            ("seen".into(), TagValue::Flag(true)),
            ("place".into(), TagValue::Text("true".into())),
        ]);
        let table = TagTable(BTreeMap::from([("/a b".into(), tags.clone()), ("/c".into(), tags)]));
        table.write(folder.path()).unwrap();
        assert_eq!(TagTable::read(folder.path()).unwrap(), table);
        let path = folder.path().join(FILE_NAME);
        let bytes = std::fs::read(&path).unwrap();
        for place in 0..bytes.len() {
            let mut other = bytes.clone();
            other[place] ^= 1 << (place % 8);
            std::fs::write(&path, other).unwrap();
            let error = TagTable::read(folder.path()).unwrap_err();
            assert!(matches!(error, RetrievalError::DamagedTags { .. }), "byte {place}: {error}");
        }
    }
}
