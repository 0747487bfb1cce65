//! Where embeddings come from: raw arguments to an encoder.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use gve::embedder::EmbedderBuilder;
use gve::hub::ResolvedModel;
use gve::recipe::Widths;
use gve::{Embedder, Sampling};
use gve_cli::options::{DimOptions, ModelOptions, PixelOptions, RerankOptions, SamplingOptions, whole};
use gve_cli::output::warn;
use gve_cli::proxies;
use uvrb::encoder::{
    CachedEncoder, CutEncoder, Encoder, MeanColourEncoder, ModelEncoder, PairScorer, PrecomputedEncoder,
    RandomEncoder, ServerEncoder, ServerOptions, VideoTransport, checkpoint_revision,
};

/// Dimensions of the baseline `random`.
const RANDOM_DIM: usize = 256;
/// What a revision is called that nobody named.
const NO_REVISION: &str = "unversioned";

/// What embeds: --model, or one of the others.
#[derive(Args)]
pub(crate) struct SourceOptions {
    #[command(flatten)]
    model: ModelOptions,
    #[command(flatten)]
    dim: DimOptions,
    #[command(flatten)]
    sampling: SamplingOptions,
    #[command(flatten)]
    pixels: PixelOptions,
    /// Longest input in tokens; text beyond it is cut off [default: 8192].
    #[arg(long, value_name = "N", help_heading = "Model", conflicts_with_all = ["server", "baseline", "precomputed"],
        value_parser = whole::<usize>(2))]
    max_length: Option<usize>,
    /// Embeddings made elsewhere: DIR/<DATASET>/{queries,corpus}.{npy,parquet,safetensors,jsonl}.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["model", "adapter", "recipe", "server", "baseline"],
        help_heading = "Other encoders")]
    precomputed: Option<PathBuf>,
    /// A server with an OpenAI-compatible /embeddings that takes chat messages; OPENAI_API_KEY is sent if
    /// set.
    #[arg(long, value_name = "URL", conflicts_with_all = ["model", "adapter", "recipe", "baseline"], requires = "name",
        help_heading = "Other encoders")]
    server: Option<String>,
    /// Send videos to the server as files, or as the sampled frames.
    #[arg(long, value_enum, default_value = "file", requires = "server", help_heading = "Other encoders")]
    server_video: ServerVideo,
    /// Requests to the server under way at once.
    #[arg(long, value_name = "N", default_value_t = 8, requires = "server", help_heading = "Other encoders",
        value_parser = whole::<usize>(1))]
    concurrency: usize,
    /// Seconds that one request may take.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 120,
        requires = "server",
        help_heading = "Other encoders",
        value_parser = whole::<u64>(1)
    )]
    timeout: u64,
    /// A floor to compare with.
    #[arg(long, value_enum, conflicts_with_all = ["model", "adapter", "recipe", "name"], help_heading = "Other encoders")]
    baseline: Option<Baseline>,
    /// The model's name in results, as org/model; with --server also the name that the server knows.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Where embeddings are kept for the next run [default: OUT/.cache].
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Keep no embeddings.
    #[arg(long, conflicts_with = "cache")]
    no_cache: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Baseline {
    /// A random direction for every content.
    Random,
    /// The mean colour of the picture.
    #[value(alias = "mean-color")]
    MeanColour,
}

#[derive(Clone, Copy, ValueEnum)]
enum ServerVideo {
    File,
    Frames,
}

impl SourceOptions {
    /// The encoder these options mean, behind its cache; `out` is where results go.
    pub(crate) fn open(&self, out: &Path) -> Result<Box<dyn Encoder>> {
        let encoder = self.cached(self.encoder()?, out);
        Ok(match self.dim.dim {
            Some(dim) => Box::new(CutEncoder::new(encoder, dim)),
            None => encoder,
        })
    }

    /// Narrower widths at which embeddings are scored as well: those `asked` for, or those that the model was
    /// trained for one by one.
    pub(crate) fn widths(&self, encoder: &dyn Encoder, asked: &[usize]) -> Result<Vec<usize>> {
        let embedder = encoder.embedder();
        let own = self.dim.dim.or(embedder.map(Embedder::dim));
        let narrower = |width: &usize| own.is_none_or(|own| *width < own);
        if let Some(width) = asked.iter().find(|width| !narrower(width)) {
            bail!(
                "--widths {width}: embeddings have {} values, which count in any case",
                own.unwrap_or_default()
            );
        }
        let trained = match embedder.map(|embedder| &embedder.recipe().recipe.widths) {
            Some(Widths::These(widths)) if asked.is_empty() => widths.as_slice(),
            _ => asked,
        };
        Ok(trained.iter().copied().filter(narrower).collect::<BTreeSet<_>>().into_iter().collect())
    }

    fn cached(&self, encoder: Box<dyn Encoder>, out: &Path) -> Box<dyn Encoder> {
        if self.no_cache || !encoder.info().cacheable {
            return encoder;
        }
        let directory = self.cache.clone().unwrap_or_else(|| out.join(".cache"));
        let on_damage = |error: &uvrb::Error| warn(&format!("{error}; embedding again"));
        Box::new(CachedEncoder::new(encoder, directory).on_damage(on_damage))
    }

    /// Which frames of a video are looked at by an encoder that does not say.
    pub(crate) fn sampling(&self) -> Result<Sampling> {
        self.sampling.without_model()
    }

    /// What has a second look at rankings, if anything; what it says is kept where embeddings are.
    pub(crate) fn second(&self, options: &RerankOptions, out: &Path) -> Result<Option<PairScorer>> {
        let Some((reranker, found)) = options.load(&self.model, as_coded)? else { return Ok(None) };
        let (name, revision) = named(&found)?;
        let cache = self.cache.clone().unwrap_or_else(|| out.join(".cache"));
        let cache = (!self.no_cache).then_some(cache);
        let on_damage = |error: &uvrb::Error| warn(&format!("{error}; scoring again"));
        let scorer = PairScorer::new(reranker, name, &revision, options.rerank_top, cache);
        Ok(Some(scorer.on_damage(on_damage)))
    }

    pub(crate) fn quiet(&self) -> bool {
        self.model.quiet
    }

    fn encoder(&self) -> Result<Box<dyn Encoder>> {
        if let Some(directory) = &self.precomputed {
            let name = self.name.clone().unwrap_or_else(|| name_of(directory));
            return Ok(Box::new(PrecomputedEncoder::open(directory, name, self.revision())?));
        }
        if let Some(url) = &self.server {
            return self.server(url);
        }
        match self.baseline {
            Some(Baseline::Random) => Ok(Box::new(RandomEncoder::new(RANDOM_DIM, 0)?)),
            Some(Baseline::MeanColour) => Ok(Box::new(MeanColourEncoder::new(self.sampling()?))),
            None => self.model(),
        }
    }

    fn model(&self) -> Result<Box<dyn Encoder>> {
        let sampling = self.sampling.sampling()?;
        let resolved = self.model.resolve()?;
        let (name, revision) = named(&resolved)?;
        let name = self.name.clone().unwrap_or(name);
        let builder = as_coded(self.model.builder(&resolved)?.sampling(sampling));
        let mut builder = self.pixels.apply_to(builder);
        if let Some(tokens) = self.max_length {
            builder = builder.max_length(tokens);
        }
        let embedder = self.model.load(builder)?;
        if let Some(dim) = self.dim.dim {
            embedder.check_dim(dim, self.dim.force_dim)?;
        }
        let on_warning = |id: &str, warning: &str| warn(&format!("{id}: {warning}"));
        Ok(Box::new(ModelEncoder::new(embedder, name, revision).on_warning(on_warning)))
    }

    fn server(&self, url: &str) -> Result<Box<dyn Encoder>> {
        let name = self.name.clone().context("--server needs --name, the model as the server calls it")?;
        if self.model.revision.is_none() {
            warn(&format!(
                "nothing tells which weights {name} has: what was made under this name before is taken for \
                 its own, unless --revision differs"
            ));
        }
        let options = ServerOptions {
            api_key: std::env::var("OPENAI_API_KEY").ok().filter(|key| !key.is_empty()),
            concurrency: self.concurrency,
            proxies: proxies::from_environment(),
            timeout: Duration::from_secs(self.timeout),
            video: match self.server_video {
                ServerVideo::File => VideoTransport::File,
                ServerVideo::Frames => VideoTransport::Frames(self.sampling()?),
            },
            max_pixels: Some(self.pixels.without_model()),
            ..ServerOptions::new(url, name.as_str())
        };
        Ok(Box::new(ServerEncoder::new(options, name, self.revision())?))
    }

    fn revision(&self) -> String {
        self.model.revision.clone().unwrap_or_else(|| NO_REVISION.to_owned())
    }
}

/// Name and revision of a model.
fn named(model: &ResolvedModel) -> Result<(String, String)> {
    Ok(match &model.revision {
        Some(revision) => (model.id.clone(), revision.clone()),
        // A local directory has no commit: what is in it tells it from others of its name.
        None => (name_of(&model.directory), checkpoint_revision(&model.directory)?),
    })
}

/// The last part of a path, also of `.` and `model/`.
fn name_of(path: &Path) -> String {
    let resolved = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    resolved.file_name().map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// Pictures of videos are taken as the decoders of published scores gave them.
fn as_coded(builder: EmbedderBuilder) -> EmbedderBuilder {
    #[cfg(feature = "video")]
    let builder = builder.video(uvrb::encoder::video_options());
    builder
}
