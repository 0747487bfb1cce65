//! The retrieval room from outside.

#[cfg(feature = "library")]
mod confidence;
#[cfg(feature = "library")]
mod damage;
#[cfg(all(feature = "library", target_os = "linux", target_env = "gnu"))]
mod durability;
#[cfg(feature = "library")]
mod embedding_files;
#[cfg(feature = "library")]
mod forgetting;
#[cfg(feature = "library")]
mod incomplete;
#[cfg(all(feature = "library", unix))]
mod killed;
#[cfg(feature = "library")]
mod library;
#[cfg(feature = "library")]
mod moments;
#[cfg(all(feature = "library", unix))]
mod on_disk;
mod ranking;
#[cfg(feature = "library")]
mod tables;
#[cfg(feature = "library")]
mod tags;
