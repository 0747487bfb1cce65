//! The character map of a normalizer of SentencePiece, which `tokenizers` reads in good faith: lengths that
//! are not there are allocated, and places outside of it are a panic at some text or other.
//!
//! The map is the length of a trie in bytes, the trie, and texts that end with a zero. The trie is a double
//! array (Darts-clone) of units of 32 bits, whose leaves are places in the texts.

use serde_json::Value;

const KIND: &str = "Precompiled";

/// Why no text may be normalized with `normalizer`, a value of `tokenizer.json`, or with one that is part of
/// it.
pub(super) fn fault(normalizer: &Value) -> Option<String> {
    if let Some(parts) = normalizer.get("normalizers").and_then(Value::as_array) {
        return parts.iter().find_map(fault);
    }
    if normalizer.get("type").and_then(Value::as_str) != Some(KIND) {
        return None;
    }
    let map = normalizer.get("precompiled_charsmap").and_then(Value::as_str).and_then(decoded);
    let sound = map.as_deref().and_then(sound);
    sound.is_none().then(|| "the precompiled_charsmap of its normalizer is damaged".to_owned())
}

/// The bytes of a text in base64.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=').bytes().map(|byte| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    });
    let digits: Vec<u8> = digits.collect::<Option<_>>()?;
    let bytes = digits.chunks(4).flat_map(|four| {
        let bits = four.iter().fold(0_u32, |bits, digit| bits << 6 | u32::from(*digit));
        let bits = bits << (6 * (4 - four.len()));
        bits.to_be_bytes().into_iter().skip(1).take(four.len() * 3 / 4)
    });
    Some(bytes.collect())
}

/// Something if every way through the trie stays within it, and every leaf within the texts.
fn sound(map: &[u8]) -> Option<()> {
    let (length, rest) = map.split_first_chunk()?;
    let (trie, texts) = rest.split_at_checked(u32::from_le_bytes(*length) as usize / 4 * 4)?;
    let texts = std::str::from_utf8(texts).ok()?;
    let units: Vec<usize> =
        trie.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes) as usize).collect();
    let offset = |unit: usize| (unit >> 10) << ((unit & 1 << 9) >> 6);
    let mut seen = vec![false; units.len()];
    let mut waiting = vec![offset(*units.first()?)];
    while let Some(node) = waiting.pop() {
        if std::mem::replace(seen.get_mut(node)?, true) {
            continue;
        }
        for label in 1..=0xff {
            let unit = *units.get(node ^ label)?;
            if unit & (1 << 31 | 0xff) != label {
                continue;
            }
            let next = node ^ label ^ offset(unit);
            if unit >> 8 & 1 == 1 {
                let place = units.get(next)? & ((1 << 31) - 1);
                texts.is_char_boundary(place).then_some(())?;
            }
            waiting.push(next);
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    fn encoded(bytes: &[u8]) -> String {
        let mut text: Vec<u8> = Vec::new();
        for three in bytes.chunks(3) {
            let bits = three.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte))
                << (8 * (3 - three.len()));
            text.extend((0..=three.len()).map(|digit| DIGITS[(bits >> (18 - 6 * digit) & 63) as usize]));
        }
        text.resize(text.len().next_multiple_of(4), b'=');
        String::from_utf8(text).unwrap()
    }

    /// A map that makes an `a` a `bc`.
    fn map() -> Vec<u8> {
        let mut units = [0_u32; 512];
        // The root's children lie from 256 on; the one for `a` is a leaf whose value is at 0 behind it.
        units[0] = 256 << 10;
        let a = 256 ^ usize::from(b'a');
        units[a] = u32::from(b'a') | 1 << 8 | ((a ^ 8) as u32) << 10;
        units[8] = 1;
        let trie: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        [&(trie.len() as u32).to_le_bytes()[..], &trie, "\0bc\0ä\0".as_bytes()].concat()
    }

    fn normalizer(map: &[u8]) -> Value {
        json!({"type": "Precompiled", "precompiled_charsmap": encoded(map)})
    }

    fn normalized(normalizer: &Value, text: &str) -> String {
        use tokenizers::{NormalizedString, Normalizer, NormalizerWrapper};
        let normalizer: NormalizerWrapper = serde_json::from_value(normalizer.clone()).unwrap();
        let mut text = NormalizedString::from(text);
        normalizer.normalize(&mut text).unwrap();
        text.get().to_owned()
    }

    #[test]
    fn a_map_is_sound_or_refused() {
        let whole = map();
        assert_eq!(fault(&normalizer(&whole)), None);
        assert_eq!(normalized(&normalizer(&whole), "cab"), "cbcb");
        let with = |place: usize, unit: u32| {
            let mut map = whole.clone();
            map[4 + 4 * place..][..4].copy_from_slice(&unit.to_le_bytes());
            map
        };
        let length = |length: u32| [&length.to_le_bytes()[..], &whole[4..]].concat();
        for (what, map) in [
            ("nothing", Vec::new()),
            ("no trie", vec![0; 4]),
            ("a length beyond the file", length(u32::MAX)),
            ("a root beyond the trie", with(0, 4096 << 10)),
            ("a leaf beyond the trie", with(256 ^ usize::from(b'a'), u32::from(b'a') | 1 << 8 | 4096 << 10)),
            ("a text beyond the texts", with(8, 999)),
            ("a text within a letter", with(8, 5)),
            ("texts that are none", [&whole[..], &[0xff]].concat()),
        ] {
            let normalizer = json!({"type": "Sequence", "normalizers": [{"type": "NFC"}, normalizer(&map)]});
            assert!(fault(&normalizer).is_some_and(|fault| fault.contains("precompiled_charsmap")), "{what}");
        }
        assert_eq!(fault(&json!({"type": "NFC"})), None);
        assert!(fault(&json!({"type": "Precompiled", "precompiled_charsmap": "?"})).is_some());
        // Every one of these that is let through is normalized with.
        let mut sound = 0;
        for place in 0..whole.len() {
            let mut map = whole.clone();
            map[place] ^= 1 << (place % 8);
            if fault(&normalizer(&map)).is_none() {
                sound += 1;
                normalized(&normalizer(&map), "a bc ä\u{301} \u{7f} ba");
            }
        }
        assert!((1000..whole.len()).contains(&sound), "{sound} of {}", whole.len());
    }
}
