//! Model cards: the `README.md` beside a model, which people read and whose head the hub reads.
//!
//! A [`Card`] says what whoever writes the model knows, and nothing else. It ends with a line by which a card
//! that nobody has changed since is told from one that is a person's: that one is never written over.

mod base;
mod front_matter;
mod rebase;

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use serde_json::Value;

#[cfg(feature = "nano")]
pub(crate) use base::unpacked_name;
pub(crate) use base::{BUILT_IN, hub_snapshot};
pub use base::{BaseModel, is_hub_id};
pub(crate) use front_matter::front_values;
pub(crate) use rebase::{LOCAL_BASE, UNKNOWN_BASE, about_unknown_base, with_base};

use crate::hash::{FNV_OFFSET, fnv};
use crate::store::{IoError, limited_file, write_file};

/// Where a card lies, as the hub and everybody else looks for it.
pub(crate) const CARD: &str = "README.md";
/// Where the card lies of a model whose [`CARD`] is a person's.
pub(crate) const CARD_BESIDE: &str = "README.gve.md";
/// What says which step of a run the weights beside it are of.
pub(crate) const BEST_FILE: &str = "best.json";
/// Bytes that a card may have.
const MAX_BYTES: u64 = 16 << 20;
/// What the last line of a card that was written here begins with.
const MARK: &str = "<!-- gve ";

/// What is to be said of a model.
#[derive(Debug, Default)]
pub(crate) struct Card {
    /// For the hub: keys of its YAML head, in order.
    pub(crate) head: Vec<(&'static str, Value)>,
    /// For people: Markdown.
    pub(crate) body: String,
}

impl Card {
    /// Adds a key of the head, unless there is nothing to say.
    pub(crate) fn put(&mut self, key: &'static str, value: impl Into<Value>) {
        let value = value.into();
        let is_empty = match &value {
            Value::Null => true,
            Value::String(text) => text.is_empty(),
            Value::Array(items) => items.is_empty(),
            _ => false,
        };
        if !is_empty {
            self.head.push((key, value));
        }
    }

    /// The licence of what the model is made of, and in the card's words that there is one or that none is
    /// known.
    pub(crate) fn put_terms(&mut self, terms: Option<Terms>) -> String {
        let Some(terms) = terms else {
            return "What it was made from names no licence that was found here, so this card names none: ask there \
                    before you pass it on."
                .to_owned();
        };
        let name = terms.name.as_ref().unwrap_or(&terms.license);
        let said = format!("That of what it was made from: {name}.");
        self.put("license", terms.license);
        self.put("license_name", terms.name);
        self.put("license_link", terms.link);
        said
    }

    fn to_text(&self) -> String {
        marked(format!("{}\n{}\n", front_matter::written(&self.head), self.body.trim()))
    }

    /// Writes the card into the folder `into`. Where `before`, the model that this one takes the place of,
    /// has a card that a person wrote or changed, that one stays the card and this lies beside, as
    /// `README.gve.md`; then the answer is true.
    ///
    /// # Errors
    /// What cannot be read or written.
    pub(crate) fn write(&self, into: &Path, before: &Path) -> Result<bool, IoError> {
        let is_theirs = read(before)?.is_some_and(|text| !is_own(&text));
        let (card, theirs) = (into.join(CARD), before.join(CARD));
        if is_theirs && card != theirs {
            fs::copy(&theirs, &card).map_err(IoError::of("write", &card))?;
        }
        let path = if is_theirs { into.join(CARD_BESIDE) } else { card };
        write_file(path, |file| file.write_all(self.to_text().as_bytes()))?;
        Ok(is_theirs)
    }
}

/// The card of the model in `directory`, if it has one.
pub(crate) fn read(directory: &Path) -> Result<Option<String>, IoError> {
    let path = directory.join(CARD);
    match limited_file::read(&path, MAX_BYTES) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(IoError::of("read", path)(error)),
    }
}

/// The sections of a card that was written here which have these titles, with all of them; nothing of another
/// card.
pub(crate) fn own_sections(text: &str, titles: &[&str]) -> String {
    if !is_own(text) {
        return String::new();
    }
    let body = text.rsplit_once(MARK).map_or(text, |(body, _)| body);
    let sections = body
        .split("\n## ")
        .skip(1)
        .filter(|section| section.lines().next().is_some_and(|title| titles.contains(&title)));
    sections.map(|section| format!("## {}\n\n", section.trim())).collect()
}

/// A card with the line that tells that it is as it was written here.
fn marked(body: String) -> String {
    let mark = format!("{MARK}{} {:016x} -->\n", env!("CARGO_PKG_VERSION"), hash(&body));
    body + &mark
}

/// Whether a card is as it was written here.
fn is_own(text: &str) -> bool {
    let Some((body, mark)) = text.trim_end().rsplit_once(MARK) else { return false };
    let written = mark.strip_suffix(" -->").and_then(|mark| mark.rsplit_once(' '));
    written.is_some_and(|(_, digits)| digits == format!("{:016x}", hash(body)))
}

fn hash(text: &str) -> u64 {
    fnv(FNV_OFFSET, text.as_bytes())
}

/// A licence, in the words of the hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Terms {
    license: String,
    name: Option<String>,
    link: Option<String>,
}

impl Terms {
    /// Those that the card of the model in `directory` names; `base` says whose.
    pub(crate) fn of(directory: &Path, base: &BaseModel) -> Option<Self> {
        let text = read(directory).ok().flatten()?;
        let one = |key: &str| front_values(&text, key).into_iter().next();
        let link = one("license_link").and_then(|link| match base {
            _ if link.contains("://") => Some(link),
            BaseModel::Hub { id, .. } => Some(format!("https://huggingface.co/{id}/blob/main/{link}")),
            // It names a file that does not lie here.
            _ => None,
        });
        Some(Self { license: one("license")?, name: one("license_name"), link })
    }
}

/// What a model is called: as its folder, on one line.
pub(crate) fn name_of(directory: &Path) -> String {
    directory.file_name().unwrap_or(directory.as_os_str()).to_string_lossy().replace('\n', " ")
}

/// The command that reads with a model, but for what the model is.
pub(crate) fn reads(is_reranker: bool) -> &'static str {
    if is_reranker {
        "gve rerank --query \"a dog runs\" --text \"a dog in a park\""
    } else {
        "gve embed --text \"a dog runs\""
    }
}

/// A table of Markdown; cells are texts.
pub(crate) fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let mut table = line(&head);
    table.push_str(&format!("|{}\n", "---|".repeat(head.len())));
    for row in rows {
        table.push_str(&line(&row.iter().map(|cell| plain(cell)).collect::<Vec<_>>()));
    }
    table
}

/// A text as one line of a table.
fn plain(text: &str) -> String {
    text.replace('|', "\\|").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A text that was made elsewhere, such as the name of a file, as code.
pub(crate) fn code(text: &str) -> String {
    format!("`{}`", text.replace(['`', '\n', '\r'], "'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card() -> Card {
        let mut card = Card { body: "# a\n\nsaid\n".to_owned(), ..Card::default() };
        card.put("tags", vec!["gve", "a: b"]);
        card.put("datasets", Vec::<String>::new());
        card
    }

    #[test]
    fn a_card_that_nobody_changed_is_written_over_and_a_persons_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (old, new) = (folder.path().join("old"), folder.path().join("new"));
        for folder in [&old, &new] {
            fs::create_dir(folder).unwrap();
        }
        assert!(!card().write(&old, &old).unwrap());
        let text = fs::read_to_string(old.join(CARD)).unwrap();
        assert!(text.starts_with("---\ntags:\n- gve\n- \"a: b\"\n---\n") && is_own(&text), "{text}");
        assert!(!card().write(&new, &old).unwrap());
        let long = Card { body: "# a\n\n## Use\n\nu\n\n## Data\n\nd\n\n## Scores\n\ns".to_owned(), ..card() };
        assert_eq!(own_sections(&long.to_text(), &["Data", "Scores"]), "## Data\n\nd\n\n## Scores\n\ns\n\n");
        assert_eq!(own_sections("# a\n\n## Data\n\nd", &["Data"]), "");

        for theirs in [text.replace("said", "said by me"), "mine".to_owned(), String::new()] {
            fs::write(old.join(CARD), &theirs).unwrap();
            assert!(card().write(&new, &old).unwrap(), "{theirs}");
            assert_eq!(fs::read_to_string(new.join(CARD)).unwrap(), theirs);
            assert_eq!(fs::read_to_string(new.join(CARD_BESIDE)).unwrap(), text);
        }
    }

    #[test]
    fn terms_are_those_of_the_base_and_none_are_made_up() {
        let folder = tempfile::tempdir().unwrap();
        let hub = BaseModel::Hub { id: "o/m".to_owned(), revision: None };
        let here = BaseModel::Directory(folder.path().to_owned());
        assert_eq!(Terms::of(folder.path(), &hub), None);
        let say = |head: &str| fs::write(folder.path().join(CARD), format!("---\n{head}---\n# m\n")).unwrap();
        say("license: other\nlicense_name: qwen-research\nlicense_link: LICENSE\n");
        let terms = Terms::of(folder.path(), &hub).unwrap();
        assert_eq!((terms.license.as_str(), terms.name.as_deref()), ("other", Some("qwen-research")));
        assert_eq!(terms.link.as_deref(), Some("https://huggingface.co/o/m/blob/main/LICENSE"));
        assert_eq!(Terms::of(folder.path(), &here).unwrap().link, None);
        say("language: en\n");
        assert_eq!(Terms::of(folder.path(), &hub), None);
        let mut card = Card::default();
        assert!(card.put_terms(None).contains("names no licence") && card.head.is_empty());
        assert!(card.put_terms(Some(terms)).contains("qwen-research"));
        assert_eq!(card.head.len(), 3);
    }

    #[test]
    fn cells_stay_in_their_table() {
        let table = table(&["a", "b"], [vec!["x|y\nz".to_owned(), code("`q`")]]);
        assert_eq!(table, "| a | b |\n|---|---|\n| x\\|y z | `'q'` |\n");
    }
}
