//! Threads of their own for work on whole files. On those that searches and models share, these would wait
//! until a film has been looked at.

use std::sync::OnceLock;

use rayon::ThreadPool;

/// Runs `work` on these threads, as many as the shared ones. Where the system gives no more threads, it runs
/// on the shared ones.
pub(super) fn install<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    static POOL: OnceLock<Option<ThreadPool>> = OnceLock::new();
    let pool = POOL.get_or_init(|| {
        let builder = rayon::ThreadPoolBuilder::new().thread_name(|index| format!("gve-duplicates-{index}"));
        builder.num_threads(rayon::current_num_threads()).build().ok()
    });
    match pool {
        Some(pool) => pool.install(work),
        None => work(),
    }
}
