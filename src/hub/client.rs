//! Downloading a model into the cache.
//!
//! `hf-hub` speaks to the hub and keeps the cache. It appends to a partial file with a range request, but its
//! own retry takes the wrong position after a failure before the first byte, it gives up for good on a
//! partial file that is already whole, and it trusts whatever length arrives. So each attempt here is one call
//! without retries, after looking at the partial file, and the length is checked afterwards.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hf_hub::api::Progress;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo, Metadata};
use hf_hub::{Cache, Repo, RepoType};

use super::layout::{self, WEIGHTS_INDEX};
use super::{DownloadProgress, HubError, HubOptions, ResolvedModel};

const DEFAULT_ENDPOINT: &str = "https://huggingface.co";
/// Attempts in a row that may bring nothing new before a download is given up.
const MAX_IDLE_ATTEMPTS: u32 = 5;
/// Wait before the second attempt; doubles with each that brings nothing new.
const FIRST_WAIT: Duration = Duration::from_millis(200);

pub(super) struct Client {
    api: Api,
    cache: Cache,
    endpoint: String,
    id: String,
    revision: String,
    has_token: bool,
}

impl Client {
    pub(super) fn new(
        cache: Cache,
        options: &HubOptions,
        id: &str,
        revision: &str,
    ) -> Result<Self, HubError> {
        let endpoint =
            options.endpoint.as_deref().unwrap_or(DEFAULT_ENDPOINT).trim_end_matches('/').to_owned();
        let token = options.token.clone().or_else(|| cache.token());
        let has_token = token.is_some();
        let api = ApiBuilder::from_cache(cache.clone())
            .with_endpoint(endpoint.clone())
            .with_token(token)
            .with_retries(0)
            .with_progress(false)
            .with_user_agent("gve", env!("CARGO_PKG_VERSION"))
            .build();
        let client = |api| Self {
            api,
            cache,
            endpoint: endpoint.clone(),
            id: id.to_owned(),
            revision: revision.to_owned(),
            has_token,
        };
        match api {
            Ok(api) => Ok(client(api)),
            Err(e) => Err(HubError::Response { id: id.to_owned(), url: endpoint, reason: e.to_string() }),
        }
    }

    /// Fetches all files of the model that the cache lacks.
    pub(super) fn fetch(
        &self,
        progress: &mut dyn FnMut(DownloadProgress<'_>),
    ) -> Result<ResolvedModel, HubError> {
        let named = self.repo(&self.revision);
        let info_url = format!("{}/api/{}", self.endpoint, named.api_url());
        let info = match self.api.repo(named.clone()).info() {
            Err(error) if status(&error) == Some(404) => return Err(self.not_found(info_url)),
            result => result.map_err(|e| self.error(&e, &info_url))?,
        };
        let commit = info.sha;
        let files =
            layout::files_to_fetch(|file| info.siblings.iter().any(|s| s.rfilename == file)).map_err(
                |missing| HubError::NotACheckpoint { id: self.id.clone(), revision: commit.clone(), missing },
            )?;
        // All files by commit: the branch may move while they are fetched.
        let repo = self.repo(&commit);
        let directory = self.cache.repo(repo.clone()).pointer_path(&commit);
        let api_repo = self.api.repo(repo);
        for file in files {
            self.fetch_file(&api_repo, &directory, file, progress)?;
            if file == WEIGHTS_INDEX {
                for shard in layout::shards(&directory.join(WEIGHTS_INDEX))? {
                    self.fetch_file(&api_repo, &directory, &shard, progress)?;
                }
            }
        }
        // Last, so that a branch in the cache always points to a whole snapshot.
        self.cache.repo(named).create_ref(&commit).map_err(|source| self.disk(source))?;
        Ok(ResolvedModel { directory, id: self.id.clone(), revision: Some(commit) })
    }

    fn repo(&self, revision: &str) -> Repo {
        Repo::with_revision(self.id.clone(), RepoType::Model, revision.to_owned())
    }

    fn fetch_file(
        &self,
        repo: &ApiRepo,
        directory: &Path,
        file: &str,
        progress: &mut dyn FnMut(DownloadProgress<'_>),
    ) -> Result<(), HubError> {
        if directory.join(file).is_file() {
            return Ok(());
        }
        let url = repo.url(file);
        let (mut idle, mut wait, mut last_bytes) = (0, FIRST_WAIT, 0);
        loop {
            let attempt = self.attempt(repo, directory, file, &url, progress);
            let Err(Failure { error, partial_bytes }) = attempt else {
                return Ok(());
            };
            if partial_bytes > last_bytes {
                (idle, wait) = (0, FIRST_WAIT);
            }
            idle += 1;
            last_bytes = partial_bytes;
            if idle >= MAX_IDLE_ATTEMPTS || !matches!(error, HubError::Network { .. }) {
                return Err(error);
            }
            std::thread::sleep(wait);
            wait *= 2;
        }
    }

    fn attempt(
        &self,
        repo: &ApiRepo,
        directory: &Path,
        file: &str,
        url: &str,
        progress: &mut dyn FnMut(DownloadProgress<'_>),
    ) -> Result<(), Failure> {
        let metadata =
            self.api.metadata(url).map_err(|e| Failure { error: self.error(&e, url), partial_bytes: 0 })?;
        let blob = self.cache.repo(self.repo(&self.revision)).blob_path(metadata.etag());
        let partial = blob.with_extension("part");
        let fail = |error| Failure { error, partial_bytes: fs::metadata(&partial).map_or(0, |m| m.len()) };
        adopt_whole_partial(&partial, &blob, &metadata)
            .map_err(|source| fail(HubError::Io { path: partial.clone(), source }))?;
        if blob.is_file() {
            // Downloaded for another revision, or just adopted: only the link is missing.
            return link(&blob, &directory.join(file))
                .map_err(|source| fail(HubError::Io { path: directory.join(file), source }));
        }
        let reporter = Reporter {
            file: file.to_owned(),
            done_bytes: 0,
            total_bytes: metadata.size() as u64,
            report: progress,
        };
        match repo.download_with_progress(file, reporter) {
            Ok(path) => self.check_length(&path, &blob, &metadata, url).map_err(fail),
            Err(ApiError::LockAcquisition(_)) => {
                Err(fail(HubError::Locked { id: self.id.clone(), file: file.to_owned() }))
            }
            Err(e) => Err(fail(self.error(&e, url))),
        }
    }

    /// A server that ignores range requests makes the file too long; a connection closed early, too short.
    fn check_length(&self, path: &Path, blob: &Path, metadata: &Metadata, url: &str) -> Result<(), HubError> {
        let length =
            fs::metadata(path).map_err(|source| HubError::Io { path: path.to_owned(), source })?.len();
        if length == metadata.size() as u64 {
            return Ok(());
        }
        let removed = fs::remove_file(path).and_then(|()| fs::remove_file(blob));
        removed.map_err(|source| HubError::Io { path: path.to_owned(), source })?;
        let reason = format!("{length} bytes arrived, expected {}", metadata.size());
        Err(HubError::Network { id: self.id.clone(), url: url.to_owned(), reason })
    }

    /// The hub answers 404 for a model and for a revision that does not exist; asking for the model tells which.
    fn not_found(&self, url: String) -> HubError {
        let id = self.id.clone();
        if self.revision != "main" && self.api.repo(self.repo("main")).info().is_ok() {
            return HubError::NoSuchRevision { id, revision: self.revision.clone(), url };
        }
        HubError::NoSuchModel { id, url }
    }

    fn disk(&self, source: std::io::Error) -> HubError {
        HubError::Io { path: self.cache.path().clone(), source }
    }

    fn error(&self, error: &ApiError, url: &str) -> HubError {
        let (id, url) = (self.id.clone(), url.to_owned());
        let reason = error.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        match error {
            ApiError::RequestError(request) => match request.as_ref() {
                ureq::Error::StatusCode(status @ (401 | 403)) => {
                    HubError::AccessDenied { id, url, status: *status, has_token: self.has_token }
                }
                // Too many requests and errors of the server pass; other answers stay what they are.
                ureq::Error::StatusCode(status) if *status != 429 && *status < 500 => {
                    HubError::Response { id, url, reason: format!("status {status}") }
                }
                ureq::Error::Json(_)
                | ureq::Error::BadUri(_)
                | ureq::Error::TooManyRedirects
                | ureq::Error::RequireHttpsOnly(_) => HubError::Response { id, url, reason },
                _ => HubError::Network { id, url, reason },
            },
            // A broken connection in the middle of a body arrives as an I/O error, as does a full disk.
            ApiError::IoError(e) if is_of_disk(e) => self.disk(std::io::Error::new(e.kind(), e.to_string())),
            ApiError::IoError(_) => HubError::Network { id, url, reason },
            _ => HubError::Response { id, url, reason },
        }
    }
}

struct Failure {
    error: HubError,
    /// What is on disk of the file, to tell progress from standstill.
    partial_bytes: u64,
}

fn status(error: &ApiError) -> Option<u16> {
    match error {
        ApiError::RequestError(request) => match request.as_ref() {
            ureq::Error::StatusCode(status) => Some(*status),
            _ => None,
        },
        _ => None,
    }
}

fn is_of_disk(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{
        NotADirectory, NotFound, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull,
    };
    matches!(
        error.kind(),
        StorageFull | QuotaExceeded | PermissionDenied | ReadOnlyFilesystem | NotFound | NotADirectory
    )
}

/// A run killed between the last byte and the renaming leaves a partial file that is whole, for which a range
/// request would start past the end. One longer than the file is of no use.
fn adopt_whole_partial(partial: &Path, blob: &Path, metadata: &Metadata) -> std::io::Result<()> {
    let length = match fs::metadata(partial) {
        Ok(found) => found.len(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    match length.cmp(&(metadata.size() as u64)) {
        std::cmp::Ordering::Less => Ok(()),
        std::cmp::Ordering::Equal => fs::rename(partial, blob),
        std::cmp::Ordering::Greater => fs::remove_file(partial),
    }
}

/// Makes `link` name the contents of `blob`, as the cache does: by a relative link, or a copy where the system has none.
fn link(blob: &Path, link: &Path) -> std::io::Result<()> {
    if let Some(parent) = link.parent() {
        fs::create_dir_all(parent)?;
    }
    // From snapshots/<commit>/<file> to blobs/<etag>; file names hold no directories (see `layout`).
    #[cfg(unix)]
    {
        let name = blob.file_name().unwrap_or_default();
        std::os::unix::fs::symlink(PathBuf::from("../../blobs").join(name), link)
    }
    #[cfg(not(unix))]
    {
        fs::copy(blob, link).map(|_| ())
    }
}

/// Hands the progress of one file on.
struct Reporter<'a> {
    file: String,
    done_bytes: u64,
    total_bytes: u64,
    report: &'a mut dyn FnMut(DownloadProgress<'_>),
}

impl Progress for Reporter<'_> {
    fn init(&mut self, _size: usize, _file: &str) {
        // Called twice by the client; what is on disk is then given as the first update.
        self.done_bytes = 0;
    }

    fn update(&mut self, bytes: usize) {
        self.done_bytes += bytes as u64;
        (self.report)(DownloadProgress {
            file: &self.file,
            done_bytes: self.done_bytes,
            total_bytes: self.total_bytes,
        });
    }

    fn finish(&mut self) {}
}
