//! From a model reference to a directory with all the files of the model.
//!
//! A reference is a directory in Hugging Face layout, or the id of a model on the hub with a revision.
//! [`resolve`] tells the two apart ([`ModelReference`]), downloads what is missing into the standard cache
//! (shared with Python's `huggingface_hub`), and checks that nothing a model needs is absent before it
//! returns. A download that breaks off continues where it stopped, in this run and the next.
//!
//! [`resolve_data_set`] fetches files of data sets into the same cache. [`push`](fn@push) goes the other way, of models.
//!
//! Which files a model needs is decided in one place (`layout`) for directories, for the cache and for the
//! hub. Nothing here reads environment variables but the home directory's: `HF_HOME`, `HF_TOKEN`, `HTTPS_PROXY`
//! and the like are for the caller to map to [`HubOptions`].

mod cache;
mod client;
mod digest;
mod download;
mod error;
mod layout;
mod location;
mod names;
#[cfg(feature = "nano")]
mod nano;
mod push;
mod reference;
mod steady;
mod transport;

use std::fmt::{self, Debug, Formatter};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hf_hub::{Cache, Repo, RepoType};

use cache::ModelFolder;
use client::{Client, Kind};

use crate::cancel::CancelToken;
use crate::embedder::{Embedder, EmbedderBuilder};
use crate::http::{Proxies, redacted_url};
use crate::options::with_fields;
use crate::store::IoError;

pub use error::HubError;
#[cfg(feature = "nano")]
pub use nano::NANO;
pub use push::{PushFile, PushOptions, PushPlan, PushProgress, Pushed, plan_push, push};
pub use reference::ModelReference;

pub use crate::card::is_hub_id;

/// Where and how to look for models on the hub.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct HubOptions {
    /// Address of the hub; `None` is `https://huggingface.co`.
    pub endpoint: Option<String>,
    /// Directory of the cache; `None` is `~/.cache/huggingface/hub`.
    pub cache_dir: Option<PathBuf>,
    /// Access token for gated and private models; `None` uses the one `hf auth login` left in the file
    /// `token` beside the cache, if there is one.
    pub token: Option<String>,
    /// Use the cache alone and make no request.
    pub offline: bool,
    /// Branch, tag or commit; `None` is `main`. A folder has none, the built-in model one of its own.
    pub revision: Option<String>,
    /// Longest silence of the hub, before and within an answer; `None` is 30 seconds. A connection gets 10
    /// seconds at most; the answers to a commit, and to the last part of a large file, 120 at least.
    pub timeout: Option<Duration>,
    /// Through whom the hub and its storage are asked. HTTP proxies are asked to `CONNECT`.
    pub proxies: Proxies,
    /// Where the built-in model is unpacked; `None` is `~/.cache/gve`.
    pub nano_dir: Option<PathBuf>,
    /// Ends a download in order: [`HubError::Cancelled`]. What has arrived stays, and the next one goes on from
    /// there. It is heard between files and requests and as often as bytes arrive; while none do, once the request
    /// under way has been given up.
    pub cancel: CancelToken,
}

impl Debug for HubOptions {
    /// Without the token.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { endpoint, cache_dir, token, offline, revision, timeout, proxies, nano_dir, cancel } = self;
        f.debug_struct("HubOptions")
            .field("endpoint", &endpoint.as_deref().map(redacted_url))
            .field("cache_dir", cache_dir)
            .field("token", &token.as_ref().map(|_| "***"))
            .field("offline", offline)
            .field("revision", revision)
            .field("timeout", timeout)
            .field("proxies", proxies)
            .field("nano_dir", nano_dir)
            .field("cancel", cancel)
            .finish()
    }
}

with_fields!(HubOptions {
    with_endpoint(endpoint: Option<String>),
    with_cache_dir(cache_dir: Option<PathBuf>),
    with_token(token: Option<String>),
    with_offline(offline: bool),
    with_revision(revision: Option<String>),
    with_timeout(timeout: Option<Duration>),
    with_proxies(proxies: Proxies),
    with_nano_dir(nano_dir: Option<PathBuf>),
    with_cancel(cancel: CancelToken),
});

/// A model that is complete on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResolvedModel {
    /// Directory with `config.json`, the tokenizer and the weights.
    pub directory: PathBuf,
    /// The id on the hub, or the directory as an absolute path without links.
    pub id: String,
    /// Commit hash, or the built-in model's number; `None` for a directory.
    pub revision: Option<String>,
    /// What whoever uses it should be told, on one line: that the hub could not be asked whether the copy in
    /// the cache is still what the revision is, or that the cache was damaged.
    pub warning: Option<String>,
}

impl ResolvedModel {
    /// Settings for an embedder of this model, which has its id and revision from here.
    pub fn builder(&self) -> EmbedderBuilder {
        Embedder::builder(&self.directory).id(&self.id, self.revision.clone())
    }
}

/// What a download reports while it runs. One file after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DownloadProgress<'a> {
    /// File within the model.
    pub file: &'a str,
    /// Bytes of this file on disk so far, those of an earlier run included.
    pub done_bytes: u64,
    /// Bytes of this file.
    pub total_bytes: u64,
}

/// Finds the model `reference` names, downloading it if need be.
///
/// `nano` is the built-in model (feature `nano`); a directory of that name is `./nano`. An existing directory
/// is used as it is. Otherwise `reference` must be an id such as `Alibaba-NLP/GVE-3B`. A revision that is a
/// full commit hash and is complete in the cache needs no request; any other revision is looked up first;
/// where the hub cannot be reached, does not answer in time or has a fault of its own, a complete copy in the
/// cache is used instead, with a [`warning`](ResolvedModel::warning). `progress` is called often while files
/// arrive.
///
/// The access token goes to the hub's own address and nowhere else. A file whose ETag (`X-Linked-Etag` before
/// `ETag`) has the form of a SHA-256 or of the id of a git blob must have that digest. Other ETags, which
/// some mirrors have, announce nothing that could be checked but the length.
///
/// [`HubOptions::cancel`] ends it from another thread, or from `progress`.
///
/// # Errors
/// [`HubError`], each variant naming the model and, where a request failed, the address;
/// [`HubError::Cancelled`].
pub fn resolve(
    reference: &str,
    options: &HubOptions,
    progress: &mut dyn FnMut(DownloadProgress<'_>),
) -> Result<ResolvedModel, HubError> {
    match ModelReference::parse(reference)? {
        #[cfg(feature = "nano")]
        ModelReference::Nano => nano::unpack(options),
        ModelReference::Directory(directory) => {
            let missing = layout::missing_files(&directory)?;
            if !missing.is_empty() {
                return Err(HubError::IncompleteDirectory { directory, missing });
            }
            // Libraries name their model, and are opened from elsewhere.
            let directory = directory.canonicalize().unwrap_or(directory);
            let id = directory.display().to_string();
            Ok(ResolvedModel { id, directory, revision: None, warning: None })
        }
        ModelReference::HubId(id) => resolve_id(&id, options, progress),
    }
}

fn resolve_id(
    id: &str,
    options: &HubOptions,
    progress: &mut dyn FnMut(DownloadProgress<'_>),
) -> Result<ResolvedModel, HubError> {
    let revision = options.revision.as_deref().unwrap_or("main");
    if !names::is_revision(revision) {
        return Err(HubError::InvalidRevision { id: id.to_owned(), revision: revision.to_owned() });
    }
    let cache = open_cache(options)?;
    let repo = Repo::new(id.to_owned(), RepoType::Model);
    let folder = ModelFolder::new(cache.path().join(repo.folder_name()));
    let cached = cached_model(&folder, id, revision);
    if options.offline {
        let Some((model, missing)) = cached? else {
            return Err(HubError::NotCached {
                id: id.to_owned(),
                revision: revision.to_owned(),
                cache: cache.path().clone(),
            });
        };
        if missing.is_empty() {
            return Ok(model);
        }
        return Err(HubError::IncompleteDirectory { directory: model.directory, missing });
    }
    // The hub knows better what a revision is.
    let (cached, damaged) = match cached {
        Err(error @ HubError::DamagedRevision { .. }) => (None, Some(error)),
        cached => (cached?, None),
    };
    let copy = cached.filter(|(_, missing)| missing.is_empty()).map(|(model, _)| model);
    let copy = match copy {
        Some(model) if is_commit_hash(revision) => return Ok(model),
        copy => copy,
    };
    let token = options.token.clone().or_else(|| cache.token());
    let client =
        Client::new(&folder, options, token.as_deref(), (Kind::Model, id), revision, copy.is_some())?;
    match (client.look_up(), copy) {
        (Ok(snapshot), _) => {
            let model = client.fetch(&snapshot, progress)?;
            let warning = damaged.map(|error| format!("{error}; it was made anew"));
            Ok(ResolvedModel { warning, ..model })
        }
        (Err(HubError::Network { url, reason, .. }), Some(model)) => {
            let warning = format!(
                "cannot reach {url} for {id}: {reason}; the copy in the cache is used, {revision} as it was \
                 when last looked up"
            );
            Ok(ResolvedModel { warning: Some(warning), ..model })
        }
        (Err(error), _) => Err(error),
    }
}

/// A data set of the hub whose files are on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResolvedDataSet {
    /// Directory with the files.
    pub directory: PathBuf,
    /// Commit hash.
    pub revision: String,
    /// That the hub could not be asked whether the copy in the cache is still what the revision is, on one line.
    pub warning: Option<String>,
}

/// Downloads those files of the data set `id`, such as `sentence-transformers/all-nli`, that are `wanted`, as far as the
/// cache lacks them. Their names have folders, parted by `/`. Where the hub cannot be reached, or with
/// [`offline`](HubOptions::offline), what the cache has of the revision is used.
///
/// # Errors
/// [`HubError`], as [`resolve`]; [`HubError::NoData`] where no file is wanted.
pub fn resolve_data_set(
    id: &str,
    options: &HubOptions,
    wanted: &dyn Fn(&str) -> bool,
    progress: &mut dyn FnMut(DownloadProgress<'_>),
) -> Result<ResolvedDataSet, HubError> {
    let revision = options.revision.as_deref().unwrap_or("main");
    if !is_hub_id(id) {
        return Err(HubError::NotAReference { reference: id.to_owned() });
    }
    if !names::is_revision(revision) {
        return Err(HubError::InvalidRevision { id: id.to_owned(), revision: revision.to_owned() });
    }
    let cache = open_cache(options)?;
    let repo = Repo::new(id.to_owned(), RepoType::Dataset);
    let folder = ModelFolder::new(cache.path().join(repo.folder_name()));
    let commit =
        if is_commit_hash(revision) { Some(revision.to_owned()) } else { folder.revision(revision)? };
    let copy = commit.map(|commit| (folder.snapshot(&commit), commit)).filter(|(copy, _)| copy.is_dir());
    let copy = copy.map(|(directory, revision)| ResolvedDataSet { directory, revision, warning: None });
    if options.offline {
        return copy.ok_or_else(|| HubError::NotCached {
            id: id.to_owned(),
            revision: revision.to_owned(),
            cache: cache.path().clone(),
        });
    }
    let token = options.token.clone().or_else(|| cache.token());
    let client =
        Client::new(&folder, options, token.as_deref(), (Kind::DataSet, id), revision, copy.is_some())?;
    match (client.look_up(), copy) {
        (Ok(snapshot), _) => {
            let directory = client.fetch_wanted(&snapshot, wanted, progress)?;
            Ok(ResolvedDataSet { directory, revision: snapshot.commit, warning: None })
        }
        (Err(HubError::Network { url, reason, .. }), Some(copy)) => {
            let warning =
                format!("cannot reach {url} for {id}: {reason}; what the cache has of {revision} is used");
            Ok(ResolvedDataSet { warning: Some(warning), ..copy })
        }
        (Err(error), _) => Err(error),
    }
}

fn open_cache(options: &HubOptions) -> Result<Cache, HubError> {
    let path = match &options.cache_dir {
        // Links in the cache are relative, which needs absolute paths to start from.
        Some(path) => std::path::absolute(path).map_err(IoError::of("find", path))?,
        None => std::env::home_dir().ok_or(HubError::NoHome)?.join(".cache/huggingface/hub"),
    };
    Ok(Cache::new(path))
}

/// The snapshot the cache has for `revision`, and the files it lacks.
fn cached_model(
    folder: &ModelFolder,
    id: &str,
    revision: &str,
) -> Result<Option<(ResolvedModel, Vec<String>)>, HubError> {
    let commit =
        if is_commit_hash(revision) { Some(revision.to_owned()) } else { folder.revision(revision)? };
    let Some(commit) = commit else { return Ok(None) };
    let directory = folder.snapshot(&commit);
    if !directory.is_dir() {
        return Ok(None);
    }
    let missing = layout::missing_files(&directory)?;
    let model = ResolvedModel { directory, id: id.to_owned(), revision: Some(commit), warning: None };
    Ok(Some((model, missing)))
}

fn is_commit_hash(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Reads a small text file of a model.
fn read_text(path: &Path) -> Result<String, HubError> {
    Ok(std::fs::read_to_string(path).map_err(IoError::of("read", path))?)
}
