//! Names of files that a checkpoint tells of.

/// Whether `name` is that of a file in the folder where it is told of, and leads nowhere else, on any system.
pub(crate) fn is_plain_file_name(name: &str) -> bool {
    let leads_away = |c: char| matches!(c, '/' | '\\' | ':') || c.is_control();
    !matches!(name, "" | "." | "..") && !name.contains(leads_away)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_elsewhere_are_told() {
        for name in ["model-00001-of-00004.safetensors", "a", "..a", "ä ö.bin", "a..b"] {
            assert!(is_plain_file_name(name), "{name:?}");
        }
        for name in ["", ".", "..", "../x", "/etc/passwd", "a/b", "a\\b", "C:x", "a\0b", "a\nb", "\u{1b}[2J"]
        {
            assert!(!is_plain_file_name(name), "{name:?}");
        }
    }
}
