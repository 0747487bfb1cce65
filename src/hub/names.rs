//! Names that come from a hub and become parts of paths and addresses.

use super::digest::sha256_hex;
use crate::store::{MAX_NAME, is_file_name};

/// Endings in the folder of blobs that mean something else than a blob.
const RESERVED: [&str; 3] = [".incomplete", ".lock", ".part"];

/// Whether `revision` can be the name of a branch or tag, or a commit: by the rules of `git check-ref-format`
/// that matter for paths and addresses.
pub(super) fn is_revision(revision: &str) -> bool {
    let bad = |c: char| c.is_control() || matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\');
    let good_part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with('.');
    revision.len() <= MAX_NAME && !revision.contains(bad) && revision.split('/').all(good_part)
}

/// The blob that an ETag names, as `huggingface_hub` names it: the ETag without quotes and the mark of a weak
/// one. One that is no file name, as mirrors may have them, is replaced by its hash.
pub(super) fn blob_name(etag: &str) -> String {
    let trimmed = etag.trim();
    let name = trimmed.strip_prefix("W/").unwrap_or(trimmed).trim_matches('"');
    if is_file_name(name) && !RESERVED.iter().any(|ending| name.ends_with(ending)) {
        return name.to_owned();
    }
    format!("etag-{}", &sha256_hex(etag.as_bytes())[..32])
}

/// `text` as one segment of the path of an address.
pub(super) fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn only_what_git_allows_is_a_revision() {
        for revision in ["main", "v1.0", "refs/pr/1", "feature/x-y_z", COMMIT] {
            assert!(is_revision(revision), "{revision}");
        }
        for revision in [
            "", "..", "../main", "a/../b", "a/.b", "/main", "main/", "a//b", "a b", "a?b", "a\\b", "a\0",
            "c:/x",
        ] {
            assert!(!is_revision(revision), "{revision:?}");
        }
    }

    #[test]
    fn blobs_are_named_by_etags_and_never_lead_elsewhere() {
        for (etag, expected) in [
            (format!("\"{COMMIT}\""), COMMIT),
            (format!("W/\"{COMMIT}\""), COMMIT),
            ("\"65a4-1b2c\"".to_owned(), "65a4-1b2c"),
            ("bare".to_owned(), "bare"),
        ] {
            assert_eq!(blob_name(&etag), expected, "{etag}");
        }
        for etag in [
            "\"../../x\"",
            "/etc/x",
            "",
            "\"\"",
            "a/b",
            "..",
            "x.lock",
            "x.part",
            "\"a+/=\"",
            &"x".repeat(300),
        ] {
            let name = blob_name(etag);
            assert!(is_file_name(&name) && name.starts_with("etag-"), "{etag:?} {name}");
        }
        assert_ne!(blob_name("a/b"), blob_name("a/c"));
    }

    #[test]
    fn segments_of_addresses_are_encoded() {
        assert_eq!(percent_encoded("refs/pr/1"), "refs%2Fpr%2F1");
        assert_eq!(percent_encoded("a b?c#d%.safetensors"), "a%20b%3Fc%23d%25.safetensors");
        assert_eq!(percent_encoded("model-1_2.x~"), "model-1_2.x~");
    }
}
