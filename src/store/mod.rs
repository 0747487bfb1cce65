//! Files and folders that are there whole or not at all, for every room that writes.
//!
//! - [`AtomicFile`] and [`write_file`]: a file is written under a hidden name beside its own, brought to disk
//!   and renamed. Whatever ends the program, what lay under the name before is there or what was to take its
//!   place is.
//! - [`write_folder`] does the same for a folder of files, [`remove_folder`] for taking one away.
//! - [`Lock`]: one process at a time, and who that is. It ends with the process, however that ends.
//! - [`differences`]: two runs as their serialised settings, and what tells them apart.
//! - [`open_regular_file`] and [`expect_replaceable`]: nobody waits for a pipe, and no file takes the place
//!   of a device.
//! - [`IoError`]: what could not be done with which file, and why.
//!
//! What is being written is called `.<name>.tmp`, by everybody. Whoever is left of a killed process is taken
//! over by the next that writes to the same name: a lock on it tells the dead from the living.

mod atomic_file;
mod atomic_folder;
mod error;
mod file_name;
mod identity;
pub(crate) mod limited_file;
mod lock;
mod regular_file;
mod temporary;

pub use atomic_file::{AtomicFile, create_folder_of, write_file};
pub use atomic_folder::{Existing, remove_folder, write_folder};
pub use error::IoError;
pub use identity::{Difference, Differences, differences};
pub use lock::{Lock, LockHolder};
pub use regular_file::{expect_replaceable, open_regular_file};

pub(crate) use atomic_file::{rename, write_link};
pub(crate) use file_name::{MAX_NAME, is_file_name};
pub(crate) use regular_file::irregular;
pub(crate) use temporary::{is_temporary, open_own};
