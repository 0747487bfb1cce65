//! Rankings on disk: TREC runs and ranked JSON lines.
