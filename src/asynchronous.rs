//! Embedding, indexing and searching for programs that must not wait: user interfaces, servers.
//!
//! Each call works on a thread of its own, of a pool that grows as needed, and gives a future that any runtime can
//! poll. A future that is dropped ends the work in order, after what is under way; that of what takes one step is a
//! step: [`embed_one`], `find`, `open`, `reload` and `search` go on to their end, and nobody gets it.
//!
//! ```
//! use gve::{Embedder, Input, asynchronous};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let model_dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/tiny-a/model");
//! let embedder = Embedder::load(model_dir)?;
//! # fn block_on<F: Future>(future: F) -> F::Output {
//! #     let (waker, mut future) = (std::task::Waker::noop(), std::pin::pin!(future));
//! #     loop {
//! #         if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut std::task::Context::from_waker(waker)) {
//! #             break output;
//! #         }
//! #     }
//! # }
//! # block_on(async {
//! let query = asynchronous::embed_one(&embedder, Input::text("a dog runs")).await?;
//! # assert_eq!(query.dim(), embedder.dim());
//! # Ok(()) })
//! # }
//! ```

use blocking::unblock;

use crate::cancel::CancelToken;
use crate::embedder::{EmbedError, Embedder, Embedding, Input};

#[cfg(feature = "library")]
pub use of_libraries::{Indexing, find, index, open, reload, search};
#[cfg(feature = "watch")]
pub use of_libraries::{Watching, watch};

/// Cancels what is under way when it is dropped.
#[derive(Debug)]
struct CancelOnDrop(CancelToken);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// As [`Embedder::embed`].
pub async fn embed(embedder: &Embedder, inputs: Vec<Input>) -> Vec<Result<Embedding, EmbedError>> {
    let (embedder, cancel) = (embedder.clone(), CancelToken::new());
    let _guard = CancelOnDrop(cancel.clone());
    unblock(move || embedder.embed_with(&inputs, &cancel, |_| {})).await
}

/// As [`Embedder::embed_one`].
///
/// # Errors
/// As there.
pub async fn embed_one(embedder: &Embedder, input: Input) -> Result<Embedding, EmbedError> {
    let embedder = embedder.clone();
    unblock(move || embedder.embed_one(&input)).await
}

#[cfg(feature = "library")]
mod of_libraries {
    use std::path::PathBuf;
    use std::sync::Arc;
    use std::time::Duration;

    use async_channel::{Receiver, Sender, TrySendError};
    use blocking::{Task, unblock};

    use super::CancelOnDrop;
    use crate::cancel::CancelToken;
    use crate::embedder::{Embedder, Embedding};
    use crate::indexer::{
        FindOptions, Found, IndexError, IndexEvent, IndexOptions, IndexTotals, MediaFile, find_with,
        index_with,
    };
    #[cfg(feature = "watch")]
    use crate::indexer::{WatchEvent, WatchOptions};
    #[cfg(feature = "watch")]
    use crate::retrieval::LibraryManifest;
    use crate::retrieval::{Library, LibraryHit, LibraryWriter, RetrievalError, SearchOptions};

    /// Events that wait to be asked for; more have indexing wait.
    const EVENTS: usize = 1024;

    /// How often it is looked whether there is room for an event again.
    const POLL: Duration = Duration::from_millis(20);

    /// Waits until there is room for an event, and no longer than somebody listens and nobody has asked to stop.
    fn tell<T>(events: &Sender<T>, mut event: T, cancel: &CancelToken) {
        while let Err(TrySendError::Full(unsent)) = events.try_send(event) {
            if cancel.is_cancelled() {
                return;
            }
            event = unsent;
            std::thread::sleep(POLL);
        }
    }

    /// As [`Library::open`].
    ///
    /// # Errors
    /// As there.
    pub async fn open(directory: impl Into<PathBuf>) -> Result<Library, RetrievalError> {
        let directory = directory.into();
        unblock(move || Library::open(directory)).await
    }

    /// As [`Library::reload`].
    ///
    /// # Errors
    /// As there.
    pub async fn reload(library: &Arc<Library>) -> Result<Option<Library>, RetrievalError> {
        let library = Arc::clone(library);
        unblock(move || library.reload()).await
    }

    /// As [`find_with`].
    pub async fn find(root: impl Into<PathBuf>, options: FindOptions) -> Found {
        let root = root.into();
        unblock(move || find_with(&root, &options)).await
    }

    /// As [`Library::search_for`].
    ///
    /// # Errors
    /// As there.
    pub async fn search(
        library: &Arc<Library>,
        query: Embedding,
        options: SearchOptions,
    ) -> Result<Vec<LibraryHit>, RetrievalError> {
        let library = Arc::clone(library);
        unblock(move || library.search_for(query.as_slice().into(), &options)).await
    }

    /// As [`index_with`], and then [`LibraryWriter::finish`]. The work begins at once.
    #[must_use]
    pub fn index(
        embedder: &Embedder,
        mut library: LibraryWriter,
        files: Vec<MediaFile>,
        options: IndexOptions,
    ) -> Indexing {
        let (send, events) = async_channel::bounded(EVENTS);
        let guard = CancelOnDrop(options.cancel.clone());
        let embedder = embedder.clone();
        let task = unblock(move || {
            let totals = index_with(&embedder, &mut library, &files, &options, |event| {
                tell(&send, event, &options.cancel);
            })?;
            library.finish()?;
            Ok(totals)
        });
        Indexing { events, task, guard }
    }

    /// A library that is being filled. Dropped, it ends after what is under way; so it does when
    /// [`IndexOptions::cancel`] is set.
    #[derive(Debug)]
    pub struct Indexing {
        events: Receiver<IndexEvent>,
        task: Task<Result<IndexTotals, IndexError>>,
        guard: CancelOnDrop,
    }

    impl Indexing {
        /// What happens next; `None` once all has happened. Whoever does not ask for long has indexing wait; what
        /// there is no room for once it is cancelled is not told.
        pub async fn next(&mut self) -> Option<IndexEvent> {
            self.events.recv().await.ok()
        }

        /// How it ended, once it has; events that were not asked for are lost.
        ///
        /// # Errors
        /// As [`index_with`].
        pub async fn finish(self) -> Result<IndexTotals, IndexError> {
            let Self { events, task, guard } = self;
            drop(events);
            let ended = task.await;
            drop(guard);
            ended
        }
    }

    /// As [`watch`](fn@crate::indexer::watch). The work begins at once.
    #[cfg(feature = "watch")]
    #[must_use]
    pub fn watch(
        embedder: &Embedder,
        directory: impl Into<PathBuf>,
        manifest: LibraryManifest,
        folders: Vec<PathBuf>,
        options: WatchOptions,
    ) -> Watching {
        let (send, events) = async_channel::bounded(EVENTS);
        let guard = CancelOnDrop(options.cancel.clone());
        let (embedder, directory) = (embedder.clone(), directory.into());
        let task = unblock(move || {
            crate::indexer::watch(&embedder, directory, &manifest, &folders, &options, |event| {
                tell(&send, event, &options.cancel);
            })
        });
        Watching { events, task, guard }
    }

    /// Folders that are watched. Dropped, that ends after what is under way; so it does when
    /// [`WatchOptions::cancel`] is set.
    #[cfg(feature = "watch")]
    #[derive(Debug)]
    pub struct Watching {
        events: Receiver<WatchEvent>,
        task: Task<Result<(), IndexError>>,
        guard: CancelOnDrop,
    }

    #[cfg(feature = "watch")]
    impl Watching {
        /// What happens next; `None` once it has ended. Whoever does not ask for long has the watching wait; what
        /// there is no room for once it is cancelled is not told.
        pub async fn next(&mut self) -> Option<WatchEvent> {
            self.events.recv().await.ok()
        }

        /// Ends it after what is under way, and tells how it ended; events that were not asked for are lost.
        ///
        /// # Errors
        /// As [`watch`](fn@crate::indexer::watch).
        pub async fn finish(self) -> Result<(), IndexError> {
            let Self { events, task, guard } = self;
            drop((events, guard));
            task.await
        }
    }
}
