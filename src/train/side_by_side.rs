//! Parts of a batch on threads of their own.
//!
//! Between the kernels of a pass one thread works alone, in the small models a third of the time. Where parts
//! of a batch go through the model at the same time, the other cores have something to do meanwhile.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use rayon::ThreadPool;

use super::TrainError;

/// A part has at least so many tokens.
const FEWEST_TOKENS: usize = 1024;
/// And a token for so many trained values: each part has gradients of all of them, which its graph, of a hundred
/// thousand values a token and more, should dwarf.
const VALUES_PER_TOKEN: usize = 50_000;
/// Parts of a piece, whatever the number of threads, on which no gradient depends.
const MOST_PARTS: usize = 16;
/// Graphs are walked and freed by recursion.
const STACK_BYTES: usize = 64 << 20;

/// Cuts items that cost so many tokens into runs that cost about the same; `trained` is the number of values that
/// are trained.
pub(super) fn parts(costs: &[usize], trained: usize) -> Vec<Range<usize>> {
    let total: usize = costs.iter().sum();
    let fewest = FEWEST_TOKENS.max(trained / VALUES_PER_TOKEN);
    let count = (total / fewest).clamp(1, MOST_PARTS);
    let mut parts: Vec<Range<usize>> = Vec::with_capacity(count);
    let (mut start, mut own) = (0, 0);
    for (end, cost) in (1..).zip(costs) {
        own += cost;
        if own * count >= total || end == costs.len() {
            parts.push(start..end);
            (start, own) = (end, 0);
        }
    }
    parts
}

/// What `work` makes of all items, in their order.
pub(super) fn map<T: Send, R: Send>(
    items: Vec<T>,
    work: impl Fn(T) -> Result<R, TrainError> + Sync,
) -> Result<Vec<R>, TrainError> {
    let mut results = Vec::with_capacity(items.len());
    each(items, work, |result| {
        results.push(result);
        Ok(())
    })?;
    Ok(results)
}

/// Gives `take` what `work` makes of each item, in their order. The first error ends it.
pub(super) fn each<T: Send, R: Send>(
    items: Vec<T>,
    work: impl Fn(T) -> Result<R, TrainError> + Sync,
    mut take: impl FnMut(R) -> Result<(), TrainError> + Send,
) -> Result<(), TrainError> {
    let Some(pools) = pools(items.len()) else {
        return items.into_iter().try_for_each(|item| take(work(item)?));
    };
    let waiting = Mutex::new(items.into_iter().enumerate());
    let arrived = Mutex::new(Arrived { next: 0, early: BTreeMap::new(), take, outcome: Ok(()) });
    let run = || {
        loop {
            // The lock is let go before the work.
            let Some((number, item)) = lock(&waiting).next() else { return };
            let result = work(item);
            let mut arrived = lock(&arrived);
            arrived.add(number, result);
            if arrived.outcome.is_err() {
                return;
            }
        }
    };
    thread::scope(|scope| {
        for pool in &pools {
            scope.spawn(|| pool.install(run));
        }
    });
    arrived.into_inner().unwrap_or_else(PoisonError::into_inner).outcome
}

/// The cores shared out to workers; `None` where there is nothing to share, or the system gives no threads.
fn pools(items: usize) -> Option<Vec<ThreadPool>> {
    let threads = rayon::current_num_threads();
    let workers = threads.min(items);
    let pool =
        || rayon::ThreadPoolBuilder::new().num_threads(threads / workers).stack_size(STACK_BYTES).build();
    (workers > 1).then(|| (0..workers).map(|_| pool().ok()).collect()).flatten()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Results on their way back into order.
struct Arrived<R, F> {
    /// Number of the result that is taken next.
    next: usize,
    early: BTreeMap<usize, Result<R, TrainError>>,
    take: F,
    outcome: Result<(), TrainError>,
}

impl<R, F: FnMut(R) -> Result<(), TrainError>> Arrived<R, F> {
    fn add(&mut self, number: usize, result: Result<R, TrainError>) {
        self.early.insert(number, result);
        while self.outcome.is_ok()
            && let Some(result) = self.early.remove(&self.next)
        {
            self.next += 1;
            self.outcome = result.and_then(&mut self.take);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[test]
    fn parts_cost_alike_and_hold_all_items() {
        let ends = |costs: &[usize], trained| -> Vec<usize> {
            let parts = parts(costs, trained);
            let starts = std::iter::once(0).chain(parts.iter().map(|part| part.end));
            assert!(parts.iter().zip(starts).all(|(part, start)| part.start == start && !part.is_empty()));
            parts.iter().map(|part| part.end).collect()
        };
        assert_eq!(ends(&[1023], 0), [1]);
        assert_eq!(ends(&[1000; 5], 0), [2, 4, 5]);
        assert_eq!(ends(&[100_000, 10, 10], 0), [1, 3]);
        assert_eq!(ends(&[10, 10, 100_000], 0), [3]);
        assert_eq!(ends(&[512; 10], 0), [2, 4, 6, 8, 10]);
        assert_eq!(ends(&[512; 10], 2560 * VALUES_PER_TOKEN), [5, 10]);
        assert_eq!(ends(&[4096; 32], 0), (2..=32).step_by(2).collect::<Vec<_>>());
        assert!(ends(&[], 0).is_empty());
    }

    #[test]
    fn results_come_in_order_whoever_is_first() {
        let threads = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        let most = AtomicUsize::new(0);
        let slow_first = |item: usize| {
            // Others go on while the first is at work.
            if item == 0 {
                while most.load(Ordering::SeqCst) < 3 {
                    thread::sleep(Duration::from_millis(1));
                }
            }
            most.fetch_max(item, Ordering::SeqCst);
            Ok(item)
        };
        let results = threads.install(|| map((0..8).collect(), slow_first)).unwrap();
        assert_eq!(results, (0..8).collect::<Vec<_>>());
    }

    #[test]
    fn the_first_error_in_order_ends_it() {
        let shape = |item: usize| TrainError::Shape(item.to_string());
        for threads in [1, 3] {
            let threads = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut taken = Vec::new();
            let work = |item: usize| if item % 4 == 2 { Err(shape(item)) } else { Ok(item) };
            let each = |item| {
                taken.push(item);
                Ok(())
            };
            let outcome = threads.install(|| super::each((0..100).collect(), work, each));
            assert_eq!(
                (outcome.unwrap_err().to_string().as_str(), taken.as_slice()),
                ("2", [0, 1].as_slice())
            );
            let refused = threads.install(|| super::each(vec![1, 2], Ok, |item| Err(shape(item))));
            assert_eq!(refused.unwrap_err().to_string(), "1");
        }
    }
}
