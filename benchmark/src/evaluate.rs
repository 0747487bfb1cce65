//! From a data set and an encoder to a result.
