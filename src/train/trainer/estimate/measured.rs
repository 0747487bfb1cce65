//! From what small batches took to what a batch of the run will take.
//!
//! A batch keeps inputs, frozen visuals and embeddings of all of its items, but graphs of at most
//! `batch.chunk_tokens` tokens. So memory grows with the items, and less steeply once they fill a chunk; from
//! there on all items are embedded twice, and time grows more steeply. A line through batches that fill no
//! chunk is therefore no more than a bound on the memory of those that do.

use std::time::Duration;

use super::super::super::TrainError;
use super::super::super::config::TrainConfig;

/// Pairs of the first batch that is taken, at the most. The second has twice as many.
const FIRST_PAIRS: usize = 4;
/// The last batch that is taken is at least so small a part of one of the run, where there is memory for it.
const LEAST_PART: usize = 8;
/// Bytes that a contrastive loss and its gradient have of each query and target at once, as measured:
/// whatever the widths, and for each of them. There are as many as pairs squared, of which small batches
/// tell nothing.
const SCORE_BYTES: [f64; 2] = [22.0, 46.0];

/// What a batch took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taken {
    pub(super) pairs: usize,
    /// Inputs, each but once.
    pub(super) items: usize,
    /// Of all items.
    pub(super) tokens: usize,
    /// What a query is told from, and its own positive.
    pub(super) targets: usize,
    pub(super) time: Duration,
    /// Memory beyond that of the model, at the most; `None` where the system does not tell.
    pub(super) bytes: Option<u64>,
}

/// What batches of a task took, the smallest first.
pub(super) struct Measured<'a> {
    config: &'a TrainConfig,
    /// Pairs of its batches in the run.
    size: usize,
    taken: Vec<Taken>,
}

impl<'a> Measured<'a> {
    /// Has `take` take batches of more and more pairs, until they tell what one of `size` takes, or the next
    /// would take more than `room` bytes.
    pub(super) fn of(
        config: &'a TrainConfig,
        size: usize,
        room: Option<f64>,
        mut take: impl FnMut(usize) -> Result<Taken, TrainError>,
    ) -> Result<Self, TrainError> {
        let mut measured = Self { config, size, taken: Vec::new() };
        let mut pairs = FIRST_PAIRS.min(size.div_ceil(2));
        loop {
            match take(pairs) {
                Ok(taken) => measured.taken.push(taken),
                // Where pairs need negatives and few have some, a larger batch may hold such a pair.
                Err(TrainError::Config { .. }) if pairs < size => {}
                Err(error) => return Err(error),
            }
            let next = (2 * pairs).min(size);
            let fits = room.zip(measured.bytes(next)).is_none_or(|(room, bytes)| bytes <= room);
            // It takes two to tell what is of each pair.
            let is_known = measured.taken.len() > 1;
            if pairs == size || measured.tells() || (is_known && !fits) {
                return Ok(measured);
            }
            pairs = next;
        }
    }

    /// Pairs of a batch of the run.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Pairs of the batches that were taken.
    pub(super) fn pairs(&self) -> Vec<usize> {
        self.taken.iter().map(|taken| taken.pairs).collect()
    }

    /// The most memory that one of them took.
    pub(super) fn most_bytes(&self) -> Option<u64> {
        self.taken.iter().filter_map(|taken| taken.bytes).max()
    }

    /// How long a batch of the run takes.
    pub(super) fn time(&self) -> Duration {
        let Some(last) = self.taken.last() else { return Duration::ZERO };
        let point = |taken: &Taken| (taken.items as f64, taken.time.as_secs_f64());
        // Whatever is done but once was done in the first.
        let before = self.taken.iter().skip(1).rev().nth(1).map(point);
        Duration::from_secs_f64(on_line(before, point(last), self.items(last, self.size)))
    }

    /// Memory of a batch of so many pairs in the run.
    pub(super) fn bytes(&self, pairs: usize) -> Option<f64> {
        let last = self.taken.last()?;
        let point = |taken: &Taken| Some((taken.items as f64, taken.bytes? as f64));
        let before = self.taken.iter().rev().nth(1).and_then(point);
        let targets = last.targets as f64 * share(pairs, last) + self.mined(pairs);
        let scores = self.score_bytes(pairs, targets) - self.score_bytes(last.pairs, last.targets as f64);
        Some(on_line(before, point(last)?, self.items(last, pairs)) + scores.max(0.0))
    }

    /// Whether those that were taken tell what a batch of the run takes: the last is no small part of it, and
    /// where that fills a chunk, the last two do.
    fn tells(&self) -> bool {
        let [_, .., before, last] = self.taken[..] else { return false };
        let fills = |tokens: f64| tokens > self.config.batch.chunk_tokens as f64;
        let of_item = last.tokens as f64 / last.items.max(1) as f64;
        let is_near = LEAST_PART * last.pairs >= self.size;
        is_near && (!fills(of_item * self.items(&last, self.size)) || fills(before.tokens as f64))
    }

    /// Items of a batch of so many pairs in the run, by those of `last`.
    fn items(&self, last: &Taken, pairs: usize) -> f64 {
        last.items as f64 * share(pairs, last) + self.mined(pairs)
    }

    /// Negatives that are mined for so many pairs, and were not there yet.
    fn mined(&self, pairs: usize) -> f64 {
        (self.config.negatives.mined * pairs) as f64
    }

    fn score_bytes(&self, queries: usize, targets: f64) -> f64 {
        let loss = &self.config.loss;
        let [once, of_width] = SCORE_BYTES;
        let of_score = once + of_width * (1 + loss.matryoshka_dims.len()) as f64;
        if loss.is_of_pairs() { 0.0 } else { of_score * queries as f64 * targets }
    }
}

/// How many times as many pairs as `last` has.
fn share(pairs: usize, last: &Taken) -> f64 {
    pairs as f64 / last.pairs.max(1) as f64
}

/// The value at `x` on the line through two points, or through nothing at all and the last. It does not fall.
fn on_line(before: Option<(f64, f64)>, (last, value): (f64, f64), x: f64) -> f64 {
    let slope = match before {
        Some((before, of_before)) if before < last => (value - of_before).max(0.0) / (last - before),
        _ => value / last.max(1.0),
    };
    (value + slope * (x - last)).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: f64 = 1_048_576.0;

    fn config(chunk_tokens: usize, more: &str) -> TrainConfig {
        let start = "output = \"run\"\n[model]\npath = \"m\"\n[data]\npairs = [\"p\"]\n";
        toml::from_str(&format!("{start}[batch]\nchunk_tokens = {chunk_tokens}\n{more}")).unwrap()
    }

    /// A reranker, whose loss has no table of all queries and targets.
    fn of_pairs(chunk_tokens: usize) -> TrainConfig {
        config(chunk_tokens, "[loss]\nkind = \"yes-no\"\n")
    }

    /// Of pairs of 100 tokens, of which a chunk holds 80: 100 MiB for whatever the batch is, 2 for the graph
    /// of a pair, a sixteenth for its inputs, and three seconds, or four where it is embedded twice.
    fn take(pairs: usize) -> Taken {
        let mebibytes = 100.0 + 2.0 * pairs.min(80) as f64 + pairs as f64 / 16.0;
        let seconds = if pairs > 80 { 4 } else { 3 };
        Taken {
            pairs,
            items: 2 * pairs,
            tokens: 100 * pairs,
            targets: pairs,
            time: Duration::from_secs(seconds * pairs as u64),
            bytes: Some((mebibytes * MIB) as u64),
        }
    }

    fn measured(config: &TrainConfig, size: usize, room: Option<f64>) -> Measured<'_> {
        Measured::of(config, size, room, |pairs| Ok(take(pairs))).unwrap()
    }

    #[test]
    fn batches_are_small_at_first_and_grow_until_they_tell() {
        for (chunk_tokens, size, expected) in [
            (8000, 2, &[1, 2][..]),
            (8000, 3, &[2, 3]),
            (8000, 9, &[4, 8, 9]),
            (8000, 70, &[4, 8, 16]),
            (1, 1024, &[4, 8, 16, 32, 64, 128]),
            (1_000_000, 1024, &[4, 8, 16, 32, 64, 128]),
            // Two of those that fill a chunk, or the whole batch.
            (8000, 1024, &[4, 8, 16, 32, 64, 128, 256]),
            (8000, 100, &[4, 8, 16, 32, 64, 100]),
        ] {
            let config = of_pairs(chunk_tokens);
            assert_eq!(measured(&config, size, None).pairs(), expected, "{size} by {chunk_tokens}");
        }
    }

    #[test]
    fn memory_and_time_are_those_on_the_same_side_of_a_chunk() {
        let config = of_pairs(8000);
        let all = measured(&config, 1024, Some(400.0 * MIB));
        assert_eq!(all.pairs(), [4, 8, 16, 32, 64, 128, 256]);
        assert!((all.bytes(1024).unwrap() - (100.0 + 160.0 + 64.0) * MIB).abs() < 1.0);
        assert_eq!((all.time(), all.most_bytes()), (Duration::from_secs(4 * 1024), take(256).bytes));
        // Of a whole batch it is what was measured.
        let whole = measured(&config, 9, None);
        assert_eq!((whole.time(), whole.bytes(9).unwrap() as u64), (take(9).time, take(9).bytes.unwrap()));
        let small = measured(&config, 70, None);
        assert!((small.bytes(70).unwrap() - take(70).bytes.unwrap() as f64).abs() < 1.0);
    }

    /// What is told then is a bound.
    #[test]
    fn batches_that_would_not_fit_are_not_taken() {
        let config = of_pairs(8000);
        for (room, expected) in [(300.0, &[4, 8, 16, 32, 64][..]), (150.0, &[4, 8, 16]), (110.0, &[4, 8])] {
            let all = measured(&config, 1024, Some(room * MIB));
            assert_eq!(all.pairs(), expected, "{room} MiB");
            assert!(all.bytes(1024).unwrap() > take(1024).bytes.unwrap() as f64);
            assert!(all.bytes(128).unwrap() > room * MIB);
            assert_eq!(all.bytes(4).unwrap() as u64, take(4).bytes.unwrap(), "{room} MiB");
        }
    }

    #[test]
    fn what_is_mined_and_what_is_scored_is_counted() {
        let scored = config(8000, "[loss]\nmatryoshka_dims = [8]\n");
        let more = measured(&scored, 1024, None).bytes(1024).unwrap() - 324.0 * MIB;
        let expected = (22.0 + 2.0 * 46.0) * f64::from(1024 * 1024 - 256 * 256);
        assert!((more - expected).abs() < 1.0, "{more}, not {expected}");

        // As many items as twice as many pairs.
        let mined = config(8000, "[negatives]\nmined = 2\n[loss]\ndirection_weight = 0.0\n");
        let mined = measured(&mined, 1024, None);
        assert_eq!(mined.time(), Duration::from_secs(4 * 2048));
        let scores = (22.0 + 46.0) * f64::from(1024 * 3 * 1024 - 256 * 256);
        assert!((mined.bytes(1024).unwrap() - (388.0 * MIB + scores)).abs() < 1.0);
    }

    #[test]
    fn a_batch_without_negatives_tells_nothing() {
        let config = of_pairs(8000);
        let fault = || TrainError::Config { place: "a pair".to_owned(), reason: "no negatives".to_owned() };
        let from = |least: usize| {
            let take = |pairs: usize| if pairs < least { Err(fault()) } else { Ok(take(pairs)) };
            Measured::of(&config, 20, None, take).map(|all| all.pairs())
        };
        assert_eq!(from(9).unwrap(), [16, 20]);
        assert_eq!(from(21).unwrap_err().to_string(), "a pair: no negatives");
    }
}
