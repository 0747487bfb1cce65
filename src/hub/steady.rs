use std::io::{self, Read};
use std::time::{Duration, Instant};

/// A body that brings less over the time of a timeout has stalled.
pub(super) const MIN_BYTES_PER_SECOND: f64 = 1024.0;

/// A body that comes at a trickle ends in an error: the time that goes by while waiting for it is counted,
/// not that of its use.
pub(super) struct Steady<R> {
    inner: R,
    window: Duration,
    waited: Duration,
    bytes: usize,
}

impl<R: Read> Steady<R> {
    pub(super) fn new(inner: R, window: Duration) -> Self {
        Self { inner, window, waited: Duration::ZERO, bytes: 0 }
    }

    /// The whole rest, at most `limit` bytes; more is an error.
    pub(super) fn read_to_limit(&mut self, limit: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.by_ref().take(limit + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("more than {limit} bytes")));
        }
        Ok(bytes)
    }
}

impl<R: Read> Read for Steady<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let start = Instant::now();
        let read = self.inner.read(buffer)?;
        self.waited += start.elapsed();
        self.bytes += read;
        if read > 0 && self.waited >= self.window {
            let rate = self.bytes as f64 / self.waited.as_secs_f64();
            if rate < MIN_BYTES_PER_SECOND {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("only {rate:.0} bytes a second"),
                ));
            }
            (self.waited, self.bytes) = (Duration::ZERO, 0);
        }
        Ok(read)
    }
}
