//! `uvrb`: scores video retrieval on the data sets of UVRB.

fn main() {}
