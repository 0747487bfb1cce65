//! What a library knows of the settings of its embedder, and an embedder with them.

use crate::embedder::{EmbedError, Embedder, EmbedderBuilder, PixelLimits};
use crate::retrieval::{LibraryManifest, MANIFEST_FORMAT_VERSION, StoreDType};

/// The manifest of a library of `embedder`'s embeddings, whole files in f32.
pub fn library_manifest(embedder: &Embedder) -> LibraryManifest {
    let pixels = embedder.pixels();
    LibraryManifest {
        format_version: MANIFEST_FORMAT_VERSION,
        model: embedder.model_id().to_owned(),
        revision: Some(embedder.revision().to_owned()),
        adapter: embedder.adapter().cloned(),
        recipe: Some(embedder.recipe().id()),
        dim: embedder.dim(),
        instruction: embedder.instruction().map(str::to_owned),
        sampling: embedder.sampling().clone(),
        min_pixels: pixels.min_pixels,
        max_pixels: pixels.max_pixels,
        moments: None,
        store_dtype: StoreDType::default(),
    }
}

/// `builder`, which is of a library's model, with the settings that the library was made with: it embeds
/// queries for it, and further files, in as many values as it has. An adapter, a recipe or a width that the
/// builder has already stays.
///
/// ```
/// use gve::Embedder;
/// use gve::indexer::{library_manifest, with_settings_of};
/// use gve::retrieval::{Library, LibraryWriter};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let model = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/tiny-a/model");
/// # let folder = tempfile::tempdir()?;
/// # let made = Embedder::builder(model).instruction("Look closely.").dim(16).force_dim(true).build()?;
/// # LibraryWriter::create_or_open(folder.path(), library_manifest(&made))?.finish()?;
/// let library = Library::open(folder.path())?;
/// let manifest = library.manifest();
/// // Of a model on the hub: `hub::resolve`, with the manifest's revision, and its `builder`.
/// let builder = Embedder::builder(&manifest.model);
/// let embedder = with_settings_of(manifest, builder)?.build()?;
/// assert_eq!(embedder.instruction(), Some("Look closely."));
/// assert_eq!(embedder.dim(), manifest.dim);
/// # Ok(()) }
/// ```
///
/// # Errors
/// [`EmbedError`] where the model cannot be read.
pub fn with_settings_of(
    manifest: &LibraryManifest,
    mut builder: EmbedderBuilder,
) -> Result<EmbedderBuilder, EmbedError> {
    let pixels =
        PixelLimits::default().with_min_pixels(manifest.min_pixels).with_max_pixels(manifest.max_pixels);
    builder = builder.sampling(manifest.sampling.clone()).pixels(pixels);
    // It was cut to that when it was made, whatever the model was trained for.
    if builder.dim_set().is_none() {
        builder = builder.dim(manifest.dim).force_dim(true);
    }
    if let Some(instruction) = &manifest.instruction {
        builder = builder.instruction(instruction);
    }
    if let Some(adapter) = manifest.adapter.as_ref().filter(|_| builder.adapter_dir().is_none()) {
        builder = builder.adapter(&adapter.directory);
    }
    // The one that was named when the library was made.
    let recipe = manifest.recipe_id();
    if !builder.has_recipe()
        && builder.find_recipe()?.id().hash != recipe.hash
        && let Some(named) =
            builder.known_recipes().get(&recipe.name).ok().filter(|named| named.id() == recipe)
    {
        builder = builder.recipe(named);
    }
    Ok(builder)
}
