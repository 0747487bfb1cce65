//! Options that several subcommands share: raw arguments to validated settings.

use std::any::TypeId;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Result, bail};
use clap::{Arg, Args, Command, Parser};
use gve::embedder::{
    EmbedderBuilder, FRAMES_PER_VIDEO, PIXELS_PER_TOKEN, TOKENS_PER_FRAME, unknown_settings,
};
use gve::hub::{NANO, ResolvedModel};
use gve::media::DEFAULT_MAX_FRAMES;
use gve::recipe::{NamedRecipe, PseudoQuery, Recipes};
use gve::retrieval::{Feedback, StoreDType};
use gve::{DType, Device, Embedder, Input, PixelLimits, Reranker, Sampling};

use crate::hub::resolve;
use crate::output::{note, warn};

/// The arguments of the program. A negative number is the value of the option before it, which can say what
/// it takes, and no option that nobody knows.
///
/// # Errors
/// Those of clap.
pub fn parse<A: Parser>() -> Result<A, clap::Error> {
    let mut matches = with_negative_numbers(A::command()).try_get_matches()?;
    A::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut A::command()))
}

fn with_negative_numbers(command: Command) -> Command {
    let numbers = [
        TypeId::of::<f32>(),
        TypeId::of::<f64>(),
        TypeId::of::<u32>(),
        TypeId::of::<u64>(),
        TypeId::of::<usize>(),
    ];
    let with = |argument: Arg| {
        if !argument.get_action().takes_values() {
            return argument;
        }
        let taken = argument.get_value_parser().type_id();
        // -.5 and -inf are no numbers to clap.
        let takes_all = !argument.is_positional() && numbers.iter().any(|number| taken == *number);
        argument.allow_negative_numbers(true).allow_hyphen_values(takes_all)
    };
    command.mut_args(with).mut_subcommands(with_negative_numbers)
}

/// How options have a whole number, from `least` on.
pub fn whole<N>(least: N) -> impl Fn(&str) -> Result<N, String> + Clone + Send + Sync + 'static
where
    N: FromStr + PartialOrd + Display + Clone + Send + Sync + 'static,
{
    move |text: &str| {
        let expected = format!("expected a whole number from {least} on");
        match text.parse::<N>() {
            Ok(number) if number >= least => Ok(number),
            Err(_) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
                Err(format!("{expected} that fits {} bits", 8 * size_of::<N>()))
            }
            _ => Err(expected),
        }
    }
}

/// How options have seconds: as a number from 0 on.
///
/// # Errors
/// It is none.
pub fn length(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds: &f64| seconds.is_finite() && *seconds >= 0.0);
    seconds.ok_or_else(|| "expected a number of seconds from 0 on".to_owned())
}

/// Sees that two options, the least and the most of something, leave anything between them.
///
/// # Errors
/// The least is beyond the most.
pub fn in_order<T: PartialOrd + Display>(
    (least, from): (&str, Option<T>),
    (most, to): (&str, Option<T>),
) -> Result<()> {
    match (from, to) {
        (Some(from), Some(to)) if from > to => bail!(
            "{least} {from} is beyond {most} {to}: nothing lies between them, exchange the two or change one"
        ),
        _ => Ok(()),
    }
}

/// Which model, where and how it runs.
#[derive(Args)]
#[command(next_help_heading = "Model")]
pub struct ModelOptions {
    /// A directory in Hugging Face layout, or a hub id such as Alibaba-NLP/GVE-3B [default: nano, the small
    /// built-in one; where a library is searched or continued, the model it was made with].
    #[arg(long, value_name = "PATH_OR_HUB_ID")]
    pub model: Option<String>,
    /// Branch, tag or commit of a hub model [default: main].
    #[arg(long, value_name = "REVISION")]
    pub revision: Option<String>,
    /// Directory of a PEFT adapter to fold into the model.
    #[arg(long, value_name = "DIR")]
    pub adapter: Option<PathBuf>,
    /// How the model is used, by a name of `gve model list` [default: found by the model's id, by what lies
    /// beside its weights, or by its architecture].
    #[arg(long, value_name = "NAME")]
    pub recipe: Option<String>,
    /// A file of further recipes, in the form of models.toml.
    #[arg(long, value_name = "FILE")]
    pub models_file: Option<PathBuf>,
    /// auto, cpu, cuda, cuda:N or metal.
    #[arg(long, default_value = "auto")]
    device: Device,
    /// auto, f32, bf16, f16 or int8.
    #[arg(long, default_value = "auto")]
    pub dtype: DType,
    /// Most tokens run through the model together [default: 512 on the CPU, 16384 on a GPU].
    #[arg(long, value_name = "N", value_parser = whole::<usize>(1))]
    batch_tokens: Option<usize>,
    /// No progress bars, and no remarks besides warnings and errors.
    #[arg(long)]
    pub quiet: bool,
    /// Say how the model is used.
    #[arg(long)]
    pub verbose: bool,
}

/// How wide embeddings are.
#[derive(Args)]
#[command(next_help_heading = "Model")]
pub struct DimOptions {
    /// Values that an embedding keeps: it is cut and normalised again [default: as many as the model has].
    #[arg(long, value_name = "N", value_parser = whole::<usize>(1))]
    pub dim: Option<usize>,
    /// Cut to any --dim, also one that the model was not trained for.
    #[arg(long, requires = "dim")]
    pub force_dim: bool,
}

/// Which frames of a video to look at.
#[derive(Args)]
#[command(next_help_heading = "Sampling")]
pub struct SamplingOptions {
    /// Frames per video, evenly spread [default: as the model's recipe says, 8 of GVE].
    #[arg(long, value_name = "N", conflicts_with = "fps", value_parser = whole::<usize>(1))]
    frames: Option<usize>,
    /// Frames per second of video, instead of a fixed number.
    #[arg(long, value_name = "F")]
    fps: Option<f64>,
    /// Fewest frames with --fps [default: 4].
    #[arg(long, value_name = "A", requires = "fps", value_parser = whole::<usize>(0))]
    min_frames: Option<usize>,
    /// Most frames with --fps [default: 768].
    #[arg(long, value_name = "B", requires = "fps", value_parser = whole::<usize>(1))]
    max_frames: Option<usize>,
}

/// How large pictures are when embedded.
#[derive(Args)]
#[command(next_help_heading = "Sampling")]
pub struct PixelOptions {
    /// Most pixels per frame or image.
    #[arg(long, value_name = "P", conflicts_with = "tokens_per_frame", value_parser = whole::<u64>(1))]
    max_pixels: Option<u64>,
    /// Most visual tokens per frame or image, of 28 x 28 pixels each in Qwen2.5-VL [default: as the model is
    /// published, or 200, or what the model allows].
    #[arg(long, value_name = "T", value_parser = whole::<u64>(1))]
    tokens_per_frame: Option<u64>,
}

impl SamplingOptions {
    /// The frames asked for; `None` leaves them to the model.
    ///
    /// # Errors
    /// A rate that is none, or fewest frames that are more than the most, also by default.
    pub fn sampling(&self) -> Result<Option<Sampling>> {
        in_order(("--min-frames", self.min_frames), ("--max-frames", self.max_frames))?;
        let least = self.min_frames.filter(|least| self.max_frames.is_none() && *least > DEFAULT_MAX_FRAMES);
        if let Some(least) = least {
            bail!(
                "--min-frames {least} is beyond {DEFAULT_MAX_FRAMES}, the default of --max-frames: give both"
            );
        }
        match (self.frames, self.fps) {
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
        if model == NANO && !self.quiet {
            note(
                "using the built-in model nano, which knows its procedural world only; for real use: --model \
                 Alibaba-NLP/GVE-3B",
            );
        }
        if self.model.as_deref() == Some(NANO) && Path::new(NANO).join("config.json").is_file() {
            warn(&"there is a model in the folder nano as well, which is --model ./nano");
        }
        resolve(model, self.revision.as_deref(), self.quiet)
    }

    /// What loads the model.
    ///
    /// # Errors
    /// A recipe that is not there, or a file of recipes that cannot be read.
    pub fn builder(&self, model: &ResolvedModel) -> Result<EmbedderBuilder> {
        let model_dir = &model.directory;
        if self.adapter.is_none() && model_dir.join("adapter_config.json").is_file() {
            let directory = model_dir.display();
            warn(&format!(
                "{directory} holds an adapter, which is not applied: --adapter {directory} folds it in"
            ));
        }
        warn_of_unknown_settings(model_dir);
        let mut builder = self.used(model)?.device(self.device).dtype(self.dtype);
        if let Some(tokens) = self.batch_tokens {
            builder = builder.batch_tokens(tokens);
        }
        Ok(builder)
    }

    /// How the model is used, with the adapter.
    ///
    /// # Errors
    /// As [`builder`](Self::builder) and [`EmbedderBuilder::find_recipe`].
    pub fn find_recipe(&self, model: &ResolvedModel) -> Result<NamedRecipe> {
        let recipe = self.used(model)?.find_recipe()?;
        self.tell(&recipe);
        Ok(recipe)
    }

    /// Loads the model, and says how it is used where that is asked for.
    ///
    /// # Errors
    /// As [`EmbedderBuilder::build`].
    pub fn load(&self, builder: EmbedderBuilder) -> Result<Embedder> {
        let embedder = builder.build()?;
        self.tell(embedder.recipe());
        Ok(embedder)
    }

    /// Loads the model as a reranker, and says how it is used where that is asked for.
    ///
    /// # Errors
    /// As [`EmbedderBuilder::build_reranker`].
    pub fn reranker(&self, model: &ResolvedModel) -> Result<Reranker> {
        let reranker = self.builder(model)?.build_reranker()?;
        self.tell(reranker.recipe());
        Ok(reranker)
    }

    /// The recipes there are.
    ///
    /// # Errors
    /// A file of recipes that cannot be read.
    pub fn recipes(&self) -> Result<Recipes> {
        Ok(Recipes::builtin_with(self.models_file.as_deref())?)
    }

    fn used(&self, model: &ResolvedModel) -> Result<EmbedderBuilder> {
        let recipes = self.recipes()?;
        let given = self.recipe.as_deref().map(|name| recipes.get(name)).transpose()?;
        let mut builder = model.builder().recipes(recipes);
        if let Some(recipe) = given {
            builder = builder.recipe(recipe);
        }
        if let Some(adapter) = &self.adapter {
            builder = builder.adapter(adapter);
        }
        Ok(builder)
    }

    fn tell(&self, recipe: &NamedRecipe) {
        if self.verbose {
            note(&format!("recipe {}, {}", recipe.name, recipe.found_by));
        }
    }
}

/// A second look at the best of a ranking.
#[derive(Args)]
#[command(next_help_heading = "Reranking")]
pub struct RerankOptions {
    /// A reranker, which reads the query with each of the best and ranks these by what it says: a directory,
    /// or a hub id such as Qwen/Qwen3-VL-Reranker-2B.
    #[arg(long, visible_alias = "rerank", value_name = "PATH_OR_HUB_ID")]
    pub reranker: Option<String>,
    /// How many of the best it reads.
    #[arg(long, value_name = "N", requires = "reranker", default_value_t = 100, value_parser = whole::<usize>(1))]
    pub rerank_top: usize,
    /// How it is used, by a name of `gve model list` [default: found as that of --model is].
    #[arg(long, value_name = "NAME", requires = "reranker")]
    pub rerank_recipe: Option<String>,
    /// Directory of a PEFT adapter to fold into it.
    #[arg(long, value_name = "DIR", requires = "reranker")]
    pub rerank_adapter: Option<PathBuf>,
}

impl RerankOptions {
    /// Loads the reranker, if one is asked for, to run where `model` does and as `set` has it; gives its id and
    /// revision, too.
    ///
    /// # Errors
    /// A model that cannot be found, and those of [`EmbedderBuilder::build_reranker`].
    pub fn load(
        &self,
        model: &ModelOptions,
        set: impl FnOnce(EmbedderBuilder) -> EmbedderBuilder,
    ) -> Result<Option<(Reranker, ResolvedModel)>> {
        let Some(id) = &self.reranker else { return Ok(None) };
        let found = resolve(id, None, model.quiet)?;
        let recipes = model.recipes()?;
        let recipe = self.rerank_recipe.as_deref().map(|name| recipes.get(name)).transpose()?;
        let mut builder =
            Reranker::builder(&found.directory).recipes(recipes).device(model.device).dtype(model.dtype);
        if let Some(recipe) = recipe {
            builder = builder.recipe(recipe);
        }
        if let Some(adapter) = &self.rerank_adapter {
            builder = builder.adapter(adapter);
        }
        if let Some(tokens) = model.batch_tokens {
            builder = builder.batch_tokens(tokens);
        }
        let reranker = set(builder).build_reranker()?;
        model.tell(reranker.recipe());
        Ok(Some((reranker, found)))
    }
}

/// What a first search found, put to use.
#[derive(Args)]
#[command(next_help_heading = "Feedback")]
pub struct FeedbackOptions {
    /// Search twice: the second time for the query moved towards the K best of the first (Rocchio).
    #[arg(long, value_name = "K", value_parser = whole::<usize>(1))]
    feedback: Option<usize>,
    /// Weight of their mean, where the query has 1 [default: 0.5].
    #[arg(long, value_name = "W", requires = "feedback")]
    feedback_weight: Option<f32>,
    /// Search twice: the second time for the query as the model reads it together with the K best of the
    /// first. Only models that were trained for it, whose recipe has a `pseudo_query`; it says how many are
    /// read at most.
    #[arg(long, value_name = "K", conflicts_with = "feedback", value_parser = whole::<usize>(1))]
    pub pseudo_query: Option<usize>,
}

impl FeedbackOptions {
    /// How queries are asked again, if they shall be, by the recipe of `embedder`.
    ///
    /// # Errors
    /// A model that was not trained for that.
    pub fn pseudo_query(&self, embedder: &Embedder) -> Result<Option<PseudoQuery>> {
        let Some(candidates) = self.pseudo_query else { return Ok(None) };
        // It says what is wrong.
        embedder.pseudo_query(&Input::default(), [])?;
        let mut recipe = embedder.recipe().recipe.pseudo_query.clone().unwrap_or_default();
        recipe.most_candidates = recipe.most_candidates.min(candidates);
        Ok(Some(recipe))
    }

    /// The feedback asked for.
    ///
    /// # Errors
    /// A weight that is none.
    pub fn feedback(&self) -> Result<Option<Feedback>> {
        if let Some(weight) = self.feedback_weight.filter(|weight| !(weight.is_finite() && *weight >= 0.0)) {
            bail!("--feedback-weight must not be negative, got {weight}");
        }
        let feedback = self.feedback.map(Feedback::of);
        Ok(feedback
            .map(|feedback| self.feedback_weight.map_or(feedback, |weight| feedback.with_weight(weight))))
    }
}

impl DimOptions {
    /// `builder` with the width asked for.
    pub fn set(&self, builder: EmbedderBuilder) -> EmbedderBuilder {
        match self.dim {
            Some(dim) => builder.dim(dim).force_dim(self.force_dim),
            None => builder,
        }
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

/// How `--store-dtype` has it.
///
/// # Errors
/// It is none of them.
pub fn store_dtype(text: &str) -> Result<StoreDType, String> {
    let found = StoreDType::ALL.into_iter().find(|dtype| dtype.name() == text);
    found.ok_or_else(|| format!("{text:?} is none of f32, f16 and int8"))
}
