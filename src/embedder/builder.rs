use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::EmbedError;
use super::input::PixelLimits;
use super::{Embedder, Inner, Preparer};
use crate::device::{DType, Device};
use crate::model::qwen2_5_vl::{Preprocessor, PromptConfig};
use crate::model::{AdapterId, Config, LoraAdapter, Qwen25Vl, WeightPrecision, checkpoint_fingerprint};
use crate::preprocess::{ImageLimits, ImageProcessorConfig};
use crate::video::Sampling;
#[cfg(feature = "video")]
use crate::video::VideoOptions;

/// Frames per video in the published evaluation, and wherever nobody says.
pub const FRAMES_PER_VIDEO: usize = 8;
/// Pixels of one visual token: the square of patch size x merge size.
pub const PIXELS_PER_TOKEN: u64 = 28 * 28;
/// Most visual tokens per frame in the published evaluation, and wherever nobody says and the checkpoint does not allow less.
pub const TOKENS_PER_FRAME: u64 = 200;
/// Tokens of a batch: a processor is busy with few, a GPU wants many.
const CPU_BATCH_TOKENS: usize = 2048;
const GPU_BATCH_TOKENS: usize = 16_384;
/// Threads that decode ahead of the model, at the most.
const MAX_DECODE_THREADS: usize = 8;

/// Largest area of a picture where nobody says: a checkpoint made for small pictures has never seen larger ones.
pub(crate) fn default_max_pixels(processor: &ImageProcessorConfig) -> u64 {
    processor.pixel_bounds().max_pixels().min(TOKENS_PER_FRAME * PIXELS_PER_TOKEN)
}

/// Settings of an [`Embedder`]; the defaults are those of the published evaluation.
///
/// ```
/// use gve::{DType, Device, Embedder, Input};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let model_dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/tiny-a/model");
/// let embedder = Embedder::builder(model_dir)
///     .device(Device::Cpu)
///     .dtype(DType::F32)
///     .tokens_per_frame(100)
///     .build()?;
/// assert_eq!(embedder.embed_one(&Input::text("a dog runs"))?.dim(), embedder.dim());
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct EmbedderBuilder {
    model_dir: PathBuf,
    adapter: Option<PathBuf>,
    device: Device,
    dtype: DType,
    sampling: Sampling,
    pixels: PixelLimits,
    instruction: Option<String>,
    max_length: usize,
    batch_tokens: Option<usize>,
    decode_threads: Option<usize>,
    #[cfg(feature = "video")]
    video: VideoOptions,
    image_limits: ImageLimits,
}

impl EmbedderBuilder {
    pub(super) fn new(model_dir: PathBuf) -> Self {
        Self {
            model_dir,
            adapter: None,
            device: Device::default(),
            dtype: DType::default(),
            sampling: Sampling::Uniform { frames: FRAMES_PER_VIDEO },
            pixels: PixelLimits::default(),
            instruction: None,
            max_length: PromptConfig::DEFAULT_MAX_LENGTH,
            batch_tokens: None,
            decode_threads: None,
            #[cfg(feature = "video")]
            video: VideoOptions::default(),
            image_limits: ImageLimits::default(),
        }
    }

    /// A PEFT adapter (`adapter_config.json` and `adapter_model.safetensors`) to fold into the weights while they are loaded.
    pub fn adapter(mut self, directory: impl Into<PathBuf>) -> Self {
        self.adapter = Some(directory.into());
        self
    }

    /// Where the model runs.
    pub fn device(mut self, device: Device) -> Self {
        self.device = device;
        self
    }

    /// Precision of the weights.
    pub fn dtype(mut self, dtype: DType) -> Self {
        self.dtype = dtype;
        self
    }

    /// Which frames of a video to look at, where the input does not say. Default: 8, evenly
    /// spread.
    pub fn sampling(mut self, sampling: Sampling) -> Self {
        self.sampling = sampling;
        self
    }

    /// Bounds on the area of pictures, where the input does not say. Default: 200 visual tokens at most, or what the checkpoint's
    /// `preprocessor_config.json` allows if that is less.
    pub fn pixels(mut self, pixels: PixelLimits) -> Self {
        self.pixels = pixels;
        self
    }

    /// Most visual tokens per frame or image, 28 x 28 pixels each. Default: 200, or what the checkpoint allows if that
    /// is less.
    pub fn tokens_per_frame(mut self, tokens: u64) -> Self {
        self.pixels.max_pixels = Some(tokens.saturating_mul(PIXELS_PER_TOKEN));
        self
    }

    /// The instruction of inputs that have none. Default: the chat template's system turn.
    pub fn instruction(mut self, instruction: impl Into<String>) -> Self {
        self.instruction = Some(instruction.into());
        self
    }

    /// Longest input in tokens; text beyond it is cut off. Default: [`PromptConfig::DEFAULT_MAX_LENGTH`].
    pub fn max_length(mut self, tokens: usize) -> Self {
        self.max_length = tokens;
        self
    }

    /// Tokens that are run through the model together. More is faster on a GPU and takes more
    /// memory. Default: 2048 on the CPU, 16384 elsewhere.
    pub fn batch_tokens(mut self, tokens: usize) -> Self {
        self.batch_tokens = Some(tokens);
        self
    }

    /// Threads that decode ahead of the model. Default: half of the cores, at most 8.
    pub fn decode_threads(mut self, threads: usize) -> Self {
        self.decode_threads = Some(threads);
        self
    }

    /// How video files are opened.
    #[cfg(feature = "video")]
    pub fn video(mut self, options: VideoOptions) -> Self {
        self.video = options;
        self
    }

    /// Bounds on image files.
    pub fn image_limits(mut self, limits: ImageLimits) -> Self {
        self.image_limits = limits;
        self
    }

    /// Loads the model.
    ///
    /// # Errors
    /// A device that is not there, or a checkpoint or an adapter that cannot be loaded.
    pub fn build(self) -> Result<Embedder, EmbedError> {
        let (device, dtype) = self.place()?;
        let fingerprint = checkpoint_fingerprint(&self.model_dir)?;
        let (model, adapter) = match &self.adapter {
            None => (Qwen25Vl::load(&self.model_dir, dtype, &device)?, None),
            Some(directory) => {
                let adapter = LoraAdapter::read(directory)?;
                let id = AdapterId::of(directory)?;
                (Qwen25Vl::load_adapted(&self.model_dir, dtype, &device, &adapter)?, Some(id))
            }
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = self.decode_threads.unwrap_or((cores / 2).clamp(1, MAX_DECODE_THREADS));
        let decode_pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|i| format!("gve-decode-{i}"))
            .build()
            .map_err(|e| EmbedError::Job(e.to_string()))?;
        let batch_tokens = self.batch_tokens_on(&device);
        let preparer = self.preparer()?;
        Ok(Embedder {
            inner: Arc::new(Inner { model, preparer, adapter, fingerprint, decode_pool, batch_tokens }),
        })
    }

    /// The directory of the model.
    pub(crate) fn model_dir(&self) -> &Path {
        &self.model_dir
    }

    /// The adapter set, if any.
    pub(crate) fn adapter_dir(&self) -> Option<&Path> {
        self.adapter.as_deref()
    }

    /// Opens the device, and says in which precision the weights are to be there.
    pub(crate) fn place(&self) -> Result<(candle_core::Device, WeightPrecision), EmbedError> {
        let device = self.device.open()?;
        let dtype = self.dtype.weights_on(&device);
        Ok((device, dtype))
    }

    /// Tokens that go through the model together on `device`.
    pub(crate) fn batch_tokens_on(&self, device: &candle_core::Device) -> usize {
        let default = if device.is_cpu() { CPU_BATCH_TOKENS } else { GPU_BATCH_TOKENS };
        self.batch_tokens.unwrap_or(default)
    }

    /// What turns inputs into tokens and patches, by these settings.
    pub(crate) fn preparer(self) -> Result<Preparer, EmbedError> {
        let config = Config::load(&self.model_dir)?;
        let preprocessor = Preprocessor::load(
            &self.model_dir,
            PromptConfig {
                spatial_merge_size: config.vision.spatial_merge_size,
                tokens_per_second: config.vision.tokens_per_second,
                image_token_id: config.image_token_id,
                video_token_id: config.video_token_id,
                vision_start_token_id: Some(config.vision_start_token_id),
                vision_end_token_id: None,
                max_length: self.max_length,
            },
        )?;
        let default_max_pixels = default_max_pixels(preprocessor.image_processor());
        Ok(Preparer {
            preprocessor,
            sampling: self.sampling,
            pixels: self.pixels,
            default_max_pixels,
            instruction: self.instruction,
            #[cfg(feature = "video")]
            video: self.video,
            image_limits: self.image_limits,
        })
    }
}
