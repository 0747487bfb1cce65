//! The model card of a run: what it knows of the weights that it writes, and nothing else.

mod scores;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;

use super::config::{OptimizerKind, SamplerKind, TrainConfig, Trained};
use super::page::Curves;
use super::sources::ImportedPairs;
use super::{PairsSource, TrainableModel};
use crate::card::{
    BaseModel, Card, LOCAL_BASE, Terms, UNKNOWN_BASE, about_unknown_base, code, hub_snapshot, name_of, reads,
    table,
};
use crate::model::{AdapterLayout, LoraConfig, Trainable, architecture};
use crate::pairs::PairIndex;

/// Which weights of a run a card is of.
#[derive(Debug, Clone, Copy)]
pub(super) enum State<'a> {
    /// Those of the end.
    Final,
    /// The best so far.
    Best {
        /// What tells.
        metric: &'a str,
        /// Their score.
        value: f64,
    },
}

/// What a run knows.
pub(super) struct RunFacts<'a> {
    pub(super) config: &'a TrainConfig,
    pub(super) pairs: &'a PairIndex,
    pub(super) held_out: Option<&'a PairIndex>,
    pub(super) imported: &'a [ImportedPairs],
    pub(super) model: &'a TrainableModel,
    pub(super) curves: &'a Curves,
    pub(super) step: usize,
    pub(super) total_steps: usize,
}

impl RunFacts<'_> {
    /// The card of the present weights.
    pub(super) fn card(&self, state: State<'_>) -> Card {
        let base = self.model.base(self.config);
        let mut card = Card::default();
        let relation = if self.is_adapter() { "adapter" } else { "finetune" };
        if let Some(id) = base.hub_id() {
            card.put("base_model", id);
            card.put("base_model_relation", relation);
        }
        card.put("library_name", self.library());
        card.put("pipeline_tag", self.pipeline());
        card.put("tags", self.tags());
        let licence = card.put_terms(Terms::of(self.model.directory(), &base));
        card.put("datasets", self.data_sets());
        card.put("model-index", self.model_index());
        let sections = [
            format!("# {}\n\n{}", name_of(&self.config.output), self.what(&base, state)),
            self.properties(&base, state, &licence),
            self.usage(&base),
            self.data(),
            self.training(),
            self.scores(),
        ];
        card.body = sections.join("\n");
        card
    }

    fn is_adapter(&self) -> bool {
        self.config.train == Trained::Lora
    }

    fn is_reranker(&self) -> bool {
        self.config.loss.is_of_pairs()
    }

    /// What loads the files.
    fn library(&self) -> &'static str {
        match () {
            () if self.is_adapter() => "peft",
            () if self.model.is_described() => "sentence-transformers",
            () => "transformers",
        }
    }

    fn pipeline(&self) -> &'static str {
        match self.library() {
            _ if self.is_reranker() => "text-ranking",
            "sentence-transformers" => "sentence-similarity",
            _ => "feature-extraction",
        }
    }

    fn tags(&self) -> Vec<String> {
        let mut tags = vec!["gve", if self.is_reranker() { "reranker" } else { "multimodal-embedding" }];
        tags.extend(self.is_adapter().then_some("lora"));
        tags.extend(self.model.describes_adapter().then_some("sentence-transformers"));
        if !self.config.loss.matryoshka_dims.is_empty() {
            tags.push("matryoshka");
        }
        let modalities: BTreeSet<char> = self
            .pairs
            .tasks()
            .iter()
            .flat_map(|task| task.task().to_string().chars().collect::<Vec<_>>())
            .collect();
        if modalities.contains(&'v') {
            tags.push("video-retrieval");
        }
        tags.into_iter().map(str::to_owned).collect()
    }

    /// Data sets on the hub that pairs are from.
    fn data_sets(&self) -> Vec<String> {
        let ids =
            self.config.data.pairs.iter().filter_map(|source| data_set(source.path()).map(|(id, _)| id));
        ids.collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn what(&self, base: &BaseModel, state: State<'_>) -> String {
        let (base, step, total) = (base.in_words(), self.step, self.total_steps);
        let mut what = match (self.is_adapter(), self.is_reranker()) {
            (true, false) => format!(
                "A LoRA adapter of {base}: an embedder of texts, images and videos, which come into one space."
            ),
            (false, false) => format!(
                "All weights of {base}, trained further: an embedder of texts, images and videos, which come into one space."
            ),
            (true, true) => {
                format!("A LoRA adapter of {base}: a reranker, which scores a candidate for a query.")
            }
            (false, true) => format!(
                "All weights of {base}, trained further: a reranker, which scores a candidate for a query."
            ),
        };
        let state = match state {
            State::Final => "the weights at the end of the run".to_owned(),
            State::Best { metric, value } => {
                format!("the best weights of the run up to here by `{metric}` on held-out data ({value:.4})")
            }
        };
        _ = writeln!(what, " These are {state}, after {step} of {total} steps.");
        what
    }

    fn properties(&self, base: &BaseModel, state: State<'_>, licence: &str) -> String {
        let mut rows = vec![
            vec!["made from".to_owned(), base.in_words()],
            vec!["step".to_owned(), format!("{} of {}", self.step, self.total_steps)],
        ];
        if let State::Best { metric, .. } = state {
            rows.push(vec!["chosen by".to_owned(), format!("`{metric}`")]);
        }
        if !self.is_reranker() {
            let recipe = self.model.recipe();
            rows.push(vec![
                "embedding".to_owned(),
                format!("{} values, length 1; compared by cosine", self.model.dim()),
            ]);
            rows.push(vec!["may be cut to".to_owned(), recipe.widths.to_string()]);
        }
        rows.push(vec!["made with".to_owned(), format!("gve {}", env!("CARGO_PKG_VERSION"))]);
        rows.push(vec!["licence".to_owned(), licence.to_owned()]);
        table(&["", ""], rows)
    }

    fn usage(&self, base: &BaseModel) -> String {
        let reads = reads(self.is_reranker());
        let model = if self.is_adapter() {
            format!("--model {} --adapter FOLDER", base.for_gve())
        } else {
            "--model FOLDER".to_owned()
        };
        let mut usage =
            format!("## Use\n\n`FOLDER` is where these files are.\n\n```sh\n{reads} {model}\n```\n");
        match base {
            BaseModel::Directory(_) if self.is_adapter() => {
                _ = writeln!(usage, "\n{}", about_unknown_base());
            }
            BaseModel::BuiltIn { name, .. } if self.is_adapter() => {
                _ = writeln!(
                    usage,
                    "\nFor other programs, `gve model convert --model {name} --dtype bf16 --out {UNKNOWN_BASE}` writes the model that it was \
                     trained on to a folder `{UNKNOWN_BASE}`; {LOCAL_BASE} where it lay on the machine of the run."
                );
            }
            _ => {}
        }
        if let Some(python) = self.python(base) {
            _ = writeln!(usage, "\n```python\n{python}```");
        }
        usage
    }

    /// How Python loads it, where that is known.
    fn python(&self, base: &BaseModel) -> Option<String> {
        if !self.is_adapter() {
            return (self.library() == "sentence-transformers").then(|| {
                "from sentence_transformers import SentenceTransformer\n\nmodel = SentenceTransformer(\"FOLDER\")\n\
                 embeddings = model.encode([\"a dog runs\"])\n"
                    .to_owned()
            });
        }
        let class = architecture(self.model.directory())?;
        let (name, revision) = match base {
            BaseModel::Hub { id, revision } => {
                (id.as_str(), revision.as_ref().map(|revision| format!(", revision=\"{revision}\"")))
            }
            _ => (UNKNOWN_BASE, None),
        };
        let since = match &self.config.lora {
            Some(LoraConfig { layout: AdapterLayout::Flat, .. }) => {
                "# Up to transformers 4.51, whose names the adapter has.\n"
            }
            _ => "# From transformers 4.52 on, whose names the adapter has.\n",
        };
        let mut python = format!(
            "{since}from peft import PeftModel\nfrom transformers import {class}\n\n\
             model = {class}.from_pretrained(\"{name}\"{})\nmodel = PeftModel.from_pretrained(model, \"FOLDER\")\n",
            revision.unwrap_or_default()
        );
        if self.model.describes_adapter() {
            python.push_str(
                "\n# Or, where `base_model_name_or_path` in adapter_config.json is there:\nfrom sentence_transformers import \
                 SentenceTransformer\n\nmodel = SentenceTransformer(\"FOLDER\")\nembeddings = model.encode([\"a dog runs\"])\n",
            );
        }
        Some(python)
    }

    fn data(&self) -> String {
        let counts = self.pairs.pairs_by_file();
        // Those of the training pairs come first.
        let mut imported = self.imported.iter();
        let sources = self.config.data.pairs.iter().zip(counts).map(|(source, (_, count))| {
            let (format, refused) = match source {
                PairsSource::File(_) => ("pairs".to_owned(), "-".to_owned()),
                PairsSource::Import(import) => {
                    // What is kept from an earlier start had no refused row.
                    let refused = imported
                        .next()
                        .and_then(|made| made.imported.as_ref())
                        .map_or(0, |imported| imported.refused);
                    (import.settings.format.name().to_owned(), refused.to_string())
                }
            };
            vec![in_words(source.path()), format, count.to_string(), refused]
        });
        let held_out = |name: &str| {
            let task = self.held_out?.tasks().iter().find(|task| task.task().to_string() == name)?;
            Some(task.len().to_string())
        };
        let tasks = self.pairs.tasks().iter().map(|task| {
            let name = task.task().to_string();
            let held_out = held_out(&name).unwrap_or_else(|| "-".to_owned());
            vec![name, task.len().to_string(), held_out]
        });
        format!(
            "## Data\n\n{}\n`t` is text, `i` an image, `v` a video; `t2v` finds videos by texts.\n\n{}",
            table(&["source", "format", "pairs", "refused rows"], sources),
            table(&["task", "pairs", "held-out pairs"], tasks)
        )
    }

    fn training(&self) -> String {
        let config = self.config;
        let (batch, optimizer, loss) = (&config.batch, &config.optimizer, &config.loss);
        let mut rows: Vec<(&str, String)> = vec![
            (
                "steps",
                format!(
                    "{} of {}, {} an epoch",
                    self.step,
                    self.total_steps,
                    config.steps_per_epoch.unwrap_or(self.total_steps)
                ),
            ),
            ("epochs", config.epochs.to_string()),
            ("pairs in a batch", batch.size.to_string()),
            ("batches in a step", batch.accumulate.to_string()),
            (
                "optimiser",
                match optimizer.kind {
                    OptimizerKind::AdamW => "AdamW".to_owned(),
                    OptimizerKind::Muon => "Muon, and AdamW for what is no matrix".to_owned(),
                },
            ),
            (
                "learning rate",
                format!(
                    "{:e}, {}, {} steps of warm-up",
                    optimizer.learning_rate,
                    word(&optimizer.schedule),
                    optimizer.warmup_steps
                ),
            ),
            ("weight decay", optimizer.weight_decay.to_string()),
            (
                "longest gradient",
                if optimizer.clip_norm > 0.0 { optimizer.clip_norm.to_string() } else { "any".to_owned() },
            ),
        ];
        rows.push((
            "loss",
            if self.is_reranker() {
                "cross-entropy of yes and no".to_owned()
            } else {
                format!(
                    "InfoNCE, temperature {}, direction weight {}",
                    loss.temperature, loss.direction_weight
                )
            },
        ));
        if !loss.matryoshka_dims.is_empty() {
            let dims: Vec<String> = loss.matryoshka_dims.iter().map(ToString::to_string).collect();
            rows.push(("also trained at widths (Matryoshka)", dims.join(", ")));
        }
        if let Some(ranks) = &loss.rank_net {
            rows.push(("RankNet", format!("weight {}, scale {}", ranks.weight, ranks.scale)));
        }
        rows.push((
            "tasks of batches",
            match config.curriculum.sampler {
                SamplerKind::Pyramid => "modality pyramid".to_owned(),
                SamplerKind::Uniform => "every task as often".to_owned(),
                SamplerKind::Proportional => "by number of pairs".to_owned(),
            },
        ));
        if let Some(floor) = config.curriculum.floor {
            rows.push(("batches spread evenly over the tasks", format!("{:.0} %", 100.0 * floor)));
        }
        if config.negatives.mined > 0 {
            rows.push(("mined negatives of a pair", config.negatives.mined.to_string()));
        }
        if let Trainable::Lora(lora) = self.model.trainable() {
            rows.extend(of_lora(lora));
        }
        if let Some(full) = &config.full {
            rows.push(("vision tower trained", if full.vision { "yes" } else { "no" }.to_owned()));
        }
        let reading = &config.model;
        rows.extend(reading.frames.map(|frames| ("frames of a video", frames.to_string())));
        rows.extend(reading.max_pixels.map(|area| ("pixels of a picture, at most", area.to_string())));
        rows.extend(reading.max_length.map(|tokens| ("tokens of an input, at most", tokens.to_string())));
        rows.push(("seed", config.seed.to_string()));
        format!(
            "## Training\n\n{}",
            table(&["", ""], rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]))
        )
    }
}

/// The rows of an adapter.
fn of_lora(lora: &LoraConfig) -> Vec<(&'static str, String)> {
    let mut rows = vec![
        ("LoRA rank", lora.r.to_string()),
        ("LoRA alpha", lora.alpha.to_string()),
        ("LoRA dropout", lora.dropout.to_string()),
        ("LoRA on", lora.target_modules.join(", ")),
    ];
    let kinds = [
        (lora.use_rslora, "rsLoRA"),
        (lora.use_dora, "DoRA"),
        (lora.vision, "vision tower, too"),
        (lora.init.is_some(), "begun from an adapter"),
    ];
    let kinds: Vec<&str> = kinds.into_iter().filter(|(is_set, _)| *is_set).map(|(_, kind)| kind).collect();
    if !kinds.is_empty() {
        rows.push(("kind", kinds.join(", ")));
    }
    if !lora.modules_to_save.is_empty() {
        rows.push(("modules trained whole", lora.modules_to_save.join(", ")));
    }
    rows
}

/// The id and commit of a data set on the hub whose files are in or below `path`.
fn data_set(path: &Path) -> Option<(String, String)> {
    path.ancestors()
        .find_map(hub_snapshot)
        .filter(|(kind, ..)| *kind == "datasets")
        .map(|(_, id, commit)| (id, commit))
}

/// A source of pairs, without where it lies on the machine.
fn in_words(path: &Path) -> String {
    match data_set(path) {
        Some((id, commit)) => format!("[{id}](https://huggingface.co/datasets/{id}), revision `{commit}`"),
        None => code(&path.file_name().unwrap_or(path.as_os_str()).to_string_lossy()),
    }
}

/// A setting in the word that it has in files.
fn word(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}
