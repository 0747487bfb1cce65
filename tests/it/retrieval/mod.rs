//! The retrieval room from outside.

mod embedding_files;
mod library;
mod ranking;
