//! Encoders: one suite for all of them, then what each has of its own.

mod cache;
mod conformance;
mod precomputed;
mod server;

use std::path::PathBuf;

use gve::Input;
use uvrb::Error;
use uvrb::encoder::{EncodeError, Encoder, Item, Request, Role};

pub(crate) type Encoded = Result<Vec<f32>, EncodeError>;

/// Fixtures of the crate gve.
pub(crate) fn golden(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden")).join(path)
}

/// Encodes `inputs` as documents of the data set `D`, asserting that each is emitted once.
fn try_encode(encoder: &dyn Encoder, inputs: &[(&str, Input)]) -> Result<Vec<Encoded>, Error> {
    let items: Vec<Item<'_>> = inputs.iter().map(|(id, input)| Item { id, input }).collect();
    let mut results = vec![None; items.len()];
    encoder.encode(Request { dataset: "D", role: Role::Document, items: &items }, &mut |index, result| {
        assert!(results[index].replace(result).is_none(), "item {index} emitted twice");
        Ok(())
    })?;
    Ok(results.into_iter().map(|result| result.expect("an item was not emitted")).collect())
}

fn encode(encoder: &dyn Encoder, inputs: &[(&str, Input)]) -> Vec<Encoded> {
    try_encode(encoder, inputs).unwrap()
}
