//! Options that several subcommands share: raw arguments to validated settings.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Args;
use gve::embedder::{
    EmbedderBuilder, FRAMES_PER_VIDEO, PIXELS_PER_TOKEN, TOKENS_PER_FRAME, unknown_settings,
};
use gve::hub::{NANO, ResolvedModel};
use gve::{DType, Device, Embedder, PixelLimits, Sampling};

use crate::hub::resolve;
use crate::output::{note, warn};

/// Which model, where and how it runs.
#[derive(Args)]
#[command(next_help_heading = "Model")]
pub struct ModelOptions {
    /// A directory in Hugging Face layout, or a hub id such as Alibaba-NLP/GVE-3B [default: nano, the small
    /// built-in one].
    #[arg(long, value_name = "PATH_OR_HUB_ID")]
    pub model: Option<String>,
    /// Branch, tag or commit of a hub model [default: main].
    #[arg(long, value_name = "REVISION")]
    pub revision: Option<String>,
    /// Directory of a PEFT adapter to fold into the model.
    #[arg(long, value_name = "DIR")]
    pub adapter: Option<PathBuf>,
    /// auto, cpu, cuda, cuda:N or metal.
    #[arg(long, default_value = "auto")]
    device: Device,
    /// auto, f32, bf16 or f16.
    #[arg(long, default_value = "auto")]
    pub dtype: DType,
    /// Tokens run through the model together [default: 2048 on the CPU, 16384 on a GPU].
    #[arg(long, value_name = "N")]
    batch_tokens: Option<usize>,
    /// No progress bars.
    #[arg(long)]
    pub quiet: bool,
}

/// Which frames of a video to look at.
#[derive(Args)]
#[command(next_help_heading = "Sampling")]
pub struct SamplingOptions {
    /// Frames per video, evenly spread [default: as the model is published, or 8].
    #[arg(long, value_name = "N", conflicts_with = "fps")]
    frames: Option<usize>,
    /// Frames per second of video, instead of a fixed number.
    #[arg(long, value_name = "F")]
    fps: Option<f64>,
    /// Fewest frames with --fps [default: 4].
    #[arg(long, value_name = "A", requires = "fps")]
    min_frames: Option<usize>,
    /// Most frames with --fps [default: 768].
    #[arg(long, value_name = "B", requires = "fps")]
    max_frames: Option<usize>,
}

/// How large pictures are when embedded.
#[derive(Args)]
#[command(next_help_heading = "Sampling")]
pub struct PixelOptions {
    /// Most pixels per frame or image.
    #[arg(long, value_name = "P", conflicts_with = "tokens_per_frame",
        value_parser = clap::value_parser!(u64).range(1..))]
    max_pixels: Option<u64>,
    /// Most visual tokens per frame or image, of 28 x 28 pixels each in Qwen2.5-VL [default: as the model is
    /// published, or 200, or what the model allows].
    #[arg(long, value_name = "T", value_parser = clap::value_parser!(u64).range(1..))]
    tokens_per_frame: Option<u64>,
}

impl SamplingOptions {
    /// The frames asked for; `None` leaves them to the model.
    ///
    /// # Errors
    /// No frames, or a rate that is none.
    pub fn sampling(&self) -> Result<Option<Sampling>> {
        match (self.frames, self.fps) {
            (Some(0), _) => bail!("--frames must be at least 1"),
            (_, Some(fps)) if !(fps.is_finite() && fps > 0.0) => {
                bail!("--fps must be a positive number, got {fps}")
            }
            (_, Some(fps)) => {
                Ok(Some(Sampling::Fps { fps, min_frames: self.min_frames, max_frames: self.max_frames }))
            }
            (frames, None) => Ok(frames.map(|frames| Sampling::Uniform { frames })),
        }
    }

    /// The frames asked for, where no model is at hand to say how many there are else.
    ///
    /// # Errors
    /// As [`sampling`](Self::sampling).
    pub fn without_model(&self) -> Result<Sampling> {
        Ok(self.sampling()?.unwrap_or(Sampling::Uniform { frames: FRAMES_PER_VIDEO }))
    }
}

impl PixelOptions {
    /// Has `builder` look at pictures as asked for; a model's family says how large its tokens are.
    pub fn apply_to(&self, builder: EmbedderBuilder) -> EmbedderBuilder {
        let builder = builder.pixels(PixelLimits::default().with_max_pixels(self.max_pixels));
        match self.tokens_per_frame {
            Some(tokens) => builder.tokens_per_frame(tokens),
            None => builder,
        }
    }

    /// The largest area asked for, or the usual one, where no model is at hand to say what a token is.
    pub fn without_model(&self) -> u64 {
        let tokens = self.tokens_per_frame.unwrap_or(TOKENS_PER_FRAME);
        self.max_pixels.unwrap_or(tokens.saturating_mul(PIXELS_PER_TOKEN))
    }
}

impl ModelOptions {
    /// The model's directory, unpacked or downloaded where it has to be.
    ///
    /// # Errors
    /// As [`gve::hub::resolve`].
    pub fn resolve(&self) -> Result<ResolvedModel> {
        let model = self.model.as_deref().unwrap_or(NANO);
        if model == NANO {
            note(
                "using the built-in model nano, which knows its procedural world only; for real use: --model Alibaba-NLP/GVE-3B",
            );
        }
        resolve(model, self.revision.as_deref(), self.quiet)
    }

    /// What loads the model in `model_dir`.
    pub fn builder(&self, model_dir: PathBuf) -> EmbedderBuilder {
        if self.adapter.is_none() && model_dir.join("adapter_config.json").is_file() {
            let directory = model_dir.display();
            warn(&format!(
                "{directory} holds an adapter, which is not applied: --adapter {directory} folds it in"
            ));
        }
        warn_of_unknown_settings(&model_dir);
        let mut builder = Embedder::builder(model_dir).device(self.device).dtype(self.dtype);
        if let Some(adapter) = &self.adapter {
            builder = builder.adapter(adapter);
        }
        if let Some(tokens) = self.batch_tokens {
            builder = builder.batch_tokens(tokens);
        }
        builder
    }
}

/// Tells of settings of the model in `model_dir` that may change embeddings in a way that is not built in.
pub fn warn_of_unknown_settings(model_dir: &Path) {
    for setting in unknown_settings(model_dir) {
        warn(&format!(
            "{}/{setting} is not known to this release: embeddings may differ from the reference's",
            model_dir.display()
        ));
    }
}
