//! Tables, correlations and the page.
