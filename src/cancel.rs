//! Asking a job to stop, from another thread or a signal handler.

#[cfg(any(feature = "hub", feature = "library"))]
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Asks a running job to stop; clones speak for the same job.
#[derive(Debug, Clone, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// A token nobody has cancelled yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks to stop. The job ends before its next input, batch, tensor, file or piece of one.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// A token that is cancelled when `flag` is set, by a signal handler say.
    pub fn from_flag(flag: Arc<AtomicBool>) -> Self {
        Self(flag)
    }

    /// Whether somebody asked to stop.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Reads until somebody asks to stop, which is an error then.
#[cfg(any(feature = "hub", feature = "library"))]
pub(crate) struct Cancellable<'a, R> {
    pub(crate) reader: R,
    pub(crate) cancel: &'a CancelToken,
}

#[cfg(any(feature = "hub", feature = "library"))]
impl<R: Read> Read for Cancellable<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(io::Error::other("cancelled"));
        }
        self.reader.read(buffer)
    }
}
