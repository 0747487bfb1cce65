/// Longest name that is taken as it is, in bytes. File systems allow 255, and names get endings.
pub(crate) const MAX_NAME: usize = 200;

/// Whether `name` names a file in a directory, on any system: no path, no drive, nothing hidden, nothing
/// invisible.
pub(crate) fn is_file_name(name: &str) -> bool {
    let bad = |c: char| c.is_control() || matches!(c, '/' | '\\' | ':' | '<' | '>' | '"' | '|' | '?' | '*');
    !name.is_empty()
        && name.len() <= MAX_NAME
        && !name.starts_with('.')
        && !name.ends_with(['.', ' '])
        && !name.contains(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_in_the_folder_are_file_names() {
        for name in ["model.safetensors", "model-00001-of-00002.safetensors", "ä b.json", "a..b", "0123abcd"]
        {
            assert!(is_file_name(name), "{name}");
        }
        let long = "x".repeat(MAX_NAME + 1);
        for name in [
            "",
            ".",
            "..",
            "../x",
            "/etc/x",
            "a/b",
            "a\\b",
            "..\\x",
            "C:x",
            "C:\\x",
            "a\0b",
            "a\nb",
            ".hidden",
            "x.",
            "x ",
            "con?",
            "\u{1b}[2J",
            long.as_str(),
        ] {
            assert!(!is_file_name(name), "{name:?}");
        }
    }
}
