//! Text files of other programs, by the rules of [`gve::text`], with errors that name the file.

use std::path::Path;

use gve::store::IoError;
use gve::text::{Line, LineError, Lines, decode};

use crate::Error;

/// The lines of a file that are not blank.
pub(crate) fn lines(path: &Path) -> Result<impl Iterator<Item = Result<Line, Error>>, Error> {
    let lines = Lines::open(path).map_err(IoError::of("open", path))?;
    Ok(lines.map(move |line| {
        line.map_err(|error| match error {
            LineError::Text { number, reason } => Error::invalid(path, number, reason),
            LineError::Io(source) => IoError::of("read", path)(source).into(),
            other => Error::invalid(path, None, other),
        })
    }))
}

/// All of a file.
pub(crate) fn read(path: &Path) -> Result<String, Error> {
    let bytes = std::fs::read(path).map_err(IoError::of("read", path))?;
    decode(bytes).map_err(|reason| Error::invalid(path, None, reason))
}
