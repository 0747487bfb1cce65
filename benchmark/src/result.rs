//! Result files in the schema of mteb.
