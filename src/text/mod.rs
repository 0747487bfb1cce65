//! Text files as other programs write them: one rule for every reader.
//!
//! - [`Lines`]: a byte order mark in front of a line is passed over, lines end in `\n` or `\r\n`, blank lines
//!   count and say nothing, and a line that is not UTF-8 is that line's fault alone. JSON lines, TREC runs,
//!   relevance files and lists of ids are read through it.
//! - [`decode`]: a whole file of text, likewise.
//! - `one_line`: what others say, for a message of ours.
//! - [`Id`]: what may stand for an id: text, or a number.
//! - [`read_ids`]: the ids that lie beside an array.

mod id;
mod id_list;
mod lines;

pub use id::Id;
pub use id_list::{IdListError, find_ids, id_list_of, read_ids};
pub(crate) use lines::one_line;
pub use lines::{Line, LineError, Lines, decode};
