//! Where the index files of a data set are.

use std::path::{Path, PathBuf};

use gve::store::IoError;

use crate::Error;
use crate::manifest::{DatasetSpec, Layout, Manifest};

/// The index files of one data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IndexFiles {
    /// What media paths are relative to.
    pub(super) directory: PathBuf,
    pub(super) layout: Layout,
    pub(super) queries: PathBuf,
    pub(super) corpus: PathBuf,
    /// Which documents are relevant.
    pub(super) relevance: PathBuf,
}

/// A folder that holds a data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The name of the folder, which should be an id of the manifest.
    pub id: String,
    /// The folder, without the nesting inside it.
    pub directory: PathBuf,
}

/// Finds the folders of data sets under `root`, or `root` itself where it is one, in the order of their
/// names.
///
/// # Errors
/// [`Error::Io`] where `root` cannot be listed.
pub fn find(root: &Path) -> Result<Vec<Found>, Error> {
    let list = IoError::of("list", root);
    let entries =
        std::fs::read_dir(root).and_then(Iterator::collect::<std::io::Result<Vec<_>>>).map_err(list)?;
    // A folder such as `.` has its name once it is resolved.
    let resolved = root.canonicalize().map_err(IoError::of("open", root))?;
    let own_name = resolved.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if places(root, &own_name).iter().any(|place| layout_of(place, Layout::Uvrb).is_some()) {
        return Ok(vec![Found { id: own_name, directory: root.to_owned() }]);
    }
    let clone = root.join("UVRB");
    let nested = if clone.is_dir() {
        let list = IoError::of("list", &clone);
        std::fs::read_dir(&clone).and_then(Iterator::collect::<std::io::Result<Vec<_>>>).map_err(list)?
    } else {
        Vec::new()
    };
    let mut found: Vec<Found> = entries
        .into_iter()
        .chain(nested)
        .map(|entry| Found { id: entry.file_name().to_string_lossy().into_owned(), directory: entry.path() })
        .filter(|found| {
            places(&found.directory, &found.id).iter().any(|place| layout_of(place, Layout::Uvrb).is_some())
        })
        .collect();
    found.sort_by(|a, b| a.id.cmp(&b.id));
    found.dedup_by(|a, b| a.id == b.id);
    Ok(found)
}

/// A data set's own folder, and where unpacked copies nest it.
fn places(directory: &Path, id: &str) -> [PathBuf; 2] {
    [directory.to_owned(), directory.join("UVRB").join(id)]
}

/// Finds the index files of `spec` under `root`.
///
/// # Errors
/// [`Error::Invalid`] with the list of what was looked for, or with the file that is missing or there twice.
pub(super) fn locate(spec: &DatasetSpec, root: &Path) -> Result<IndexFiles, Error> {
    let id = &spec.id;
    let mut directories = Vec::from(places(&root.join(id), id));
    directories.extend(places(&root.join("UVRB").join(id), id));
    if !belongs_to_another(root, id) {
        directories.push(root.to_owned());
    }
    for directory in &directories {
        if let Some(layout) = layout_of(directory, spec.layout) {
            return match layout {
                Layout::Uvrb => uvrb_files(directory),
                Layout::Beir => beir_files(directory),
            };
        }
    }
    let folders: Vec<String> = directories.iter().map(|directory| directory.display().to_string()).collect();
    let reason = format!(
        "no data set `{id}` here: looked for jsonl/{{queries,corpus,instances}}.jsonl, and for queries.jsonl or \
         queries.parquet with corpus and qrels beside it, in {}",
        folders.join(", ")
    );
    Err(Error::invalid(root, None, reason))
}

/// Whether `root` is by its name the folder of another data set of UVRB: its files must not be scored as
/// `id`.
fn belongs_to_another(root: &Path, id: &str) -> bool {
    let name =
        root.canonicalize().ok().and_then(|root| Some(root.file_name()?.to_string_lossy().into_owned()));
    name.is_some_and(|name| name != id && Manifest::builtin().get(&name).is_ok())
}

/// The layout that the files in `directory` have, the one in `first` if they have both.
fn layout_of(directory: &Path, first: Layout) -> Option<Layout> {
    let any = |names: &[&str]| names.iter().any(|name| directory.join(name).is_file());
    let uvrb = any(&["jsonl/queries.jsonl", "jsonl/corpus.jsonl", "jsonl/instances.jsonl"]);
    let beir = any(&["queries.jsonl", "queries.parquet", "corpus.jsonl", "corpus.parquet"]);
    match (uvrb, beir) {
        (true, true) => Some(first),
        (true, false) => Some(Layout::Uvrb),
        (false, true) => Some(Layout::Beir),
        (false, false) => None,
    }
}

fn uvrb_files(directory: &Path) -> Result<IndexFiles, Error> {
    let file = |name: &str| the_one(directory, &[name]);
    Ok(IndexFiles {
        directory: directory.to_owned(),
        layout: Layout::Uvrb,
        queries: file("jsonl/queries.jsonl")?,
        corpus: file("jsonl/corpus.jsonl")?,
        relevance: file("jsonl/instances.jsonl")?,
    })
}

fn beir_files(directory: &Path) -> Result<IndexFiles, Error> {
    Ok(IndexFiles {
        directory: directory.to_owned(),
        layout: Layout::Beir,
        queries: the_one(directory, &["queries.jsonl", "queries.parquet"])?,
        corpus: the_one(directory, &["corpus.jsonl", "corpus.parquet"])?,
        relevance: the_one(
            directory,
            &[
                "qrels.tsv",
                "qrels.jsonl",
                "qrels.parquet",
                "qrels/test.tsv",
                "qrels/test.jsonl",
                "qrels/test.parquet",
            ],
        )?,
    })
}

/// The one file of `names` that is there.
fn the_one(directory: &Path, names: &[&str]) -> Result<PathBuf, Error> {
    let there: Vec<&str> = names.iter().copied().filter(|name| directory.join(name).is_file()).collect();
    match there[..] {
        [name] => Ok(directory.join(name)),
        [] => Err(Error::invalid(directory, None, format!("{} is missing", names.join(" or ")))),
        [first, second, ..] => {
            let reason = format!("both {first} and {second} are there: keep the one that counts");
            Err(Error::invalid(directory, None, reason))
        }
    }
}
