//! The calls for asynchronous programs.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use gve::indexer::{FindOptions, IndexError, IndexEvent, IndexOptions, find_media, library_manifest};
use gve::retrieval::{LibraryWriter, SearchOptions};
use gve::{Embedder, Input, asynchronous};
use gve_test_support::golden::{golden_dir, marked};

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The smallest runtime there is.
fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

fn is_send<T: Send>(value: T) -> T {
    value
}

#[test]
fn what_is_embedded_indexed_and_found_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    for i in 0..4 {
        std::fs::write(folder.path().join(format!("{i}.png")), marked("tiny.png", i)).unwrap();
    }
    std::fs::write(folder.path().join("broken.png"), "no picture").unwrap();
    let embedder = Embedder::load(golden_dir().join("tiny-a/model")).unwrap();
    block_on(is_send(async {
        let inputs = vec![Input::text("a dog runs"), Input::image("missing.png")];
        let embeddings = asynchronous::embed(&embedder, inputs).await;
        let query = asynchronous::embed_one(&embedder, Input::text("a dog runs")).await.unwrap();
        assert_eq!(embeddings[0].as_ref().unwrap().as_slice(), query.as_slice());
        assert!(embeddings[1].is_err());
        assert_eq!(query.as_slice(), embedder.embed_one(&Input::text("a dog runs")).unwrap().as_slice());

        let library = folder.path().join("library");
        let writer = || LibraryWriter::create_or_open(&library, library_manifest(&embedder)).unwrap();
        let files: Vec<_> = find_media(folder.path()).into_iter().flatten().collect();
        let mut indexing = asynchronous::index(&embedder, writer(), files.clone(), IndexOptions::default());
        let mut done = 0;
        while let Some(event) = indexing.next().await {
            done += usize::from(matches!(event, IndexEvent::Done(..)));
        }
        let totals = indexing.finish().await.unwrap();
        assert_eq!((done, totals.added, totals.failed), (4, 4, 1));
        // Whoever does not listen loses the events and nothing else.
        let again = asynchronous::index(&embedder, writer(), files.clone(), IndexOptions::default());
        assert_eq!(again.finish().await.unwrap().unchanged, 4);

        let opened = Arc::new(asynchronous::open(&library).await.unwrap());
        assert!(asynchronous::reload(&opened).await.unwrap().is_none());
        let found = asynchronous::find(folder.path(), FindOptions::default()).await;
        assert_eq!(found.files, files);
        let expected = opened.search(query.as_slice().into(), 2).unwrap();
        assert_eq!(asynchronous::search(&opened, query, SearchOptions::new(2)).await.unwrap(), expected);
    }));
}

#[test]
fn indexing_that_nobody_wants_any_more_ends() {
    let folder = tempfile::tempdir().unwrap();
    let embedder = Embedder::load(golden_dir().join("tiny-a/model")).unwrap();
    let library = folder.path().join("library");
    let writer = || LibraryWriter::create_or_open(&library, library_manifest(&embedder));
    let options = IndexOptions::default();
    drop(asynchronous::index(&embedder, writer().unwrap(), Vec::new(), options.clone()));
    assert!(options.cancel.is_cancelled());
    // The lock goes with it.
    while writer().is_err() {
        thread::yield_now();
    }
    let indexing = asynchronous::index(&embedder, writer().unwrap(), Vec::new(), options);
    assert!(matches!(block_on(indexing.finish()), Err(IndexError::Cancelled)));
}

#[cfg(feature = "watch")]
#[test]
fn a_folder_is_followed_until_nobody_wants_that_any_more() {
    use gve::indexer::{WatchEvent, WatchOptions};

    let folder = tempfile::tempdir().unwrap();
    let (library, videos) = (folder.path().join("library"), folder.path().join("v"));
    std::fs::create_dir(&videos).unwrap();
    std::fs::write(videos.join("a.png"), marked("tiny.png", 1)).unwrap();
    let embedder = Embedder::load(golden_dir().join("tiny-a/model")).unwrap();
    let options = WatchOptions::default().with_settle(std::time::Duration::from_millis(50));
    let manifest = library_manifest(&embedder);
    block_on(is_send(async {
        let begin = || {
            asynchronous::watch(&embedder, &library, manifest.clone(), vec![videos.clone()], options.clone())
        };
        let mut watching = begin();
        let event = watching.next().await;
        assert!(matches!(event, Some(WatchEvent::File(IndexEvent::Done(..)))), "{event:?}");
        let before = Arc::new(asynchronous::open(&library).await.unwrap());
        std::fs::write(videos.join("b.png"), marked("tiny.png", 2)).unwrap();
        while !matches!(watching.next().await, Some(WatchEvent::File(IndexEvent::Done(..)))) {}
        let after = asynchronous::reload(&before).await.unwrap().unwrap();
        assert_eq!((before.entries().len(), after.entries().len()), (1, 2));
        watching.finish().await.unwrap();
        assert!(options.cancel.is_cancelled());
        // One that was cancelled before ends by itself.
        assert!(begin().next().await.is_none());
    }));
}
