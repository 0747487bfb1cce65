//! What the hub says the bytes of a file are, and whether they are.

use std::io::{self, Read};

use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

/// A digest that an ETag announces, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Digest {
    /// SHA-256 of the content: files in large file storage.
    Sha256(String),
    /// SHA-1 of the content behind git's header, the id of a git blob: all other files. Some mirrors have
    /// that of the content alone.
    Sha1(String),
}

impl Digest {
    /// The digest that the name of a blob is, if it has the form of one.
    pub(super) fn of_name(name: &str) -> Option<Self> {
        let hex = name.bytes().all(|b| b.is_ascii_hexdigit()).then(|| name.to_ascii_lowercase())?;
        match hex.len() {
            64 => Some(Self::Sha256(hex)),
            40 => Some(Self::Sha1(hex)),
            _ => None,
        }
    }

    /// The digest as it is announced.
    pub(super) fn hex(&self) -> &str {
        let (Self::Sha256(hex) | Self::Sha1(hex)) = self;
        hex
    }

    /// Reads `content`, of `length` bytes, to its end; `Some` is the digest that it has instead.
    pub(super) fn mismatch(&self, content: impl Read, length: u64) -> io::Result<Option<String>> {
        let contexts = match self {
            Self::Sha256(_) => vec![Context::new(&SHA256)],
            Self::Sha1(_) => vec![git_context(length), Context::new(&SHA1_FOR_LEGACY_USE_ONLY)],
        };
        let found = hex_digests(contexts, content)?;
        if found.iter().any(|found| found == self.hex()) {
            return Ok(None);
        }
        Ok(found.into_iter().next())
    }
}

/// A digest of what is about to be read.
pub(super) struct Hashed(Context);

impl Hashed {
    /// SHA-256.
    pub(super) fn sha256() -> Self {
        Self(Context::new(&SHA256))
    }

    /// The id of a git blob of `length` bytes.
    pub(super) fn git(length: u64) -> Self {
        Self(git_context(length))
    }

    /// That of all of `content`.
    pub(super) fn of(self, content: impl Read) -> io::Result<String> {
        Ok(hex_digests(vec![self.0], content)?.swap_remove(0))
    }
}

/// The SHA-256 of `bytes`.
pub(super) fn sha256_hex(bytes: &[u8]) -> String {
    hex_of(ring::digest::digest(&SHA256, bytes).as_ref())
}

fn hex_of(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn git_context(length: u64) -> Context {
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    context.update(format!("blob {length}\0").as_bytes());
    context
}

fn hex_digests(mut contexts: Vec<Context>, mut content: impl Read) -> io::Result<Vec<String>> {
    let mut buffer = vec![0; 1 << 18];
    loop {
        match content.read(&mut buffer) {
            Ok(0) => break,
            Ok(bytes) => contexts.iter_mut().for_each(|context| context.update(&buffer[..bytes])),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(contexts.into_iter().map(|context| hex_of(context.finish().as_ref())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf 'hello\n' | sha256sum`, `| git hash-object --stdin`, `| sha1sum`.
    const HELLO: [&str; 3] = [
        "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
        "ce013625030ba8dba906f756967f9e9ca394464a",
        "f572d396fae9206628714fb2ce00f72e94f2258f",
    ];

    #[test]
    fn the_bytes_are_those_announced_or_not() {
        for name in HELLO.into_iter().chain([HELLO[1].to_uppercase().as_str()]) {
            let digest = Digest::of_name(name).unwrap();
            assert_eq!(digest.mismatch(&b"hello\n"[..], 6).unwrap(), None, "{name}");
            let found = digest.mismatch(&b"hullo\n"[..], 6).unwrap();
            assert!(found.is_some_and(|found| found.len() == name.len() && found != digest.hex()), "{name}");
        }
    }

    #[test]
    fn other_names_announce_nothing() {
        for name in
            ["", "etag-config.json", "d41d8cd98f00b204e9800998ecf8427e", &"g".repeat(40), &"0".repeat(63)]
        {
            assert_eq!(Digest::of_name(name), None, "{name}");
        }
    }
}
