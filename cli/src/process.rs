//! Settings of the process, which are made before the first thread starts.

/// Makes those that training on the CPU is faster with; a number of threads that the user has set stays.
pub fn tune_for_training() {
    // candle hands operations on single values to a pool of its own, whose threads wait by spinning, which
    // takes the cores from the kernels' threads. A step of a small model took 0.75 s either way on two free
    // cores; beside a busy process 1.2 s instead of 2.1 s.
    if std::env::var_os("CANDLE_NUM_THREADS").is_none() {
        // SAFETY: no other thread is there yet to read the environment.
        unsafe { std::env::set_var("CANDLE_NUM_THREADS", "1") };
    }
    // A step allocates what the one before has freed. By default glibc hands it back in between, and the
    // system clears it anew. So everything comes from the heap, however large, and the heap does not shrink:
    // a step of the built-in model on all tasks took 2.4 s instead of the 3.0 s with thresholds of 32 MiB
    // to map and 2 GiB to trim, one of clip and text to video 8.6 s instead of 15 s.
    //
    // Parts of a batch are on threads of their own. With a heap for each thread they took 6.1 GB where all of
    // them take 1.9 GB from one, in the same time.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for (setting, value) in [(libc::M_MMAP_MAX, 0), (libc::M_TRIM_THRESHOLD, -1), (libc::M_ARENA_MAX, 1)] {
        set(setting, value);
    }
}

/// Makes those that indexing takes less memory with.
pub fn tune_for_indexing() {
    // By default glibc gives each thread a heap of its own, which keeps what has been freed in it. A film of
    // half an hour took 119 to 126 MB so beside two busy processes, and with one heap for all 102 to 109 MB. It
    // was as fast either way.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    set(libc::M_ARENA_MAX, 1);
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn set(setting: libc::c_int, value: libc::c_int) {
    // SAFETY: `mallopt` takes any value; a setting that it refuses stays as it is.
    unsafe { libc::mallopt(setting, value) };
}
