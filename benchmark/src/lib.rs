//! UVRB: universal video retrieval benchmark (arXiv 2510.27571, section 4). The harness is not written yet;
//! this package holds the programs that time gve beside its peers.
