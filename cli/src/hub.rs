//! The environment's hub settings; the library itself reads no environment.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use gve::hub::{HubOptions, ResolvedModel, is_hub_id};
use gve::import::{HUB_DATA_SETS, is_data};

use crate::interrupt::token;
use crate::output::{byte_bar, show, warn};
use crate::proxies;

/// Finds or downloads a model, drawing a bar per file.
///
/// # Errors
/// As [`gve::hub::resolve`].
pub fn resolve(model: &str, revision: Option<&str>, quiet: bool) -> Result<ResolvedModel> {
    let options = from_environment().with_revision(revision.map(str::to_owned)).with_cancel(token());
    let bar = byte_bar(0, quiet);
    let resolved = gve::hub::resolve(model, &options, &mut |progress| {
        bar.set_length(progress.total_bytes);
        bar.set_position(progress.done_bytes);
        show(&bar, progress.file);
    });
    bar.finish_and_clear();
    let resolved = resolved?;
    if let Some(warning) = &resolved.warning {
        warn(warning);
    }
    Ok(resolved)
}

/// The files that `path` names: those of a data set on the hub, `hf://datasets/owner/name`, with `@revision` behind it, or
/// the id alone where nothing of that name is here, once they are on this machine; or `path` itself.
///
/// # Errors
/// As [`gve::hub::resolve_data_set`].
pub fn data_set(path: &Path, revision: Option<&str>, split: Option<&str>, quiet: bool) -> Result<PathBuf> {
    let text = path.to_str().unwrap_or_default();
    let named = text.strip_prefix(HUB_DATA_SETS);
    let id = named.or_else(|| Some(text).filter(|id| is_hub_id(id) && !is_data(id, None) && !path.exists()));
    let Some(id) = id else { return Ok(path.to_owned()) };
    let (id, revision) = id.split_once('@').map_or((id, revision), |(id, revision)| (id, Some(revision)));
    let options = from_environment().with_revision(revision.map(str::to_owned)).with_cancel(token());
    let bar = byte_bar(0, quiet);
    let resolved = gve::hub::resolve_data_set(id, &options, &|name| is_data(name, split), &mut |progress| {
        bar.set_length(progress.total_bytes);
        bar.set_position(progress.done_bytes);
        show(&bar, progress.file);
    });
    bar.finish_and_clear();
    let resolved = resolved?;
    if let Some(warning) = &resolved.warning {
        warn(warning);
    }
    Ok(resolved.directory)
}

/// The variables that `huggingface_hub` knows, with its meaning, and where a user's caches are.
pub fn from_environment() -> HubOptions {
    let text = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    let is_on = |value: String| matches!(value.to_ascii_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE");
    let timeout = text("HF_HUB_DOWNLOAD_TIMEOUT")
        .and_then(|seconds| Duration::try_from_secs_f64(seconds.trim().parse().ok()?).ok())
        .filter(|timeout| !timeout.is_zero());
    let in_caches = || Some(PathBuf::from(text("XDG_CACHE_HOME")?).join("huggingface"));
    let home = text("HF_HOME").map(PathBuf::from).or_else(in_caches);
    HubOptions::default()
        .with_endpoint(text("HF_ENDPOINT"))
        .with_nano_dir(text("XDG_CACHE_HOME").map(|cache| PathBuf::from(cache).join("gve")))
        .with_cache_dir(home.map(|home| home.join("hub")))
        .with_token(text("HF_TOKEN").map(|token| token.trim().to_owned()).filter(|token| !token.is_empty()))
        .with_offline(text("HF_HUB_OFFLINE").is_some_and(is_on))
        .with_timeout(timeout)
        .with_proxies(proxies::from_environment())
}
