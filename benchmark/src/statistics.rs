//! Bootstrap intervals and the paired randomisation test.
