//! What other trainers call the settings: transformers, sentence-transformers, PEFT, ms-swift and more.

/// What a key of another trainer is here, or how it is said.
const OURS: &[(&str, &str)] = &[
    ("adam_beta1", "`optimizer.betas`, which holds both"),
    ("adam_beta2", "`optimizer.betas`, which holds both"),
    ("adam_epsilon", "`optimizer.eps`"),
    ("alpha_pattern", "no setting, as all modules have one `lora.alpha`"),
    ("base_model", "`model.path`"),
    ("batch_size", "`batch.size`"),
    ("bf16", "`model.dtype = \"bf16\"`"),
    ("bias", "no setting, as the biases of adapted layers stay as they are"),
    ("cutoff_len", "`model.max_length`"),
    ("data_seed", "`seed`"),
    ("dataloader_num_workers", "no setting, as batches are prepared on all cores"),
    ("dataset", "`data.pairs`"),
    ("dataset_name", "`data.pairs`"),
    ("deepspeed", "no setting, as a run has one device"),
    ("device_map", "`model.device`"),
    ("dora", "`lora.use_dora`"),
    ("early_stopping_patience", "`evaluation.patience`"),
    ("early_stopping_threshold", "`evaluation.min_gain`"),
    ("eval_batch_size", "no setting, as held-out pairs are embedded a few at a time"),
    ("eval_dataset", "`evaluation.pairs`"),
    ("eval_on_start", "`evaluation.at_start`"),
    ("eval_steps", "`evaluation.every_steps`"),
    ("eval_strategy", "`evaluation.every_steps`, a number of steps"),
    ("evaluation_strategy", "`evaluation.every_steps`, a number of steps"),
    ("finetuning_type", "`train`"),
    ("fp16", "`model.dtype`, and bf16, for f16 overflows in training"),
    ("freeze_aligner", "`lora.modules_to_save`, which trains it where it names \"merger\""),
    ("freeze_llm", "`lora.target_modules`, which may be layers of the vision tower alone"),
    ("freeze_vit", "`lora.vision`, or `full.vision` with `train = \"full\"`, both false by default"),
    ("fsdp", "no setting, as a run has one device"),
    ("gc_p_chunk_size", "`batch.chunk_tokens`, in tokens"),
    ("gc_q_chunk_size", "`batch.chunk_tokens`, in tokens"),
    ("grad_cache", "`batch.chunk_tokens`, which always holds"),
    ("gradient_accumulation_steps", "`batch.accumulate`"),
    ("gradient_checkpointing", "`batch.gradient_checkpointing`"),
    ("gradient_checkpointing_kwargs", "`batch.gradient_checkpointing`"),
    ("greater_is_better", "no setting, as a higher score is always better"),
    ("hub_model_id", "an argument of `gve model push`"),
    ("init_lora_weights", "`lora.init`, an adapter to start from"),
    ("layers_to_transform", "`lora.target_modules`, by whole names"),
    ("learning_rate", "`optimizer.learning_rate`"),
    ("load_best_model_at_end", "the folder `best/`, which is always kept with `[evaluation]`"),
    ("load_in_4bit", "`model.dtype`, whose smallest is int8, on the CPU"),
    ("load_in_8bit", "`model.dtype = \"int8\"`, on the CPU"),
    ("logging_dir", "`output`, whose folder has the logs"),
    ("logging_steps", "no setting, as every step is logged"),
    ("logging_strategy", "no setting, as every step is logged"),
    ("lora_alpha", "`lora.alpha`"),
    ("lora_bias", "no setting, as adapters have no biases"),
    ("lora_dropout", "`lora.dropout`"),
    ("lora_modules_to_save", "`lora.modules_to_save`"),
    ("lora_r", "`lora.r`"),
    ("lora_rank", "`lora.r`"),
    ("lora_target", "`lora.target_modules`"),
    ("lora_target_modules", "`lora.target_modules`"),
    ("lr", "`optimizer.learning_rate`"),
    ("lr_scheduler_type", "`optimizer.schedule`"),
    ("matryoshka_dims", "`loss.matryoshka_dims`"),
    ("max_grad_norm", "`optimizer.clip_norm`"),
    ("max_len", "`model.max_length`"),
    ("max_length", "`model.max_length`"),
    ("max_pixels", "`model.max_pixels`"),
    ("max_seq_length", "`model.max_length`"),
    ("max_steps", "`steps_per_epoch`, with `epochs = 1`"),
    ("metric_for_best_model", "`evaluation.metric`"),
    ("mini_batch_size", "`batch.chunk_tokens`, which bounds the memory of gradients in tokens"),
    ("model_id", "`model.path`"),
    ("model_id_or_path", "`model.path`"),
    ("model_max_length", "`model.max_length`"),
    ("model_name", "`model.path`"),
    ("model_name_or_path", "`model.path`"),
    ("model_revision", "`model.revision`"),
    ("modules_to_save", "`lora.modules_to_save`"),
    ("multi_dataset_batch_sampler", "`curriculum.sampler`"),
    ("nframes", "`model.frames`"),
    ("no_cuda", "`model.device = \"cpu\"`"),
    ("normalize_embeddings", "no setting, as embeddings always have length 1"),
    ("num_epochs", "`epochs`"),
    ("num_frames", "`model.frames`"),
    ("num_train_epochs", "`epochs`"),
    ("num_workers", "no setting, as batches are prepared on all cores"),
    ("optim", "`optimizer.kind`"),
    ("output_dir", "`output`"),
    ("overwrite_output_dir", "no setting, as no run is written over"),
    ("passage_max_len", "`model.max_length`"),
    ("per_device_eval_batch_size", "no setting, as held-out pairs are embedded a few at a time"),
    ("per_device_train_batch_size", "`batch.size`"),
    ("pooling_method", "`model.recipe`, which says how embeddings are pooled"),
    ("prompts", "the `instruction` of the pairs"),
    ("push_to_hub", "the command `gve model push`"),
    ("quantization_bit", "`model.dtype = \"int8\"`, on the CPU"),
    ("query_instruction_for_retrieval", "the `instruction` of the pairs"),
    ("query_max_len", "`model.max_length`"),
    ("rank", "`lora.r`"),
    ("rank_pattern", "no setting, as all modules have one `lora.r`"),
    ("report_to", "`log.tensorboard`"),
    ("resume_from_checkpoint", "the option `--resume`"),
    ("rslora", "`lora.use_rslora`"),
    ("save_steps", "`checkpoint.every_steps`"),
    ("save_strategy", "`checkpoint.every_steps`, besides the end of each epoch"),
    ("save_total_limit", "`checkpoint.keep`"),
    ("scale", "`loss.temperature`, which is 1 / scale"),
    ("sft_type", "`train`"),
    ("target_modules", "`lora.target_modules`"),
    ("task_type", "`loss.kind`, which says embedder or reranker"),
    ("tau", "`loss.temperature`"),
    ("temperature", "`loss.temperature`"),
    ("torch_dtype", "`model.dtype`"),
    ("train_batch_size", "`batch.size`"),
    ("train_data", "`data.pairs`"),
    ("train_dataset", "`data.pairs`"),
    ("train_file", "`data.pairs`"),
    ("train_files", "`data.pairs`"),
    ("train_group_size", "no setting, as all negatives of a pair are taken"),
    ("train_type", "`train`"),
    ("tuner_type", "`train`"),
    ("use_cpu", "`model.device = \"cpu\"`"),
    ("use_dora", "`lora.use_dora`"),
    ("use_lora", "`train = \"lora\"`, the default"),
    ("use_peft", "`train = \"lora\"`, the default"),
    ("use_rslora", "`lora.use_rslora`"),
    ("val_dataset", "`evaluation.pairs`"),
    ("validation_file", "`evaluation.pairs`"),
    ("warmup_ratio", "`optimizer.warmup_steps`, a number of steps"),
    ("warmup_steps", "`optimizer.warmup_steps`"),
    ("weight_decay", "`optimizer.weight_decay`"),
];

/// Keys that belong to no section.
const OF_NO_SECTION: [&str; 5] = ["epochs", "output", "seed", "steps_per_epoch", "train"];

/// What to do about a key that is unknown where it stands.
pub(super) fn hint(message: &str) -> Option<String> {
    let name = message.strip_prefix("unknown field `")?.split('`').next()?;
    // To TOML, a key below the heading of a section is one of that section.
    if OF_NO_SECTION.contains(&name) {
        return Some(format!("`{name}` goes above the first `[section]`"));
    }
    let (_, ours) = OURS.iter().find(|(theirs, _)| *theirs == name)?;
    Some(format!("what others call so is {ours} here"))
}

/// Names of others that are taken where ours are, as `TrainConfig` has them.
const TAKEN: [(&str, &str); 5] = [
    ("dora", "use_dora"),
    ("lora_alpha", "alpha"),
    ("lora_dropout", "dropout"),
    ("lora_r", "r"),
    ("rslora", "use_rslora"),
];

/// Whether a key that is written so is `ours`.
pub(super) fn means(written: &str, ours: &str) -> bool {
    written == ours || TAKEN.contains(&(written, ours))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_others_are_known_and_others_are_not() {
        let of = |name: &str| hint(&format!("unknown field `{name}`, expected one of `r`"));
        for (theirs, ours) in [
            ("num_train_epochs", "`epochs`"),
            ("per_device_train_batch_size", "`batch.size`"),
            ("warmup_ratio", "`optimizer.warmup_steps`, a number of steps"),
            ("eval_strategy", "`evaluation.every_steps`, a number of steps"),
            ("logging_steps", "no setting, as every step is logged"),
            ("lora_alpha", "`lora.alpha`"),
            ("lora_rank", "`lora.r`"),
            ("rank_pattern", "no setting, as all modules have one `lora.r`"),
        ] {
            assert_eq!(of(theirs), Some(format!("what others call so is {ours} here")), "{theirs}");
        }
        assert_eq!(of("nonsense"), None);
        assert_eq!(hint("invalid type: string"), None);
        assert!(OURS.is_sorted_by(|one, next| one.0 < next.0));
    }

    #[test]
    fn a_key_of_no_section_is_told_its_place() {
        for key in OF_NO_SECTION {
            let text = format!("output = \"o\"\n[model]\npath = \"m\"\n[data]\npairs = [\"p\"]\n{key} = 1\n");
            let error = toml::from_str::<super::super::TrainConfig>(&text).unwrap_err();
            assert_eq!(hint(error.message()), Some(format!("`{key}` goes above the first `[section]`")));
            let alone = format!("{key} = \"x\"\n");
            let error = toml::from_str::<super::super::TrainConfig>(&alone).unwrap_err();
            assert_eq!(hint(error.message()), None, "{key} is a key where no section has begun");
        }
    }

    /// Each setting that is named is one.
    #[test]
    fn ours_are_settings() {
        let least =
            "output = \"o\"\nlora = {}\nevaluation = {}\n[model]\npath = \"m\"\n[data]\npairs = [\"p\"]\n";
        let config: super::super::TrainConfig = toml::from_str(least).unwrap();
        let written = serde_json::to_value(config).unwrap();
        for (theirs, ours) in OURS.iter().filter(|(_, ours)| ours.starts_with('`')) {
            let name = ours.split(['`', ' ']).nth(1).unwrap();
            let place = format!("/{}", name.replace('.', "/"));
            assert!(written.pointer(&place).is_some(), "{theirs}: {ours}");
        }
    }
}
