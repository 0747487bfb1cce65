//! `gve library tag`: what users say of files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use gve::indexer::absolute;
use gve::retrieval::{Library, TagChanges, TagValue};
use gve::text::{Line, LineError, Lines};
use gve_cli::output::{Outcome, counted, name, print, report};
use serde_json::{Map, Value};

use crate::library::report_damage;

/// Files that the library does not have that are named.
const MOST_NAMED: usize = 20;

#[derive(Args)]
#[command(after_help = "\
Examples:
  gve library tag --library lib holidays.jsonl
  gve library tag --library lib ratings.csv --root ~/Videos
  gve library tag --library lib --show
  gve library tag --library lib --remove stars

A line of JSON names a file and its tags: {\"path\": \"2025/lake.mp4\", \"who\": [\"Ada\", \"Max\"], \"stars\": 4, \"seen\": true}; null takes a tag
away. A CSV file has a header with the column `path`. Tags that are not named stay.")]
pub(crate) struct Tag {
    /// Directory of the library.
    #[arg(long, value_name = "DIR")]
    library: PathBuf,
    /// Tags as JSON lines, or as CSV where the name ends in .csv.
    #[arg(value_name = "FILE", required_unless_present_any = ["show", "remove"])]
    file: Option<PathBuf>,
    /// Folder that paths in FILE begin in, where they are not absolute [default: that of FILE].
    #[arg(long, value_name = "DIR", requires = "file")]
    root: Option<PathBuf>,
    /// Take this tag away from the files that FILE names, or without FILE from all; may be given more than
    /// once.
    #[arg(long, value_name = "NAME")]
    remove: Vec<String>,
    /// Print all tags, as lines of JSON that can be read again.
    #[arg(long, conflicts_with_all = ["file", "remove"])]
    show: bool,
}

/// Files, and what is to be changed about their tags.
type Changes = Vec<(PathBuf, TagChanges)>;

pub(crate) fn tag(arguments: &Tag) -> Result<Outcome> {
    let library = Library::open(&arguments.library)?;
    if arguments.show {
        return show(&library);
    }
    let mut changes = match &arguments.file {
        Some(file) => read(file, arguments.root.as_deref())?,
        None => {
            let has = |tags: &BTreeMap<_, _>| arguments.remove.iter().any(|name| tags.contains_key(name));
            let tagged = library.tagged().filter(|(_, tags)| has(tags));
            tagged.map(|(path, _)| (path.to_owned(), BTreeMap::new())).collect()
        }
    };
    if !arguments.remove.is_empty() {
        let gone = || arguments.remove.iter().map(|name| (name.clone(), None)).collect();
        changes.iter_mut().for_each(|(_, change)| *change = gone());
    }
    report_damage(library.damage());
    let unknown = library.tag(&changes)?;
    for path in unknown.iter().take(MOST_NAMED) {
        report(&anyhow!("the library does not have {}", name(path)));
    }
    if unknown.len() > MOST_NAMED {
        report(&anyhow!("nor {}", counted(unknown.len() - MOST_NAMED, "other", "others")));
    }
    let tagged = changes.len() - unknown.len();
    let done = if arguments.remove.is_empty() {
        counted(tagged, "file tagged", "files tagged")
    } else {
        counted(tagged, "file has the tag no more", "files have the tag no more")
    };
    print(&format!("{done}, {} not in the library", unknown.len()))?;
    // An empty table is done, too.
    let tagged = if unknown.is_empty() { 1 } else { tagged };
    Ok(Outcome::of(tagged, unknown.len() + library.damage().len()))
}

fn show(library: &Library) -> Result<Outcome> {
    report_damage(library.damage());
    for (path, tags) in library.tagged() {
        let mut line = Map::from_iter([("path".to_owned(), serde_json::json!(path))]);
        line.extend(tags.iter().map(|(name, value)| (name.clone(), serde_json::json!(value))));
        print(&Value::Object(line).to_string())?;
    }
    Ok(Outcome::of(1, library.damage().len()))
}

fn read(file: &Path, root: Option<&Path>) -> Result<Changes> {
    let cannot_read = || format!("cannot read {}", name(file));
    let root = root.or(file.parent()).unwrap_or(Path::new(""));
    let is_csv = file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
    let lines = if is_csv { csv_lines(file) } else { json_lines(file) }.with_context(cannot_read)?;
    let mut changes = Changes::new();
    for (number, mut line) in lines {
        let place = || format!("{}: line {number}", name(file));
        let Some(Value::String(path)) = line.remove("path") else {
            bail!("{}: it has no path", place());
        };
        // The library has paths without links.
        let path = absolute(&std::path::absolute(root.join(path)).with_context(place)?);
        let tags = line.into_iter().map(|(name, value)| Ok((name.clone(), tag_value(&name, value)?)));
        changes.push((path, tags.collect::<Result<_>>().with_context(place)?));
    }
    Ok(changes)
}

fn json_lines(file: &Path) -> Result<Vec<(usize, Map<String, Value>)>> {
    let row = |line: Result<Line, LineError>| {
        let Line { number, text, .. } = line?;
        Ok((number, serde_json::from_str(&text).with_context(|| format!("line {number}"))?))
    };
    Lines::open(file)?.map(row).collect()
}

/// Cells are what they read like; those that are empty say nothing.
fn csv_lines(file: &Path) -> Result<Vec<(usize, Map<String, Value>)>> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_path(file)?;
    let header = reader.headers()?.clone();
    let names: Vec<&str> = header.iter().collect();
    if !names.contains(&"path") {
        bail!(
            "line 1: expected the names of columns, separated by commas, and `path` among them, got {names:?}"
        );
    }
    let is_twice = |place: usize| names[..place].contains(&names[place]);
    if let Some(place) = (0..names.len()).find(|&place| names[place].is_empty() || is_twice(place)) {
        bail!("line 1: column {} is called {:?}: expected a name of its own", place + 1, names[place]);
    }
    let mut lines = Vec::new();
    for record in reader.records() {
        let record = record?;
        let cells = header.iter().zip(&record).filter(|(_, cell)| !cell.is_empty());
        let line = cells.map(|(name, cell)| {
            let value = match cell {
                _ if name == "path" => cell.into(),
                // A spreadsheet writes TRUE.
                _ if cell.eq_ignore_ascii_case("true") => true.into(),
                _ if cell.eq_ignore_ascii_case("false") => false.into(),
                _ => cell
                    .parse::<f64>()
                    .ok()
                    .filter(|number| number.is_finite())
                    .map_or_else(|| cell.into(), Value::from),
            };
            (name.to_owned(), value)
        });
        let number = record.position().map_or(0, csv::Position::line);
        lines.push((usize::try_from(number)?, line.collect()));
    }
    Ok(lines)
}

fn tag_value(name: &str, value: Value) -> Result<Option<TagValue>> {
    if value.is_null() {
        return Ok(None);
    }
    if name.is_empty() || name.trim() != name || name.contains('=') || name.ends_with(['<', '>']) {
        bail!(
            "no search can ask for a tag called {name:?}: expected a name that is not empty, has no space at its \
             ends and no = in it, and does not end in < or >"
        );
    }
    let said = value.to_string();
    let value = serde_json::from_value(value);
    value
        .map(Some)
        .map_err(|_| anyhow!("{name} is {said}, expected a text, a number, true, false, or a list of texts"))
}
