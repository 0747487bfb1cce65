use serde_json::json;

use super::*;
use crate::train::prober::tests::text_pairs;

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/tiny-a/model");

/// A run on three pairs in `folder`; `more` is about what is trained.
fn config(folder: &Path, more: &str) -> TrainConfig {
    text_pairs(
        folder,
        &[("a dog runs", "the dog"), ("a cat sleeps", "the cat"), ("a red street", "the street")],
    );
    let (output, pairs) = (folder.join("run"), folder.join("pairs.jsonl"));
    let text = format!(
        "output = {output:?}\n{more}\n[model]\npath = {MODEL:?}\ndevice = \"cpu\"\n[data]\npairs = [{pairs:?}]\n[batch]\nsize = 2\n"
    );
    toml::from_str(&text).unwrap()
}

fn trainer(config: &TrainConfig) -> Result<Trainer, TrainError> {
    Trainer::new(config.clone(), Path::new(MODEL), &Start::Fresh)
}

fn refusal(config: &TrainConfig) -> String {
    trainer(config).err().unwrap().to_string()
}

#[test]
fn settings_of_a_program_are_checked_as_those_of_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path(), "");
    config.batch.accumulate = 0;
    assert_eq!(refusal(&config), "batch.accumulate: must be at least 1");
    config.batch.accumulate = 1;
    config.loss.matryoshka_dims = vec![16, 65];
    assert_eq!(
        refusal(&config),
        "loss.matryoshka_dims: holds 65, but an embedding of this model has 64 values"
    );
    config.loss.matryoshka_dims = vec![16, 64];
    trainer(&config).unwrap();
}

#[cfg(unix)]
#[test]
fn a_path_that_is_no_text_is_refused() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path(), "");
    config.output = folder.path().join(std::ffi::OsStr::from_bytes(b"run\xff"));
    let message = refusal(&config);
    assert!(message.contains("UTF-8"), "{message}");
    assert!(!config.output.exists());
}

#[test]
fn the_steps_of_an_epoch_are_written_down() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path(), "");
    let steps = |config: &TrainConfig| trainer(config).unwrap().state.config["steps_per_epoch"].clone();
    assert_eq!(steps(&config), json!(2));
    config.steps_per_epoch = Some(7);
    assert_eq!(steps(&config), json!(7));
}

#[test]
fn the_first_prober_is_gone_once_an_epoch_has_begun() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path(), "");
    config.curriculum.prober = Some(MODEL.into());
    let mut trainer = trainer(&config).unwrap();
    assert!(trainer.first_prober.is_some());
    trainer.begin_epoch(&CancelToken::new(), &mut |_| {}).unwrap();
    assert!(trainer.first_prober.is_none() && trainer.state.curriculum.is_some());
}

/// The text that is embedded as a sample is as it was: only the norm tells.
#[test]
fn a_ruined_vision_tower_is_not_saved() {
    let folder = tempfile::tempdir().unwrap();
    let mut trainer = trainer(&config(folder.path(), "train = \"full\"\n[full]\nvision = true")).unwrap();
    let visual =
        trainer.model.parameters().iter().find(|(name, _)| name.contains("visual")).unwrap().1.clone();
    let good = visual.copy().unwrap();
    let save = |trainer: &mut Trainer| {
        let query = trainer.model.prepare(&Input::text("a dog runs")).unwrap();
        let mut watch = |_: TrainEvent<'_>| {};
        let mut evaluated_at = Instant::now();
        let mut progress = trainer.progress(&mut evaluated_at, &mut watch);
        progress.sample = Some((query, "a batch".to_owned()));
        progress.save()
    };
    visual.set(&(&good * f64::NAN).unwrap()).unwrap();
    let message = save(&mut trainer).unwrap_err().to_string();
    assert!(message.contains("a batch: the norm of the trained weights after it is NaN"), "{message}");
    visual.set(&good).unwrap();
    assert!(save(&mut trainer).unwrap().ends_with("step-00000000"));
}
