//! Options of `uvrb` that make no sense.

use gve_test_support::program::{assert_status, stderr};

use crate::run::uvrb;

#[test]
fn numbers_that_make_no_sense_are_refused_in_words() {
    for (options, expected) in [
        ("run nowhere --seed -1", "'-1' for '--seed <S>': expected a whole number from 0 on"),
        ("run nowhere --concurrency 0", "'0' for '--concurrency <N>': expected a whole number from 1 on"),
        ("run nowhere --concurrency -1", "'-1' for '--concurrency <N>': expected a whole number from 1 on"),
        ("run nowhere --timeout 0", "'0' for '--timeout <SECONDS>': expected a whole number from 1 on"),
        ("run nowhere --timeout -.5", "'-.5' for '--timeout <SECONDS>': expected a whole number from 1 on"),
        ("report nowhere --failures -1", "'-1' for '--failures <N>': expected a whole number from 0 on"),
    ] {
        let options: Vec<&str> = options.split(' ').collect();
        let refused = uvrb(&options);
        assert_status(&refused, 1);
        let said = stderr(&refused);
        assert!(said.contains(expected) && !said.contains("tip:"), "{options:?}: {said}");
    }
}
