use ring::digest::{Algorithm, SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use serde_json::{Value, json};

/// Status, headers and body.
pub(super) type Answer = (u16, String, Vec<u8>);

/// All of it, or the range that is asked for.
pub(super) fn part_of(bytes: &[u8], range: Option<&str>, headers: &str) -> Answer {
    let Some((start, end)) = range.and_then(|range| range.split_once('-')) else {
        return (200, headers.to_owned(), bytes.to_vec());
    };
    let last = end.parse().unwrap_or(usize::MAX).min(bytes.len() - 1);
    let start: usize = start.parse().unwrap();
    let headers = format!("{headers}content-range: bytes {start}-{last}/{}\r\n", bytes.len());
    (206, headers, bytes[start..=last].to_vec())
}

/// The id of a git blob.
pub(super) fn git_oid(bytes: &[u8]) -> String {
    hex(&SHA1_FOR_LEGACY_USE_ONLY, &[format!("blob {}\0", bytes.len()).as_bytes(), bytes].concat())
}

/// A digest in hexadecimal digits.
pub(super) fn hex(algorithm: &'static Algorithm, bytes: &[u8]) -> String {
    digest(algorithm, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `text` without percent-encoding.
pub(super) fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, more @ ..] = rest {
        match (first, more) {
            (b'%', [a, b, more @ ..]) => {
                let digits = [*a, *b];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap());
                rest = more;
            }
            _ => {
                bytes.push(*first);
                rest = more;
            }
        }
    }
    String::from_utf8(bytes).unwrap()
}

/// A file as a list of a repository has it.
pub(super) fn listed((path, (bytes, is_large)): (&String, &(Vec<u8>, bool))) -> Value {
    if !is_large {
        return json!({"type": "file", "path": path, "size": bytes.len(), "oid": git_oid(bytes)});
    }
    let oid = hex(&SHA256, bytes);
    let pointer =
        format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {}\n", bytes.len());
    let lfs = json!({"oid": oid, "size": bytes.len(), "pointerSize": pointer.len()});
    json!({"type": "file", "path": path, "size": bytes.len(), "oid": git_oid(pointer.as_bytes()), "lfs": lfs})
}
