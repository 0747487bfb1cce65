//! The index that proposes pairs: pictures by the signs of their low frequencies.

use std::ops::Range;

use rayon::prelude::*;

use super::fingerprint::Fingerprint;
use super::signature::{Basis, Order, Signature, SmallSignature, Window};

/// Bits of a code that are looked up at a time, as many as give each picture a key of its own, and how often:
/// the lowest, and those above them.
const KEY_BITS: Range<u32> = 16..23;
const KEYS: usize = 2;
/// Of the bits of a key, one of so many is tried both ways: the least certain.
const CERTAIN_BITS: usize = 4;
/// Codes of pictures that may be alike differ in so many of 64 bits at the most, and the pictures correlate so
/// much at least. Of unlike ones it is 32 bits, and 0.
const MAX_DISTANCE: u32 = 14;
const LEAST_ALIKE: f32 = 0.62;
/// Keys that more pictures share tell nothing.
const MAX_SHARED: usize = 1 << 14;
/// Pictures of one video with one key, of more some are taken: what stands before a camera for hours.
const MOST_OF_VIDEO: usize = 16;

/// Pictures of videos, to be found by what they look like.
pub(super) struct Index {
    order: Order,
    key_bits: usize,
    /// Video and picture of each entry, in order.
    entries: Vec<(u32, u32)>,
    signatures: Vec<SmallSignature>,
    tables: [Table; KEYS],
}

/// Entries by key: those of key `k` are `starts[k]..starts[k + 1]` of the others.
struct Table {
    starts: Vec<u32>,
    ids: Vec<u32>,
    codes: Vec<u64>,
}

/// A picture that may be like the one that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Near {
    pub(super) video: u32,
    /// How far their correlation is from 1, in thousandths.
    pub(super) unlike: u16,
    pub(super) picture: u32,
    /// Bits of their codes that differ.
    pub(super) distance: u32,
}

impl Index {
    /// An index over videos, whose numbers rise.
    pub(super) fn new<'a>(videos: impl IntoIterator<Item = (usize, &'a Fingerprint)>) -> Self {
        let (order, whole) = (Order::new(), Basis::of(Window::WHOLE));
        let entries_of = |(video, fingerprint): (usize, &Fingerprint)| -> Vec<_> {
            let pictures = fingerprint.pictures.iter().enumerate();
            let entry = |(place, picture)| {
                let signature: Signature = whole.signature(picture)?;
                Some(((video as u32, place as u32), signature.code(&order).0, SmallSignature::of(&signature)))
            };
            pictures.filter_map(entry).collect()
        };
        let videos: Vec<(usize, &Fingerprint)> = videos.into_iter().collect();
        let of_videos: Vec<Vec<_>> = videos.into_par_iter().map(entries_of).collect();
        let (mut entries, mut codes, mut signatures) = (Vec::new(), Vec::new(), Vec::new());
        for (entry, code, signature) in of_videos.into_iter().flatten() {
            entries.push(entry);
            codes.push(code);
            signatures.push(signature);
        }
        let key_bits = entries.len().max(1).ilog2().clamp(KEY_BITS.start, KEY_BITS.end - 1) as usize;
        let tables = std::array::from_fn(|number| Table::new(&entries, &codes, number, key_bits));
        Self { order, key_bits, entries, signatures, tables }
    }

    /// The entries of some videos.
    pub(super) fn entries_of(&self, videos: Range<usize>) -> Range<u32> {
        let first = |video: usize| self.entries.partition_point(|entry| (entry.0 as usize) < video) as u32;
        first(videos.start)..first(videos.end)
    }

    /// The pictures among the wanted entries that may be like one, by video, the most alike first.
    pub(super) fn near(&self, signature: &Signature, wanted: &Range<u32>, found: &mut Vec<Near>) {
        found.clear();
        let (code, sizes) = signature.code(&self.order);
        for (number, table) in self.tables.iter().enumerate() {
            let first = number * self.key_bits;
            let mut bits: Vec<usize> = (0..self.key_bits).collect();
            bits.sort_by(|a, b| sizes[first + a].total_cmp(&sizes[first + b]));
            bits.truncate(self.key_bits / CERTAIN_BITS);
            let own = key(code, number, self.key_bits);
            for choice in 0..1_usize << bits.len() {
                let flips = bits.iter().enumerate().filter(|(at, _)| choice >> at & 1 == 1);
                let flips = flips.fold(0, |flips, (_, bit)| flips | 1 << bit);
                for (&id, &other) in table.of(own ^ flips, wanted) {
                    let distance = (other ^ code).count_ones();
                    if distance > MAX_DISTANCE {
                        continue;
                    }
                    let alike = self.signatures[id as usize].dot(signature);
                    if alike >= LEAST_ALIKE {
                        let (video, picture) = self.entries[id as usize];
                        let unlike = ((1.0 - alike).max(0.0) * 1000.0) as u16;
                        found.push(Near { video, unlike, picture, distance });
                    }
                }
            }
        }
        found.sort_unstable();
        found.dedup();
    }
}

fn key(code: u64, number: usize, bits: usize) -> usize {
    (code >> (number * bits)) as usize & ((1 << bits) - 1)
}

impl Table {
    fn new(entries: &[(u32, u32)], codes: &[u64], number: usize, key_bits: usize) -> Self {
        let mut starts = vec![0; (1 << key_bits) + 1];
        codes.iter().for_each(|code| starts[key(*code, number, key_bits) + 1] += 1);
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let (mut next, mut all) = (starts.clone(), vec![0_u32; codes.len()]);
        for (id, code) in codes.iter().enumerate() {
            let place = &mut next[key(*code, number, key_bits)];
            all[*place as usize] = id as u32;
            *place += 1;
        }
        let mut ids: Vec<u32> = Vec::with_capacity(all.len());
        let mut before = 0;
        for start in starts.iter_mut().skip(1) {
            let own = &all[before..*start as usize];
            before = *start as usize;
            for of_video in own.chunk_by(|a, b| entries[*a as usize].0 == entries[*b as usize].0) {
                let step = of_video.len().div_ceil(MOST_OF_VIDEO);
                ids.extend(of_video.iter().step_by(step));
            }
            *start = ids.len() as u32;
        }
        let codes = ids.iter().map(|id| codes[*id as usize]).collect();
        Self { starts, ids, codes }
    }

    /// Entries with a key, of those from one up to another, with their codes.
    fn of(&self, key: usize, wanted: &Range<u32>) -> impl Iterator<Item = (&u32, &u64)> {
        let own = self.starts[key] as usize..self.starts[key + 1] as usize;
        let own = if own.len() > MAX_SHARED { 0..0 } else { own };
        let ids = &self.ids[own.clone()];
        let within = ids.partition_point(|id| *id < wanted.start)..ids.partition_point(|id| *id < wanted.end);
        ids[within.clone()].iter().zip(&self.codes[own][within])
    }
}
