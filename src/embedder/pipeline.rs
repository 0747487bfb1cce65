//! Decoding runs ahead of the model.
//!
//! One thread takes inputs as they come and has several prepared at once; the calling thread packs what is
//! ready into batches and runs the model. Results come out in input order, and an input that fails takes
//! nothing else with it.

use std::borrow::Borrow;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::CancelToken;
use super::Inner;
use super::error::EmbedError;
use super::input::Input;
use super::prepare::Prepared;

/// Prepared inputs that may wait for the model, beyond those being prepared.
const WAITING: usize = 4;

pub(super) type Outcome<T> = Result<T, EmbedError>;
/// Where an input will be once it is prepared.
type Promise = Receiver<Outcome<Prepared>>;

/// What is made of inputs.
pub(super) trait Job: Sync {
    /// What one becomes.
    type Output;

    /// The model, and the threads that work ahead of it.
    fn inner(&self) -> &Inner;

    /// An input as the model reads it.
    fn prepare(&self, input: &Input) -> Outcome<Prepared>;

    /// Runs prepared inputs through the model together.
    fn forward(&self, batch: &[Prepared]) -> Outcome<Vec<Outcome<Self::Output>>>;
}

/// Does `job` for `inputs`, handing each result to `emit` in input order. Stops early, emitting nothing
/// more, when `cancel` is set or `emit` returns false.
pub(super) fn run<J: Job, B: Borrow<Input> + Send>(
    job: &J,
    inputs: impl Iterator<Item = B> + Send,
    cancel: &CancelToken,
    mut emit: impl FnMut(Outcome<J::Output>) -> bool,
) {
    let inner = job.inner();
    let (sender, promises) = sync_channel(inner.decode_pool.current_num_threads() + WAITING);
    std::thread::scope(|scope| {
        scope.spawn(|| prepare_all(job, inputs, cancel, sender));
        let mut queue = Queue { promises, next: None };
        while let Some(batch) = queue.next_batch(inner.batch_tokens) {
            if cancel.is_cancelled() {
                break;
            }
            if !run_batch(job, batch).into_iter().all(&mut emit) {
                break;
            }
        }
        // Frees the preparing thread, should it wait for room in the channel.
        drop(queue);
    });
}

/// Begins to prepare each input as soon as it is there and there is room: the source may wait for results of
/// earlier ones.
fn prepare_all<B: Borrow<Input> + Send>(
    job: &impl Job,
    inputs: impl Iterator<Item = B>,
    cancel: &CancelToken,
    sender: SyncSender<Promise>,
) {
    job.inner().decode_pool.in_place_scope(|scope| {
        for input in inputs {
            let (done, promise) = sync_channel(1);
            if cancel.is_cancelled() || sender.send(promise).is_err() {
                return;
            }
            scope.spawn(move |_| {
                if !cancel.is_cancelled() {
                    // Nobody waits for it any more where the job has ended.
                    drop(done.send(job.prepare(input.borrow())));
                }
            });
        }
    });
}

/// Inputs that are being prepared, in their order.
struct Queue {
    promises: Receiver<Promise>,
    /// The next one, where it has been looked at but was not taken.
    next: Option<Next>,
}

/// An input that did not go into a batch.
enum Next {
    /// It was not ready.
    Awaited(Promise),
    /// It was too long.
    Ready(Box<Outcome<Prepared>>),
}

impl Queue {
    /// Waits for one input and takes what else is ready, up to `max_tokens`. `None` at the end.
    fn next_batch(&mut self, max_tokens: usize) -> Option<Vec<Outcome<Prepared>>> {
        let tokens = |outcome: &Outcome<Prepared>| outcome.as_ref().map_or(0, Prepared::num_tokens);
        let wait = |promise: Promise| promise.recv().unwrap_or(Err(EmbedError::Cancelled));
        let first = match self.next.take() {
            Some(Next::Ready(outcome)) => *outcome,
            Some(Next::Awaited(promise)) => wait(promise),
            None => wait(self.promises.recv().ok()?),
        };
        let mut total = tokens(&first);
        let mut batch = vec![first];
        while let Ok(promise) = self.promises.try_recv() {
            let Ok(outcome) = promise.try_recv() else {
                self.next = Some(Next::Awaited(promise));
                break;
            };
            total += tokens(&outcome);
            if total > max_tokens {
                self.next = Some(Next::Ready(Box::new(outcome)));
                break;
            }
            batch.push(outcome);
        }
        Some(batch)
    }
}

/// Runs the good inputs of a batch through the model and puts everything back in order.
fn run_batch<J: Job>(job: &J, batch: Vec<Outcome<Prepared>>) -> Vec<Outcome<J::Output>> {
    let mut failures: Vec<Option<EmbedError>> = Vec::with_capacity(batch.len());
    let mut good = Vec::new();
    for outcome in batch {
        match outcome {
            Ok(prepared) => {
                good.push(prepared);
                failures.push(None);
            }
            Err(error) => failures.push(Some(error)),
        }
    }
    let mut done = forward_each(job, good).into_iter();
    failures
        .into_iter()
        .filter_map(|failure| failure.map_or_else(|| done.next(), |error| Some(Err(error))))
        .collect()
}

/// Runs prepared inputs together. Should the batch fail as a whole (out of memory, say), each is tried alone, so
/// that an error belongs to one input, and warned of why.
pub(super) fn forward_each<J: Job>(job: &J, batch: Vec<Prepared>) -> Vec<Outcome<J::Output>> {
    if batch.is_empty() {
        return Vec::new();
    }
    match job.forward(&batch) {
        Ok(results) => results,
        Err(error) if batch.len() == 1 => vec![Err(error)],
        Err(error) => {
            let warning = format!("embedded alone, as a batch of {} failed: {error}", batch.len());
            let alone = batch.into_iter().flat_map(|mut one| {
                one.warnings.push(warning.clone());
                forward_each(job, vec![one])
            });
            alone.collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Item;
    use crate::preprocess::Encoding;

    fn of_tokens(tokens: usize) -> Outcome<Prepared> {
        let position_ids = [0; 3].map(|axis| vec![axis; tokens]);
        let encoding = Encoding {
            input_ids: vec![0; tokens],
            position_ids,
            visual_spans: Vec::new(),
            truncated_tokens: 0,
        };
        let item = Item { encoding, visuals: Vec::new(), behind: 0 };
        Ok(Prepared { item, time_range: None, source: None, warnings: Vec::new() })
    }

    #[test]
    fn a_batch_has_no_more_tokens_than_it_may_unless_an_input_has_more_by_itself() {
        let (sender, promises) = sync_channel(9);
        let waiting: Vec<_> = (0..9)
            .map(|_| {
                let (done, promise) = sync_channel(1);
                sender.send(promise).unwrap();
                done
            })
            .collect();
        let inputs = [Some(300), Some(212), Some(1), Some(512), Some(513), None, Some(500), Some(13)];
        for (done, tokens) in waiting.iter().zip(inputs) {
            done.send(tokens.map_or(Err(EmbedError::Cancelled), of_tokens)).unwrap();
        }
        let mut queue = Queue { promises, next: None };
        let mut batch = || -> Vec<usize> {
            let batch = queue.next_batch(512).unwrap();
            batch.iter().map(|outcome| outcome.as_ref().map_or(0, Prepared::num_tokens)).collect()
        };
        assert_eq!(batch(), [300, 212]);
        assert_eq!(batch(), [1]);
        assert_eq!(batch(), [512]);
        assert_eq!(batch(), [513]);
        assert_eq!(batch(), [0, 500]);
        // The next is not ready, and nothing waits for it.
        assert_eq!(batch(), [13]);
        waiting[8].send(of_tokens(2)).unwrap();
        drop((sender, waiting));
        assert_eq!(batch(), [2]);
        assert!(queue.next_batch(512).is_none());
    }
}
