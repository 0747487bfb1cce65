//! Changes to bytes as they come with broken disks, cut downloads and people who mean harm; the same for the
//! same seed.

use gve::Random;

/// Numbers that sizes, counts and offsets are apt to go wrong at.
const NUMBERS: [u64; 10] = [
    0,
    1,
    0x7f,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    u64::MAX,
];

/// The same, and some more, as texts have them.
const WORDS: [&str; 16] = [
    "0",
    "-1",
    "1",
    "1e999",
    "2147483648",
    "4294967296",
    "9223372036854775807",
    "18446744073709551615",
    "1e-320",
    "null",
    "\"\"",
    "[]",
    "{}",
    "true",
    "nan",
    "\u{feff}",
];

/// `bytes` with one to three changes, mostly one. Where they are text, numbers of the text are replaced as
/// well.
pub(crate) fn mutated(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=random.below(4).saturating_sub(1) {
        if bytes.is_empty() {
            break;
        }
        change(&mut bytes, random);
    }
    bytes
}

fn change(bytes: &mut Vec<u8>, random: &mut Random) {
    let at = place(bytes.len(), random);
    let end = (at + 1 + random.below(64)).min(bytes.len());
    match random.below(if bytes.is_ascii() { 14 } else { 9 }) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = random.below(256) as u8,
        2 => bytes.truncate(at),
        3 => drop(bytes.drain(at..end)),
        4 => bytes[at..end].fill(if random.below(2) == 0 { 0 } else { 0xff }),
        5 => {
            let block = bytes[at..end].to_vec();
            bytes.splice(at..at, block);
        }
        6 => {
            let noise: Vec<u8> = (0..1 + random.below(16)).map(|_| random.below(256) as u8).collect();
            bytes.splice(at..at, noise);
        }
        7 | 8 => {
            let width = [2, 4, 8][random.below(3)];
            let at = at / width * width;
            let number = NUMBERS[random.below(NUMBERS.len())];
            let number = if random.below(2) == 0 {
                number.to_le_bytes()[..width].to_vec()
            } else {
                number.to_be_bytes()[8 - width..].to_vec()
            };
            for (byte, new) in bytes[at..].iter_mut().zip(number) {
                *byte = new;
            }
        }
        _ => replace_value(bytes, at, random),
    }
}

/// Half of the changes fall into the first part of a file, where its sizes and offsets are.
fn place(len: usize, random: &mut Random) -> usize {
    if random.below(2) == 0 { random.below(len.min(256)) } else { random.below(len) }
}

/// Puts another value where the next number of a text stands.
fn replace_value(bytes: &mut Vec<u8>, from: usize, random: &mut Random) {
    let Some(start) = bytes[from..].iter().position(u8::is_ascii_digit).map(|found| from + found) else {
        return;
    };
    let is_part = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'-');
    let end =
        bytes[start..].iter().position(|byte| !is_part(byte)).map_or(bytes.len(), |found| start + found);
    bytes.splice(start..end, WORDS[random.below(WORDS.len())].bytes());
}

#[test]
fn equal_seeds_give_equal_changes_and_others_give_others() {
    let bytes: Vec<u8> = (0..=255).collect();
    let of = |seed| mutated(&bytes, &mut Random::new(seed));
    assert_eq!(of(1), of(1));
    let changed = (0..100).filter(|&seed| of(seed) != bytes && of(seed) != of(seed + 100)).count();
    assert!(changed > 90, "{changed}");
    let text = br#"{"dim": 8, "name": "a"}"#;
    let replaced = (0..200).filter(|&seed| {
        let changed = mutated(text, &mut Random::new(seed));
        serde_json::from_slice::<serde_json::Value>(&changed).is_ok_and(|json| json["dim"] != 8)
    });
    assert!(replaced.count() > 5);
}
