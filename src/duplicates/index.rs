//! The index that proposes pairs: pictures by the signs of their low frequencies.

use super::fingerprint::Fingerprint;
use super::signature::{Basis, Order, Signature, Window};

/// Bits of a code that are looked up at a time, and how often: the lowest, and those above them.
const KEY_BITS: usize = 16;
const KEYS: usize = 2;
/// Of the bits of a key, so many of the least certain are tried both ways.
const UNCERTAIN_BITS: usize = 4;
/// Codes of pictures that may be alike differ in so many of 64 bits at the most. Of unlike ones it is 32.
const MAX_DISTANCE: u32 = 14;
/// Keys that more pictures share tell nothing.
const MAX_SHARED: usize = 1 << 14;

/// Pictures of videos, to be found by what they look like.
pub(super) struct Index {
    order: Order,
    /// Video and picture of each entry.
    entries: Vec<(u32, u32)>,
    codes: Vec<u64>,
    tables: [Table; KEYS],
}

/// Entries by key: those of key `k` are `ids[starts[k]..starts[k + 1]]`.
struct Table {
    starts: Vec<u32>,
    ids: Vec<u32>,
}

/// A picture that may be like the one that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Near {
    pub(super) video: u32,
    /// Bits that differ.
    pub(super) distance: u32,
    pub(super) picture: u32,
}

impl Index {
    /// An index over the videos with these numbers.
    pub(super) fn new<'a>(videos: impl Iterator<Item = (usize, &'a Fingerprint)>) -> Self {
        let (order, whole) = (Order::new(), Basis::of(Window::WHOLE));
        let (mut entries, mut codes) = (Vec::new(), Vec::new());
        for (video, fingerprint) in videos {
            for (place, picture) in fingerprint.pictures.iter().enumerate() {
                if let Some(signature) = whole.signature(picture) {
                    entries.push((video as u32, place as u32));
                    codes.push(signature.code(&order).0);
                }
            }
        }
        let tables = std::array::from_fn(|number| Table::new(&codes, number));
        Self { order, entries, codes, tables }
    }

    /// The pictures that may be like one, by video, the nearest first.
    pub(super) fn near(&self, signature: &Signature, found: &mut Vec<Near>) {
        found.clear();
        let (code, sizes) = signature.code(&self.order);
        for (number, table) in self.tables.iter().enumerate() {
            let first = number * KEY_BITS;
            let mut bits: [usize; KEY_BITS] = std::array::from_fn(|bit| bit);
            bits.sort_by(|a, b| sizes[first + a].total_cmp(&sizes[first + b]));
            for choice in 0..1_usize << UNCERTAIN_BITS {
                let flips = (0..UNCERTAIN_BITS).filter(|bit| choice >> bit & 1 == 1);
                let flips = flips.fold(0, |flips, bit| flips | 1 << bits[bit]);
                for &id in table.of(key(code, number) ^ flips) {
                    let distance = (self.codes[id as usize] ^ code).count_ones();
                    if distance <= MAX_DISTANCE {
                        let (video, picture) = self.entries[id as usize];
                        found.push(Near { video, distance, picture });
                    }
                }
            }
        }
        found.sort_unstable();
        found.dedup();
    }
}

fn key(code: u64, number: usize) -> usize {
    (code >> (number * KEY_BITS)) as usize & ((1 << KEY_BITS) - 1)
}

impl Table {
    fn new(codes: &[u64], number: usize) -> Self {
        let mut starts = vec![0; (1 << KEY_BITS) + 1];
        codes.iter().for_each(|code| starts[key(*code, number) + 1] += 1);
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let (mut next, mut ids) = (starts.clone(), vec![0; codes.len()]);
        for (id, code) in codes.iter().enumerate() {
            let place = &mut next[key(*code, number)];
            ids[*place as usize] = id as u32;
            *place += 1;
        }
        Self { starts, ids }
    }

    fn of(&self, key: usize) -> &[u32] {
        let ids = &self.ids[self.starts[key] as usize..self.starts[key + 1] as usize];
        if ids.len() > MAX_SHARED { &[] } else { ids }
    }
}
