//! Decoding runs ahead of the model.
//!
//! One thread prepares inputs a few at a time and hands them over a bounded channel; the calling
//! thread packs what has arrived into batches and runs the model. Results come out in input order, and an
//! input that fails takes nothing else with it.

use std::borrow::Borrow;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use rayon::prelude::*;

use super::Inner;
use super::cancel::CancelToken;
use super::embedding::Embedding;
use super::error::EmbedError;
use super::input::Input;
use super::prepare::Prepared;

/// Prepared inputs that may wait for the model, beyond those being prepared.
const WAITING: usize = 4;

type Outcome<T> = Result<T, EmbedError>;

/// Embeds `inputs`, handing each result to `emit` in input order. Stops early, emitting nothing
/// more, when `cancel` is set or `emit` returns false.
pub(super) fn run<B: Borrow<Input> + Send>(
    inner: &Inner,
    inputs: impl Iterator<Item = B> + Send,
    cancel: &CancelToken,
    mut emit: impl FnMut(Outcome<Embedding>) -> bool,
) {
    let (sender, receiver) = sync_channel(WAITING);
    std::thread::scope(|scope| {
        scope.spawn(|| prepare_all(inner, inputs, cancel, sender));
        while let Some(batch) = next_batch(&receiver, inner.batch_tokens) {
            if cancel.is_cancelled() {
                break;
            }
            if !embed_batch(inner, batch).into_iter().all(&mut emit) {
                break;
            }
        }
        // Frees the preparing thread, should it wait for room in the channel.
        drop(receiver);
    });
}

fn prepare_all<B: Borrow<Input> + Send>(
    inner: &Inner,
    inputs: impl Iterator<Item = B>,
    cancel: &CancelToken,
    sender: SyncSender<Outcome<Prepared>>,
) {
    let at_once = inner.decode_pool.current_num_threads();
    let mut inputs = inputs.fuse();
    loop {
        let chunk: Vec<B> = inputs.by_ref().take(at_once).collect();
        if chunk.is_empty() || cancel.is_cancelled() {
            return;
        }
        let prepared: Vec<Outcome<Prepared>> = inner
            .decode_pool
            .install(|| chunk.into_par_iter().map(|input| inner.preparer.prepare(input.borrow())).collect());
        for outcome in prepared {
            if sender.send(outcome).is_err() {
                return;
            }
        }
    }
}

/// Waits for one input and takes what else is ready, up to `max_tokens`. `None` at the end.
fn next_batch(receiver: &Receiver<Outcome<Prepared>>, max_tokens: usize) -> Option<Vec<Outcome<Prepared>>> {
    let tokens = |outcome: &Outcome<Prepared>| outcome.as_ref().map_or(0, Prepared::num_tokens);
    let mut batch = vec![receiver.recv().ok()?];
    let mut total: usize = batch.iter().map(tokens).sum();
    while total < max_tokens {
        let Ok(outcome) = receiver.try_recv() else { break };
        total += tokens(&outcome);
        batch.push(outcome);
    }
    Some(batch)
}

/// Runs the good inputs of a batch through the model and puts everything back in order.
fn embed_batch(inner: &Inner, batch: Vec<Outcome<Prepared>>) -> Vec<Outcome<Embedding>> {
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
    let mut embedded = inner.forward_each(good).into_iter();
    failures
        .into_iter()
        .filter_map(|failure| failure.map_or_else(|| embedded.next(), |error| Some(Err(error))))
        .collect()
}
