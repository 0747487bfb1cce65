//! Settings of the process that training on the CPU is faster with. They are made before the first thread
//! starts.

/// Makes them; a number of threads that the user has set stays.
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
    // a step of the built-in model's second stage took 2.4 s instead of the 3.0 s with thresholds of 32 MiB
    // to map and 2 GiB to trim, one of clip and text to video 8.6 s instead of 15 s.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for (setting, value) in [(libc::M_MMAP_MAX, 0), (libc::M_TRIM_THRESHOLD, -1)] {
        // SAFETY: `mallopt` takes any value; a setting that it refuses stays as it is.
        unsafe { libc::mallopt(setting, value) };
    }
}
