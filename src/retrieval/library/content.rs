use std::fmt;
use std::io::{self, ErrorKind, Read};

use serde::{Serialize, Serializer};
use twox_hash::xxhash3_128::Hasher;

/// Bytes that are read at a time.
const CHUNK: usize = 1 << 16;

/// What tells the contents of files apart: XXH3 of all bytes, 128 bits wide. Against chance, not against
/// forgers. Displays as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentHash([u8; 16]);

impl ContentHash {
    /// Of all that `reader` gives.
    ///
    /// # Errors
    /// The reader's own.
    pub fn of(mut reader: impl Read) -> io::Result<Self> {
        let mut hasher = Hasher::new();
        let mut chunk = vec![0; CHUNK];
        loop {
            match reader.read(&mut chunk) {
                Ok(0) => return Ok(Self(hasher.finish_128().to_be_bytes())),
                Ok(read) => hasher.write(chunk.get(..read).unwrap_or(&chunk)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// From how it is stored, the highest byte first.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// As it is stored, the highest byte first.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.0
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentHash({self})")
    }
}

impl Serialize for ContentHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a few bytes at a time.
    struct Slow<'a>(&'a [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = buffer.len().min(7);
            self.0.read(&mut buffer[..length])
        }
    }

    #[test]
    fn all_bytes_count_however_they_come() {
        // xxhsum -H2, of xxHash 0.8; libraries on disk hold them: they may never change.
        assert_eq!(ContentHash::of(&b""[..]).unwrap().to_string(), "99aa06d3014798d86001c324468d497f");
        assert_eq!(ContentHash::of(&b"abc"[..]).unwrap().to_string(), "06b05ab6733a618578af5f94892f3950");
        let bytes: Vec<u8> = (0..200_000_u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
        let whole = ContentHash::of(&bytes[..]).unwrap();
        assert_eq!(ContentHash::of(Slow(&bytes)).unwrap(), whole);
        let mut other = bytes.clone();
        other[199_999] ^= 1;
        assert_ne!(ContentHash::of(&other[..]).unwrap(), whole);
        assert_eq!(ContentHash::from_bytes(whole.to_bytes()), whole);
        assert_eq!(serde_json::to_string(&whole).unwrap(), format!("\"{whole}\""));
    }
}
