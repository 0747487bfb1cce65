//! See `gve_fuzz_targets::train_config`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _refused = gve_fuzz_targets::run(gve_fuzz_targets::train_config, bytes);
});
