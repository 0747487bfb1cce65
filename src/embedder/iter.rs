use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use super::CancelToken;
use super::embedding::Embedding;
use super::error::EmbedError;
use super::input::Input;
use super::{Inner, pipeline};
use crate::options::shown_by;

/// Finished embeddings that may wait to be taken.
const WAITING: usize = 64;

/// Embeddings in the order of their inputs; see
/// [`Embedder::embed_iter`](super::Embedder::embed_iter).
pub struct EmbedIter {
    results: Receiver<Result<Embedding, EmbedError>>,
    cancel: CancelToken,
    /// `None` once its end has been looked at.
    worker: Option<JoinHandle<()>>,
}

shown_by!(EmbedIter |it| { is_running: it.worker.is_some() });

impl EmbedIter {
    pub(super) fn start(inner: Arc<Inner>, inputs: impl Iterator<Item = Input> + Send + 'static) -> Self {
        let (sender, results) = sync_channel(WAITING);
        let cancel = CancelToken::new();
        let token = cancel.clone();
        let worker = std::thread::spawn(move || {
            pipeline::run(&*inner, inputs, &token, |result| sender.send(result).is_ok());
        });
        Self { results, cancel, worker: Some(worker) }
    }
}

impl Iterator for EmbedIter {
    type Item = Result<Embedding, EmbedError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.results.recv() {
            Ok(result) => Some(result),
            // The worker is done. Had it died, say so instead of ending early as if all were well.
            Err(_) => match self.worker.take()?.join() {
                Ok(()) => None,
                Err(_) => Some(Err(EmbedError::Job("the embedding thread panicked".to_owned()))),
            },
        }
    }
}

impl Drop for EmbedIter {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}
