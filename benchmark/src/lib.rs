//! uvrb
