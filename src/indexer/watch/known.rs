//! Files that were there and are not any more, of which nothing was heard.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use super::is_gone;
use crate::indexer::Found;

/// Takes those of the known files that lie in searched folders, were not found, and are not there.
pub(super) fn take_gone(
    known: &mut BTreeSet<PathBuf>,
    searched: &[PathBuf],
    found: &[Found],
) -> Vec<PathBuf> {
    let found: HashSet<&Path> =
        found.iter().flat_map(|found| &found.files).map(|file| file.path.as_path()).collect();
    let is_missing = |path: &Path| {
        searched.iter().any(|root| path.starts_with(root)) && !found.contains(path) && is_gone(path)
    };
    let gone: Vec<PathBuf> = known.iter().filter(|path| is_missing(path)).cloned().collect();
    for path in &gone {
        known.remove(path);
    }
    gone
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::indexer::{FindOptions, find_with};

    #[test]
    fn what_a_search_does_not_find_is_gone_where_it_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let path = |name: &str| root.join(name);
        for name in ["a/found.png", "a/.there.png", "b/found.png"] {
            std::fs::create_dir_all(path(name).parent().unwrap()).unwrap();
            std::fs::write(path(name), "").unwrap();
        }
        let names = ["a/found.png", "a/.there.png", "a/gone.png", "away/gone.png"];
        let mut known: BTreeSet<PathBuf> = names.map(path).into();
        let searched = [path("a"), path("b")];
        let found = searched.each_ref().map(|root| find_with(root, &FindOptions::default()));
        assert_eq!(take_gone(&mut known, &searched, &found), [path("a/gone.png")]);
        assert_eq!(known, ["a/found.png", "a/.there.png", "away/gone.png"].map(path).into());
        assert!(take_gone(&mut known, &searched, &found).is_empty());
    }
}
