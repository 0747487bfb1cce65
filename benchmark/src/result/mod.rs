//! Result files in the schema of mteb, with what else is worth knowing of a run.
//!
//! One data set's result lies in `<out>/<org>__<model>/<revision>/<DATASET>.json` ([`result_path`]), one line
//! per query in `<DATASET>.queries.jsonl` beside it ([`QueryRecord`]). Everything beyond mteb's keys has a
//! default and unknown keys are passed over, so that old files, files of mteb and files written by hand load
//! as well.

mod dataset;
mod folder;
mod query;

pub use dataset::{Counts, DatasetResult, Interval, ModelReference, SPLIT, Subsample, SubsetScores, Timing};
pub use folder::{ModelResults, StoredResult, load_results, queries_path, result_path, safe_name};
pub use query::{QueryRecord, RankedDocument, read_queries, write_queries};
