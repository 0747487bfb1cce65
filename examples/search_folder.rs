//! Indexes a folder of videos and images and searches it.
//!
//! ```sh
//! cargo run --release --example search_folder -- path/to/GVE-3B ~/Videos "a dog catches a ball"
//! ```
//!
//! The library is kept in `./search_folder_library`: a second run embeds only what is new.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::path::Path;

use gve::indexer::{IndexEvent, find_media, index, library_manifest};
use gve::retrieval::{Library, LibraryWriter};
use gve::{Embedder, Input};

const LIBRARY: &str = "search_folder_library";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model_dir, folder, query] = arguments.as_slice() else {
        return Err("usage: search_folder MODEL_DIR FOLDER QUERY".into());
    };
    let embedder = Embedder::load(model_dir)?;

    // A path that cannot be read is one entry of the list, not the end of it.
    let mut files = Vec::new();
    for found in find_media(Path::new(folder)) {
        match found {
            Ok(file) => files.push(file),
            Err(error) => eprintln!("{error}"),
        }
    }

    // The manifest says how the embeddings are made. A library made otherwise is refused, because
    // embeddings of different models do not share a space.
    let manifest = library_manifest(&embedder);
    let mut library = LibraryWriter::create_or_open(LIBRARY, manifest)?;
    index(&embedder, &mut library, &files, |event| match event {
        IndexEvent::Done(path, _) => println!("added {}", path.display()),
        IndexEvent::Failed(path, error) => eprintln!("{}: {error}", path.display()),
        _ => {}
    })?;
    library.finish()?;

    let mut query = Input::text(query);
    query.instruction = embedder.query_instruction(&query).map(str::to_owned);
    let query = embedder.embed_one(&query)?;
    let library = Library::open(LIBRARY)?;
    // What has decayed on disk is reported, and the rest is searched.
    library.damage().iter().for_each(|error| eprintln!("{error}"));
    for hit in library.search(query.as_slice().into(), 5)? {
        println!("{:.4}  {}", hit.score, hit.entry.path.display());
    }
    Ok(())
}
