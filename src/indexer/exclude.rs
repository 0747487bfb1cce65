use std::path::Path;

use crate::retrieval::PathPattern;

/// Whether a file or folder is left out where `root` is searched: something on the way from there to it, it
/// included, looks like one of `patterns`. What is searched by itself is looked at where it is no folder.
pub(super) fn is_excluded(path: &Path, root: &Path, patterns: &[PathPattern]) -> bool {
    if patterns.is_empty() {
        return false;
    }
    let looks_like_one = |path: &Path| patterns.iter().any(|pattern| pattern.matches(path));
    if path == root {
        return !path.is_dir() && looks_like_one(path);
    }
    path.ancestors().take_while(|above| *above != root && above.starts_with(root)).any(looks_like_one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_in_an_excluded_folder_is_excluded() {
        let patterns = ["*.part.mp4", "cache", "**/raw/*.mov"].map(|pattern| pattern.parse().unwrap());
        for (path, root, expected) in [
            ("/v/a.mp4", "/v", false),
            ("/v/a.PART.mp4", "/v", true),
            ("/v/a.part.mp4", "/v/a.part.mp4", true),
            ("/v/cache", "/v", true),
            ("/v/x/Cache/y/a.mp4", "/v", true),
            ("/v/raw/a.mov", "/v", true),
            ("/v/raw/x/a.mov", "/v", false),
            ("/v/raw/a.mp4", "/v", false),
            // Whoever names a folder means it, and what lies above it says nothing.
            ("/v/cache/a.mp4", "/v/cache", false),
            ("/cache/a.mp4", "/v", false),
        ] {
            assert_eq!(is_excluded(path.as_ref(), root.as_ref(), &patterns), expected, "{path} in {root}");
        }
        assert!(!is_excluded("/v/cache".as_ref(), "/v".as_ref(), &[]));
        // A folder that is there.
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let own = [PathPattern::of_file(here)];
        assert!(!is_excluded(here, here, &own) && is_excluded(here, here.parent().unwrap(), &own));
    }
}
