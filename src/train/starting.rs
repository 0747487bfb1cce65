//! What an adapter starts from, and whether the model has what its settings name.

use std::path::PathBuf;

use super::{Parameters, TrainError};
use crate::model::{LoraAdapter, LoraConfig, ModuleNames, module_name};

/// `lora` with what holds of the adapter that it starts from, if it names one; and that adapter.
pub(super) fn with_start(
    mut lora: LoraConfig,
) -> Result<(LoraConfig, Option<(PathBuf, LoraAdapter)>), TrainError> {
    let Some(init) = lora.init.clone() else { return Ok((lora, None)) };
    let adapter = LoraAdapter::read(&init)?;
    let settings = adapter.settings();
    if !settings.rank_pattern.is_empty() || !settings.alpha_pattern.is_empty() {
        let reason = format!(
            "{} has modules with ranks or an alpha of their own (rank_pattern, alpha_pattern), which are not trained \
             here: merge it into the model first",
            init.display()
        );
        return Err(wrong("init", reason));
    }
    (lora.r, lora.alpha) = (settings.r, settings.alpha);
    (lora.use_rslora, lora.use_dora) = (settings.use_rslora, settings.use_dora);
    // What its file says may be a pattern; its tensors tell.
    let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
    lora.target_modules = owned(adapter.module_names().collect());
    lora.modules_to_save = owned(adapter.saved_modules().into_iter().collect());
    lora.vision = false;
    Ok((lora, Some((init, adapter))))
}

/// Fails where something that the settings name is not among what is trained, in a model with these names.
pub(super) fn check(lora: &LoraConfig, trained: &Parameters, names: ModuleNames) -> Result<(), TrainError> {
    let tensors: Vec<&str> = trained.keys().map(|name| module_name(name)).collect();
    let adapted: Vec<&str> = tensors.iter().filter_map(|name| name.strip_suffix(".lora_A.weight")).collect();
    if let Some(unknown) = lora.missed_target(&adapted) {
        let expected = names.projections.join(", ");
        let reason = format!(
            "names {unknown}, expected some of {expected}, with `vision = true` a layer of the vision tower's, the whole \
             name of a linear layer, or all-linear"
        );
        return Err(wrong("target_modules", reason));
    }
    if lora.vision && !trained.keys().any(|name| names.is_vision(name)) {
        return Err(wrong("vision", "finds none of `target_modules` in the vision tower".to_owned()));
    }
    match lora.missed_module(&tensors) {
        Some(unknown) => {
            Err(wrong("modules_to_save", format!("names {unknown}, of which the model has no tensor")))
        }
        None => Ok(()),
    }
}

/// What is wrong with a setting of `[lora]`.
pub(super) fn wrong(setting: &str, reason: String) -> TrainError {
    TrainError::Config { place: format!("lora.{setting}"), reason }
}
