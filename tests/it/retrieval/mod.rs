//! The retrieval room from outside.

mod damage;
#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod durability;
mod embedding_files;
mod library;
mod ranking;
mod tables;
