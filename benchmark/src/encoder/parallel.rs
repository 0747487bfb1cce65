//! One item per thread at a time, results as they come.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::{Emit, EncodeError};
use crate::Error;

/// Tells the threads of a job to end.
#[derive(Default)]
pub(super) struct Stop {
    set: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    fn set(&self) {
        *self.set.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    fn is_set(&self) -> bool {
        self.wait(Duration::ZERO)
    }

    /// Waits for `duration`, or until the job is told to end: true then.
    pub(super) fn wait(&self, duration: Duration) -> bool {
        let guard = self.set.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(guard, duration, |set| !*set);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Calls `encode` for each of `0..count` on `threads` threads, and `emit` on this one for each result. The
/// first error of the whole job is returned; after one of `encode`, what is under way is still emitted.
pub(super) fn encode_each(
    count: usize,
    threads: usize,
    encode: impl Fn(usize, &Stop) -> Result<Result<Vec<f32>, EncodeError>, Error> + Sync,
    emit: &mut Emit<'_>,
) -> Result<(), Error> {
    let (next, stop) = (AtomicUsize::new(0), Stop::default());
    let (sender, results) = channel();
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, count.max(1)) {
            let (sender, next, stop, encode) = (sender.clone(), &next, &stop, &encode);
            scope.spawn(move || {
                while !stop.is_set() {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count {
                        break;
                    }
                    let result = encode(index, stop);
                    let failed = result.is_err();
                    // Sent before the others are told, whose errors are but the consequence.
                    let received = sender.send((index, result)).is_ok();
                    if failed || !received {
                        stop.set();
                    }
                }
            });
        }
        drop(sender);
        let mut outcome = Ok(());
        for (index, result) in &results {
            let emitted = match result {
                Ok(result) => emit(index, result),
                Err(error) => {
                    outcome = outcome.and(Err(error));
                    continue;
                }
            };
            if emitted.is_err() {
                stop.set();
                return outcome.and(emitted);
            }
        }
        outcome
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fatal() -> Error {
        Error::Settings("fatal".into())
    }

    #[test]
    fn every_item_is_emitted_once_whatever_the_number_of_threads() {
        for (count, threads) in [(0, 4), (1, 4), (100, 1), (100, 7), (3, 0)] {
            let mut seen = vec![0; count];
            let encode = |index, _: &Stop| {
                Ok(if index % 3 == 0 { Err(EncodeError("bad".into())) } else { Ok(vec![index as f32]) })
            };
            encode_each(count, threads, encode, &mut |index, result| {
                seen[index] += 1;
                assert_eq!(result.is_err(), index % 3 == 0);
                Ok(())
            })
            .unwrap();
            assert_eq!(seen, vec![1; count]);
        }
    }

    #[test]
    fn a_fatal_error_ends_the_job_after_what_is_under_way() {
        let encode = |index, stop: &Stop| {
            if index == 5 { Err(fatal()) } else { Ok(Ok(vec![f32::from(stop.is_set() as u8)])) }
        };
        let mut emitted = 0;
        let error = encode_each(100_000, 2, encode, &mut |_, _| {
            emitted += 1;
            Ok(())
        });
        assert!(matches!(error, Err(Error::Settings(_))));
        assert!((5..100_000).contains(&emitted), "{emitted}");
    }

    #[test]
    fn an_error_of_emit_wakes_those_who_wait() {
        let long = Duration::from_secs(3600);
        let encode = |index, stop: &Stop| {
            if index > 0 {
                assert!(stop.wait(long));
            }
            Ok(Ok(vec![1.0]))
        };
        assert!(encode_each(4, 4, encode, &mut |_, _| Err(fatal())).is_err());
    }
}
