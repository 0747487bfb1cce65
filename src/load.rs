use crate::embedder::Embedder;
use crate::error::Error;
use crate::hub::{HubOptions, resolve};

/// An embedder with default settings of the model that `reference` names: a directory, an id on the hub,
/// which is downloaded once, or `nano`, which is built in (feature `nano`). It knows its id and revision,
/// with which a [library](crate::indexer::library_manifest) is made.
///
/// [`resolve`] and [`ResolvedModel::builder`](crate::hub::ResolvedModel::builder) are the same in two steps,
/// for other settings and for progress.
///
/// ```
/// # fn main() -> Result<(), gve::Error> {
/// # let reference = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/tiny-a/model");
/// let embedder = gve::load(reference)?;
/// assert_eq!(embedder.model_id(), reference);
/// # Ok(()) }
/// ```
///
/// # Errors
/// [`Error::Hub`] or [`Error::Embed`].
pub fn load(reference: &str) -> Result<Embedder, Error> {
    let model = resolve(reference, &HubOptions::default(), &mut |_| {})?;
    Ok(model.builder().build()?)
}
