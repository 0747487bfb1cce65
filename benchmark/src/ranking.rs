//! Exact rankings of a corpus, in blocks of queries.
