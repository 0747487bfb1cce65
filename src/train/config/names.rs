//! What other trainers call the settings: those of transformers, sentence-transformers and PEFT.

/// What a key of another trainer is here, or how it is said.
const OURS: [(&str, &str); 53] = [
    ("adam_beta1", "`optimizer.betas`, which holds both"),
    ("adam_beta2", "`optimizer.betas`, which holds both"),
    ("adam_epsilon", "`optimizer.eps`"),
    ("batch_size", "`batch.size`"),
    ("bf16", "`model.dtype = \"bf16\"`"),
    ("dataset", "`data.pairs`"),
    ("dora", "`lora.use_dora`"),
    ("early_stopping_patience", "`evaluation.patience`"),
    ("early_stopping_threshold", "`evaluation.min_gain`"),
    ("eval_on_start", "`evaluation.at_start`"),
    ("eval_steps", "`evaluation.every_steps`"),
    ("fp16", "`model.dtype`, and bf16, for f16 overflows in training"),
    ("gradient_accumulation_steps", "`batch.accumulate`"),
    ("gradient_checkpointing", "`batch.gradient_checkpointing`"),
    ("init_lora_weights", "`lora.init`, an adapter to start from"),
    ("learning_rate", "`optimizer.learning_rate`"),
    ("load_best_model_at_end", "the folder `best/`, which is always kept with `[evaluation]`"),
    ("lora_alpha", "`lora.alpha`"),
    ("lora_dropout", "`lora.dropout`"),
    ("lora_r", "`lora.r`"),
    ("lr", "`optimizer.learning_rate`"),
    ("lr_scheduler_type", "`optimizer.schedule`"),
    ("matryoshka_dims", "`loss.matryoshka_dims`"),
    ("max_grad_norm", "`optimizer.clip_norm`"),
    ("max_length", "`model.max_length`"),
    ("max_pixels", "`model.max_pixels`"),
    ("max_seq_length", "`model.max_length`"),
    ("max_steps", "`steps_per_epoch`, with `epochs = 1`"),
    ("metric_for_best_model", "`evaluation.metric`"),
    ("mini_batch_size", "`batch.chunk_tokens`, which bounds the memory of gradients in tokens"),
    ("model_name_or_path", "`model.path`"),
    ("modules_to_save", "`lora.modules_to_save`"),
    ("num_epochs", "`epochs`"),
    ("num_train_epochs", "`epochs`"),
    ("optim", "`optimizer.kind`"),
    ("output_dir", "`output`"),
    ("per_device_train_batch_size", "`batch.size`"),
    ("rank", "`lora.r`"),
    ("report_to", "`log.tensorboard`"),
    ("rslora", "`lora.use_rslora`"),
    ("save_steps", "`checkpoint.every_steps`"),
    ("save_total_limit", "`checkpoint.keep`"),
    ("target_modules", "`lora.target_modules`"),
    ("tau", "`loss.temperature`"),
    ("temperature", "`loss.temperature`"),
    ("torch_dtype", "`model.dtype`"),
    ("train_batch_size", "`batch.size`"),
    ("train_files", "`data.pairs`"),
    ("use_dora", "`lora.use_dora`"),
    ("use_rslora", "`lora.use_rslora`"),
    ("warmup_ratio", "`optimizer.warmup_steps`, a number of steps"),
    ("warmup_steps", "`optimizer.warmup_steps`"),
    ("weight_decay", "`optimizer.weight_decay`"),
];

/// What to write instead of a key that is unknown where it stands.
pub(super) fn here(message: &str) -> Option<&'static str> {
    let name = message.strip_prefix("unknown field `")?.split('`').next()?;
    OURS.iter().find(|(theirs, _)| *theirs == name).map(|(_, ours)| *ours)
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
        assert_eq!(here("unknown field `lora_alpha`, expected one of `r`"), Some("`lora.alpha`"));
        assert_eq!(here("unknown field `nonsense`, expected one of `r`"), None);
        assert_eq!(here("invalid type: string"), None);
        assert!(OURS.is_sorted());
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
