//! An application in small: a folder is indexed in the background and searched as it goes.
//!
//! ```sh
//! cargo run --release --features nano --example search_while_indexing -- nano ~/Videos ./library
//! ```
//!
//! Each line of standard input is a query. The end of input stops indexing after what is under way; started
//! again, it goes on from there.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::error::Error;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::thread;

use gve::indexer::{IndexError, IndexEvent, IndexOptions, find_media, index_with, library_manifest};
use gve::retrieval::{Library, LibraryManifest, LibraryWriter, RetrievalError};
use gve::{CancelToken, Embedder, Input};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, folder, library] = arguments.as_slice() else {
        return Err("usage: search_while_indexing MODEL_DIR_OR_HUB_ID FOLDER LIBRARY".into());
    };
    let embedder = gve::load(model)?;
    let manifest = library_manifest(&embedder);
    let (folder, library) = (PathBuf::from(folder), PathBuf::from(library));

    // Both sides share the model: it is loaded once.
    let cancel = CancelToken::new();
    let indexing = {
        let (embedder, library, cancel) = (embedder.clone(), library.clone(), cancel.clone());
        thread::spawn(move || {
            index_folder(&embedder, &folder, &library, manifest, cancel).map_err(|e| e.to_string())
        })
    };

    let mut opened: Option<Library> = None;
    for query in std::io::stdin().lock().lines() {
        let mut query = Input::text(query?);
        query.instruction = embedder.query_instruction(&query).map(str::to_owned);
        let query = embedder.embed_one(&query)?;
        // What has been added since is found as well.
        let now = match &opened {
            Some(opened) => opened.reload()?,
            None => match Library::open(&library) {
                Err(RetrievalError::NotALibrary { .. }) => None,
                library => Some(library?),
            },
        };
        opened = now.or(opened);
        let Some(library) = &opened else {
            println!("nothing is indexed yet");
            continue;
        };
        println!("of {} so far:", library.entries().len());
        for hit in library.search(query.as_slice().into(), 5)? {
            println!("{:.4}  {}", hit.score, hit.entry.path.display());
        }
    }
    cancel.cancel();
    match indexing.join() {
        Ok(indexed) => Ok(indexed?),
        Err(_) => Err("indexing panicked".into()),
    }
}

fn index_folder(
    embedder: &Embedder,
    folder: &Path,
    library: &Path,
    manifest: LibraryManifest,
    cancel: CancelToken,
) -> Result<(), IndexError> {
    let (files, failures): (Vec<_>, Vec<_>) = find_media(folder).into_iter().partition(Result::is_ok);
    failures.into_iter().filter_map(Result::err).for_each(|error| eprintln!("{error}"));
    let files: Vec<_> = files.into_iter().flatten().collect();
    let mut writer = LibraryWriter::create_or_open(library, manifest)?;
    let options = IndexOptions::default().with_cancel(cancel);
    let indexed = index_with(embedder, &mut writer, &files, &options, |event| {
        if let IndexEvent::Failed(path, error) = event {
            eprintln!("{}: {error}", path.display());
        }
    });
    match indexed {
        Ok(_) => Ok(writer.finish()?),
        Err(IndexError::Cancelled) => Ok(()),
        Err(error) => Err(error),
    }
}
