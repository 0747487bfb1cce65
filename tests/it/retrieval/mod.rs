//! The retrieval room from outside.

mod damage;
mod embedding_files;
mod library;
mod ranking;
