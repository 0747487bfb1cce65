use std::path::{Path, PathBuf};

use serde_json::Value;

use super::names;
use super::{CurriculumSection, OptimizerKind, SamplerKind, TrainConfig, Trained};
use crate::device::DType;
use crate::model::{LoraConfig, Trainable};
use crate::store::IoError;
use crate::train::{AdamWConfig, MuonConfig, Sampler, Schedule, TrainError};

/// Pairs of each task that the prober looks at.
const PROBE_PAIRS: usize = 256;
/// The floor where nobody says.
const FLOOR: f64 = 0.25;

/// Most of what is multiplied by other counts, which must stay numbers.
const MOST: usize = 1 << 24;
/// Most steps of an epoch.
const MOST_STEPS: usize = u32::MAX as usize;

impl TrainConfig {
    /// Reads and checks a file. Relative paths in it are relative to its directory; they are made absolute,
    /// so that they are the same from wherever a run goes on.
    ///
    /// # Errors
    /// The file cannot be read, is no TOML, has an unknown key or a value that makes no sense; with the line.
    pub fn load(path: &Path) -> Result<Self, TrainError> {
        let text = std::fs::read_to_string(path).map_err(IoError::of("read", path))?;
        let mut config = Self::parse(&text, path)?;
        let path = std::path::absolute(path).map_err(IoError::of("find", path))?;
        let base = path.parent().unwrap_or(Path::new(""));
        config.each_path(|path| *path = base.join(&*path));
        let model = base.join(&config.model.path);
        if model.is_dir() {
            config.model.path = model.display().to_string();
        }
        Ok(config)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, TrainError> {
        let config: Self = toml::from_str(text).map_err(|error| {
            let reason = error.message().replace('\n', ", ");
            let hint = names::hint(&reason).map(|hint| format!("; {hint}")).unwrap_or_default();
            let reason = reason + &hint;
            let Some(start) = error.span().map(|span| span.start) else {
                return TrainError::Config { place: path.display().to_string(), reason };
            };
            let place = format!("{}:{}", path.display(), line_of(text, start));
            let reason = match key_of_value(text, start) {
                Some(name) => format!("`{name}`: {reason}"),
                None => reason,
            };
            TrainError::Config { place, reason }
        })?;
        match config.fault() {
            None => Ok(config),
            Some((section, key, reason)) => {
                let place = match find_key(text, section, key) {
                    Some(line) => format!("{}:{line}", path.display()),
                    None => path.display().to_string(),
                };
                Err(TrainError::Config { place, reason: format!("`{}` {reason}", name(section, key)) })
            }
        }
    }

    /// Checks settings that no file was read for, as [`load`](Self::load) checks those of one.
    ///
    /// # Errors
    /// A value that makes no sense, by its key.
    pub(in crate::train) fn check(&self) -> Result<(), TrainError> {
        match self.fault() {
            None => Ok(()),
            Some((section, key, reason)) => Err(TrainError::Config { place: name(section, key), reason }),
        }
    }

    /// The first value that makes no sense: section, key, and why.
    fn fault(&self) -> Option<(&'static str, &'static str, String)> {
        let pyramid = self.curriculum.sampler == SamplerKind::Pyramid;
        let positive = |x: f64| x.is_finite() && x > 0.0;
        let share = |x: f64| (0.0..1.0).contains(&x);
        let unread = |because: &str| format!("has no effect {because}: remove it");
        let only_pyramid = || unread("without the sampler `pyramid`");
        let (c, o, b) = (&self.curriculum, &self.optimizer, &self.batch);
        let lora = self.lora.as_ref().and_then(LoraConfig::fault);
        let evaluates = self.evaluation.is_some();
        let evaluation = self.evaluation.clone().unwrap_or_default();
        let no_uvrb = evaluation.uvrb.is_none();
        let (loss, of_pairs) = (self.loss.fault(), self.loss.is_of_pairs());
        let at_least_1 = || "must be at least 1".to_owned();
        let positive_number = || "must be a positive number".to_owned();
        let at_most = |most: usize| format!("must be at most {most}");
        #[rustfmt::skip]
        let rules = [
            ("", "epochs", self.epochs == 0, at_least_1()),
            ("", "steps_per_epoch", self.steps_per_epoch == Some(0), at_least_1()),
            ("", "epochs", self.epochs > MOST, at_most(MOST)),
            ("", "steps_per_epoch", self.steps_per_epoch.is_some_and(|steps| steps > MOST_STEPS), at_most(MOST_STEPS)),
            ("", "lora", self.train == Trained::Full && self.lora.is_some(), unread("with `train = \"full\"`")),
            ("", "full", self.train == Trained::Lora && self.full.is_some(), unread("without `train = \"full\"`")),
            ("model", "dtype", self.model.dtype == DType::F16, "must be auto, f32, bf16 or int8: f16 overflows in training".to_owned()),
            ("model", "frames", self.model.frames == Some(0), at_least_1()),
            ("model", "tokens_per_frame", self.model.tokens_per_frame == Some(0), at_least_1()),
            ("model", "tokens_per_frame", self.model.tokens_per_frame.is_some() && self.model.max_pixels.is_some(), unread("beside `max_pixels`")),
            ("model", "max_pixels", self.model.max_pixels == Some(0), at_least_1()),
            ("model", "max_length", self.model.max_length.is_some_and(|tokens| tokens < 2), "must be at least 2".to_owned()),
            ("lora", lora.as_ref().map_or("", |(key, _)| key), lora.is_some(), lora.as_ref().map_or_else(String::new, |(_, reason)| reason.clone())),
            ("data", "pairs", self.data.pairs.is_empty(), "names no file".to_owned()),
            ("data", "max_damaged", !share(self.data.max_damaged), "must be at least 0 and below 1".to_owned()),
            ("batch", "size", b.size < 2, "must be at least 2: a pair alone has nothing to be told from".to_owned()),
            ("batch", "size", b.size > MOST, at_most(MOST)),
            ("batch", "accumulate", b.accumulate == 0, at_least_1()),
            ("batch", "accumulate", b.accumulate > MOST, at_most(MOST)),
            ("batch", "chunk_tokens", b.chunk_tokens == 0, at_least_1()),
            ("loss", loss.map_or("", |(key, _)| key), loss.is_some(), loss.map_or("", |(_, reason)| reason).to_owned()),
            ("curriculum", "sampler", of_pairs && pyramid, "must be `uniform` or `proportional` with `loss.kind = \"yes-no\"`: a reranker has no alignments to measure".to_owned()),
            ("negatives", "mined", of_pairs && self.negatives.mined > 0, "must be 0 with `loss.kind = \"yes-no\"`: a reranker embeds nothing to mine by, so give the pairs `negatives`".to_owned()),
            ("", "evaluation", of_pairs && evaluates, unread("with `loss.kind = \"yes-no\"`, as a reranker embeds nothing")),
            ("curriculum", "weights", !c.weights.iter().flatten().all(|(_, &w)| positive(w)), "must all be positive numbers".to_owned()),
            ("curriculum", "floor", !c.floor.is_none_or(|share| (0.0..=1.0).contains(&share)), "must lie within 0 and 1".to_owned()),
            ("curriculum", "floor", self.curriculum.sampler == SamplerKind::Uniform && c.floor.is_some(), unread("with the sampler `uniform`")),
            ("curriculum", "sigma_start", c.sigma_start.is_some_and(|s| !positive(s)), positive_number()),
            ("curriculum", "sigma_end", c.sigma_end.is_some_and(|s| !positive(s)), positive_number()),
            ("curriculum", "probe_pairs", c.probe_pairs == Some(0), at_least_1()),
            ("curriculum", "sigma_start", !pyramid && c.sigma_start.is_some(), only_pyramid()),
            ("curriculum", "sigma_end", !pyramid && c.sigma_end.is_some(), only_pyramid()),
            ("curriculum", "probe_pairs", !pyramid && c.probe_pairs.is_some(), only_pyramid()),
            ("curriculum", "prober", !pyramid && self.negatives.mined == 0 && c.prober.is_some(), unread("without the sampler `pyramid` or `negatives.mined`")),
            ("negatives", "pool", self.negatives.mined == 0 && self.negatives.pool.is_some(), unread("without `mined`")),
            ("negatives", "pool", self.negatives.pool.is_some_and(|pool| pool < 2), "must be at least 2".to_owned()),
            ("optimizer", "learning_rate", !positive(o.learning_rate), positive_number()),
            ("optimizer", "weight_decay", !(o.weight_decay.is_finite() && o.weight_decay >= 0.0), "must not be negative".to_owned()),
            ("optimizer", "momentum", !o.momentum.is_none_or(share), "must be at least 0 and less than 1".to_owned()),
            ("optimizer", "momentum", o.kind != OptimizerKind::Muon && o.momentum.is_some(), unread("without `kind = \"muon\"`")),
            ("optimizer", "betas", !o.betas.iter().all(|&beta| share(beta)), "must both be at least 0 and less than 1".to_owned()),
            ("optimizer", "eps", !positive(o.eps), positive_number()),
            ("optimizer", "clip_norm", !(o.clip_norm.is_finite() && o.clip_norm >= 0.0), "must not be negative".to_owned()),
            ("checkpoint", "every_steps", self.checkpoint.every_steps == 0, at_least_1()),
            ("checkpoint", "keep", self.checkpoint.keep == 0, at_least_1()),
            ("", "evaluation", evaluates && evaluation.pairs.is_empty() && no_uvrb, "has neither `pairs` nor `uvrb` to score on".to_owned()),
            ("evaluation", "every_steps", evaluation.every_steps == 0, at_least_1()),
            ("evaluation", "every_minutes", evaluation.every_minutes.is_some_and(|minutes| !positive(minutes)), positive_number()),
            ("evaluation", "patience", evaluation.patience == Some(0), at_least_1()),
            ("evaluation", "min_gain", !(evaluation.min_gain.is_finite() && evaluation.min_gain >= 0.0), "must be a number of at least 0".to_owned()),
            ("evaluation", "metric", evaluates && !evaluation.has_metric(), format!("must be recall@1, recall@10 or one task's, as recall@1/t2v, with `pairs`, or one that begins with uvrb/, with `uvrb`; got {:?}", evaluation.metric())),
            ("evaluation", "uvrb_datasets", no_uvrb && !evaluation.uvrb_datasets.is_empty(), unread("without `uvrb`")),
            ("evaluation", "uvrb_limit", no_uvrb && evaluation.uvrb_limit.is_some(), unread("without `uvrb`")),
            ("evaluation", "uvrb_limit", evaluation.uvrb_limit == Some(0), at_least_1()),
            ("evaluation", "uvrb_program", no_uvrb && evaluation.uvrb_program.is_some(), unread("without `uvrb`")),
        ];
        let fault = rules.into_iter().find(|(_, _, is_wrong, _)| *is_wrong);
        fault.map(|(section, key, _, reason)| (section, key, reason))
    }

    fn each_path(&mut self, mut visit: impl FnMut(&mut PathBuf)) {
        visit(&mut self.output);
        self.data.pairs.iter_mut().for_each(|source| source.each_path(&mut visit));
        if let Some(evaluation) = &mut self.evaluation {
            evaluation.pairs.iter_mut().for_each(|source| source.each_path(&mut visit));
            evaluation.uvrb.iter_mut().chain(&mut evaluation.uvrb_program).for_each(&mut visit);
        }
        self.model.models_file.iter_mut().for_each(&mut visit);
        self.curriculum.prober.iter_mut().for_each(&mut visit);
        self.lora.iter_mut().filter_map(|lora| lora.init.as_mut()).for_each(visit);
    }

    /// What is trained.
    pub fn trainable(&self) -> Trainable {
        match self.train {
            Trained::Lora => {
                Trainable::Lora(LoraConfig { seed: self.seed, ..self.lora.clone().unwrap_or_default() })
            }
            Trained::Full => Trainable::Full { vision: self.full.as_ref().is_some_and(|full| full.vision) },
        }
    }

    /// The sampler of tasks.
    pub fn sampler(&self) -> Sampler {
        match self.curriculum.sampler {
            SamplerKind::Pyramid => {
                let (start, end) = Sampler::PYRAMID_SIGMAS;
                Sampler::Pyramid {
                    sigma_start: self.curriculum.sigma_start.unwrap_or(start),
                    sigma_end: self.curriculum.sigma_end.unwrap_or(end),
                }
            }
            SamplerKind::Uniform => Sampler::Uniform,
            SamplerKind::Proportional => Sampler::Proportional,
        }
    }

    /// Pairs of each task that the prober looks at.
    pub fn probe_pairs(&self) -> usize {
        self.curriculum.probe_pairs.unwrap_or(PROBE_PAIRS)
    }

    /// Settings of AdamW.
    pub fn adamw(&self) -> AdamWConfig {
        let [beta1, beta2] = self.optimizer.betas;
        AdamWConfig { beta1, beta2, eps: self.optimizer.eps, weight_decay: self.optimizer.weight_decay }
    }

    /// Settings of Muon, where it moves the matrices.
    pub fn muon(&self) -> Option<MuonConfig> {
        let MuonConfig { momentum, .. } = MuonConfig::default();
        (self.optimizer.kind == OptimizerKind::Muon).then(|| MuonConfig {
            momentum: self.optimizer.momentum.unwrap_or(momentum),
            weight_decay: self.optimizer.weight_decay,
        })
    }

    /// The learning rate over a run of `total_steps`.
    pub fn schedule(&self, total_steps: usize) -> Schedule {
        Schedule {
            learning_rate: self.optimizer.learning_rate,
            decay: self.optimizer.schedule,
            warmup_steps: self.optimizer.warmup_steps,
            total_steps,
        }
    }
}

/// What a key is called, its section included.
fn name(section: &str, key: &str) -> String {
    if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") }
}

/// The line, from 1, of a byte of `text`.
fn line_of(text: &str, byte: usize) -> usize {
    1 + text.bytes().take(byte).filter(|&b| b == b'\n').count()
}

/// The name of the key whose value stands at `byte` of `text`; `None` where that is no value.
fn key_of_value(text: &str, byte: usize) -> Option<String> {
    let before = text.get(..byte)?;
    let (above, line) = before.rsplit_once('\n').unwrap_or(("", before));
    let (key, _) = line.split_once('=')?;
    let headings = above.lines().rev().filter_map(|line| line.trim().strip_prefix('[')?.split(']').next());
    Some(name(headings.map(str::trim).next().unwrap_or(""), key.trim()))
}

/// The line that sets `key` in `section`, or opens a section of that name; for messages, so it may find none.
fn find_key(text: &str, section: &str, key: &str) -> Option<usize> {
    let mut current = "";
    for (line, content) in (1..).zip(text.lines().map(str::trim)) {
        if let Some(name) = content.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            current = name.trim();
            if section.is_empty() && current == key {
                return Some(line);
            }
        } else if current == section
            && content.split('=').next().is_some_and(|name| names::means(name.trim(), key))
        {
            return Some(line);
        }
    }
    None
}

impl CurriculumSection {
    /// Writes down what is not given, so that a run goes on as it began. `saved` are the settings of a run that
    /// goes on: before there was a floor there was none, and sigma began where the paper's does.
    pub(in crate::train) fn fill_in(&mut self, saved: Option<&Value>) {
        let is_older = saved.is_some_and(|saved| saved.pointer("/curriculum/floor").is_none());
        if self.sampler != SamplerKind::Uniform {
            self.floor.get_or_insert(if is_older { 0.0 } else { FLOOR });
        }
        if self.sampler == SamplerKind::Pyramid && is_older {
            self.sigma_start.get_or_insert(Sampler::PYRAMID_SIGMAS.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ModelSection;
    use super::*;
    use crate::train::InfoNce;

    const LEAST: &str = "output = \"run\"\n[model]\npath = \"m\"\n[data]\npairs = [\"p.jsonl\"]\n";

    fn fault(text: &str) -> String {
        TrainConfig::parse(text, Path::new("c.toml")).unwrap_err().to_string()
    }

    #[test]
    fn an_adapter_may_be_said_in_the_words_of_peft() {
        let lora = |text: &str| {
            let config = TrainConfig::parse(&format!("{LEAST}[lora]\n{text}"), Path::new("c.toml"));
            config.unwrap().lora.unwrap()
        };
        let theirs = "lora_r = 8\nlora_alpha = 4\nlora_dropout = 0.0\nuse_rslora = true\nuse_dora = true\n";
        let ours = "r = 8\nalpha = 4\ndropout = 0.0\nrslora = true\ndora = true\n";
        assert_eq!(lora(theirs), lora(ours));
        let all = lora("target_modules = \"all-linear\"\nmodules_to_save = [\"norm\"]\n");
        assert_eq!(
            (all.target_modules, all.modules_to_save),
            (vec!["all-linear".into()], vec!["norm".into()])
        );
    }

    #[test]
    fn the_defaults_are_the_published_recipe() {
        let config = TrainConfig::parse(LEAST, Path::new("c.toml")).unwrap();
        let lora = config.lora.clone().unwrap_or_default();
        assert_eq!((lora.r, lora.alpha, lora.dropout, lora.target_modules.len()), (16, 32.0, 0.1, 6));
        assert_eq!((config.optimizer.learning_rate, config.adamw().weight_decay), (3e-5, 0.1));
        assert_eq!((config.epochs, config.seed, config.batch.size), (3, 42, 1024));
        assert_eq!((config.loss.info_nce(), config.sampler()), (InfoNce::default(), Sampler::default()));
        assert_eq!(
            (config.model.frames, config.model.area(784), config.model.max_length),
            (None, None, None),
            "frames, areas and lengths are the model's matter"
        );
    }

    #[test]
    fn what_is_not_given_is_as_the_recipe_says() {
        let uniform = "max_length = 99\nsampling = { uniform = { frames = 3 } }";
        for (given, recipe, expected) in [
            ("", uniform, (Some(3), Some(99))),
            ("frames = 2\nmax_length = 50", uniform, (Some(2), Some(50))),
            ("", "sampling = { fps = { fps = 1.0 } }", (None, Some(8192))),
        ] {
            let mut model: ModelSection = toml::from_str(&format!("path = \"m\"\n{given}")).unwrap();
            model.fill_in(&toml::from_str(recipe).unwrap());
            assert_eq!((model.frames, model.max_length), expected, "{given} with {recipe}");
        }
    }

    #[test]
    fn the_example_names_every_key() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/train.toml");
        let mut config = TrainConfig::load(&path).unwrap();
        config.full = Some(Default::default());
        assert!(config.data.pairs[0].path().starts_with(path.parent().unwrap()));
        let text = std::fs::read_to_string(&path).unwrap();
        let written = serde_json::to_value(&config).unwrap();
        for (key, value) in written.as_object().unwrap() {
            let commented = [format!("# {key} ="), format!("# [{key}]")];
            let named = find_key(&text, "", key).is_some() || commented.iter().any(|c| text.contains(c));
            assert!(named, "{key}");
            for name in value.as_object().into_iter().flat_map(|section| section.keys()) {
                let named = find_key(&text, key, name).is_some() || text.contains(&format!("# {name} ="));
                assert!(named, "{key}.{name}");
            }
        }
    }

    #[test]
    fn faults_name_their_line() {
        let cases = [
            ("lr = 1\n", "c.toml:6: unknown field `lr`"),
            ("lr = 1\n", "what others call so is `optimizer.learning_rate` here"),
            ("[loss]\ntau = 1\n", "c.toml:7: unknown field `tau`"),
            ("[batch]\nsize = \"many\"\n", "c.toml:7: `batch.size`: invalid type"),
            ("[batch]\n\nsize = 1\n", "c.toml:8: `batch.size` must be at least 2"),
            ("[batch\n", "c.toml:6: "),
            ("[optimizer]\nlearning_rate = -1.0\n", "c.toml:7: `optimizer.learning_rate` must be a positive"),
            ("[optimizer]\nlearning_rate = nan\n", "c.toml:7: `optimizer.learning_rate` must be a positive"),
            ("[optimizer]\nschedule = \"step\"\n", "c.toml:7: `optimizer.schedule`: unknown variant `step`"),
            (
                "[curriculum]\nsampler = \"uniform\"\nsigma_end = 2.0\n",
                "c.toml:8: `curriculum.sigma_end` has no effect",
            ),
            (
                "[curriculum]\nweights = { t2i = 0.0 }\n",
                "c.toml:7: `curriculum.weights` must all be positive",
            ),
            ("[curriculum]\nweights = { t2x = 1.0 }\n", "c.toml:7: "),
            ("[curriculum]\nfloor = 1.5\n", "c.toml:7: `curriculum.floor` must lie within 0 and 1"),
            (
                "[curriculum]\nsampler = \"uniform\"\nfloor = 0.5\n",
                "c.toml:8: `curriculum.floor` has no effect with",
            ),
            ("[negatives]\npool = 10\n", "c.toml:7: `negatives.pool` has no effect"),
            ("[evaluation]\nevery_steps = 1\n", "c.toml:6: `evaluation` has neither `pairs` nor `uvrb`"),
            (
                "[evaluation]\npairs = [\"p\"]\nuvrb_limit = 9\n",
                "c.toml:8: `evaluation.uvrb_limit` has no effect",
            ),
            ("[batch]\nsize = 1152921504606846976\n", "c.toml:7: `batch.size` must be at most 16777216"),
            ("[batch]\naccumulate = 9223372036854775807\n", "`batch.accumulate` must be at most 16777216"),
            ("[batch]\nsize = 18446744073709551616\n", "c.toml:7: "),
            ("[batch]\nsize = -1\n", "c.toml:7: `batch.size`: invalid value: integer `-1`"),
            ("[lora]\nr = 4294967296\n", "`lora.r` must be at most 65536"),
            ("[optimizer]\nclip_norm = inf\n", "`optimizer.clip_norm` must not be negative"),
            ("[lora]\ndropout = 1.0\n", "c.toml:7: `lora.dropout`"),
            ("[lora]\nr = 8\nlora_alpha = -1.0\n", "c.toml:8: `lora.alpha` must be a positive number"),
            ("[lora]\nlora_alpha = 1.0\nalpha = 2.0\n", "duplicate field `alpha`"),
            (
                "[lora]\ntarget_modules = \"q_proj\"\n",
                "c.toml:7: `lora.target_modules`: \"q_proj\" stands alone",
            ),
            ("[lora]\ntarget_modules = 3\n", "expected a list of names, or \"all-linear\""),
            (
                "[lora]\ntarget_modules = \"all-linear\"\nvision = true\n",
                "c.toml:8: `lora.vision` has no effect",
            ),
            ("[lora]\nmodules_to_save = [\"\"]\n", "c.toml:7: `lora.modules_to_save` has an empty name"),
            (
                "[lora]\nlayout = \"old\"\n",
                "c.toml:7: `lora.layout`: unknown variant `old`, expected `nested` or `flat`",
            ),
            ("[full]\nvision = true\n", "c.toml:6: `full` has no effect without `train = \"full\"`"),
        ];
        for (more, expected) in cases {
            let message = fault(&format!("{LEAST}{more}"));
            assert!(message.starts_with(expected) || message.contains(expected), "{more}: {message}");
            assert!(!message.contains('\n'), "{message}");
        }
        assert!(
            fault(&LEAST.replace("[model]", "train = \"full\"\n[lora]\nr = 4\n[model]"))
                .contains("c.toml:3: `lora`")
        );
        assert!(
            fault(&LEAST.replace("\"m\"", "\"m\"\ndtype = \"f16\""))
                .contains("c.toml:4: `model.dtype` must be auto")
        );
        assert!(
            fault(&LEAST.replace("\"m\"", "\"m\"\ndevice = \"gpu\"")).contains("c.toml:4: `model.device`")
        );
        let area = |keys: &str| fault(&LEAST.replace("\"m\"", &format!("\"m\"\n{keys}")));
        assert!(area("max_pixels = 0").contains("c.toml:4: `model.max_pixels` must be at least 1"));
        assert!(
            area("max_pixels = 9408\ntokens_per_frame = 9")
                .contains("c.toml:5: `model.tokens_per_frame` has no effect")
        );
        let counted = |line: &str| fault(&format!("{line}\n{LEAST}"));
        assert!(
            counted("epochs = 9223372036854775807")
                .starts_with("c.toml:1: `epochs` must be at most 16777216")
        );
        assert!(
            counted("steps_per_epoch = 4294967296").contains("`steps_per_epoch` must be at most 4294967295")
        );
        assert!(fault("").contains("missing field `output`"));
    }
}
