//! Downloading a model into the cache: what the hub has, which files are missing, and how often to try.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::cache::ModelFolder;
use super::download::Download;
use super::layout::{self, WEIGHTS_INDEX};
use super::names::percent_encoded;
use super::transport::{Failure, Transport};
use super::{DownloadProgress, HubError, HubOptions, ResolvedModel, is_commit_hash};
use crate::cancel::CancelToken;
use crate::http::RetrySettings;
use crate::store::is_file_name;

/// Attempts in a row that may bring nothing new, after the first.
pub(super) const RETRY: RetrySettings =
    RetrySettings { retries: 4, first_delay: Duration::from_millis(200), max_delay: Duration::from_secs(10) };
/// Fewer new bytes than this are nothing new: a connection that breaks after each is not worth another for
/// each.
const MIN_PROGRESS: u64 = 4096;
/// After so long it is seen that a wait is cancelled.
const LONGEST_SLEEP: Duration = Duration::from_millis(50);
/// A server that wants us to wait longer is left alone.
const MAX_WAIT: Duration = Duration::from_secs(60);

pub(super) struct Client<'a> {
    transport: Transport,
    folder: &'a ModelFolder,
    kind: Kind,
    id: &'a str,
    revision: &'a str,
    has_copy: bool,
    cancel: CancelToken,
}

/// What a repository holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Model,
    DataSet,
}

impl Kind {
    /// What it is called in addresses of the hub's interface.
    fn name(self) -> &'static str {
        match self {
            Self::Model => "models",
            Self::DataSet => "datasets",
        }
    }

    /// What its files' addresses begin with.
    fn prefix(self) -> &'static str {
        match self {
            Self::Model => "",
            Self::DataSet => "datasets/",
        }
    }
}

/// What a revision is at the moment.
pub(super) struct Snapshot {
    pub(super) commit: String,
    files: Vec<String>,
}

/// What the hub says of a repository, as far as it matters.
#[derive(Deserialize)]
struct RepoInfo {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

/// A failure, and whether something new was brought nevertheless.
pub(super) struct Setback {
    failure: Failure,
    progressed: bool,
}

impl From<HubError> for Setback {
    fn from(error: HubError) -> Self {
        Failure::from(error).into()
    }
}

impl From<Failure> for Setback {
    fn from(failure: Failure) -> Self {
        Self { failure, progressed: false }
    }
}

impl<'a> Client<'a> {
    /// `has_copy`: whether the cache has a whole copy, perhaps of an earlier commit.
    pub(super) fn new(
        folder: &'a ModelFolder,
        options: &HubOptions,
        token: Option<&str>,
        (kind, id): (Kind, &'a str),
        revision: &'a str,
        has_copy: bool,
    ) -> Result<Self, HubError> {
        let transport = Transport::new(options, token, id, has_copy)?;
        let cancel = options.cancel.clone();
        Ok(Self { transport, folder, kind, id, revision, has_copy, cancel })
    }

    /// Asks what the revision is. Once only if there is a copy to fall back on.
    pub(super) fn look_up(&self) -> Result<Snapshot, HubError> {
        let url = self.info_url(self.revision);
        let retry = RetrySettings { retries: if self.has_copy { 0 } else { RETRY.retries }, ..RETRY };
        let info = match retried(retry, &self.cancel, || Ok(self.info(&url)?)) {
            Err(Failure { status: Some(404), .. }) => return Err(self.not_found(&url)),
            info => info.map_err(|failure| failure.error)?,
        };
        let wrong = |reason: String| HubError::Response {
            id: self.id.to_owned(),
            url: self.transport.shown(&url),
            reason,
        };
        if !is_file_name(&info.sha) {
            let sha = self.transport.said(&info.sha);
            return Err(wrong(format!("it names the commit {sha:?}, which is no commit hash")));
        }
        if is_commit_hash(self.revision) && !info.sha.eq_ignore_ascii_case(self.revision) {
            return Err(wrong(format!(
                "it answers with commit {}, which is not the one asked for",
                info.sha
            )));
        }
        let files = info.siblings.into_iter().map(|sibling| sibling.rfilename).collect();
        Ok(Snapshot { commit: info.sha, files })
    }

    /// Fetches all files of the model that the cache lacks. They are found by names of our own: what the hub
    /// lists is only looked up in.
    pub(super) fn fetch(
        &self,
        snapshot: &Snapshot,
        progress: &mut dyn FnMut(DownloadProgress<'_>),
    ) -> Result<ResolvedModel, HubError> {
        let commit = &snapshot.commit;
        let files = layout::files_to_fetch(|file| snapshot.files.iter().any(|there| there == file)).map_err(
            |missing| HubError::NotACheckpoint { id: self.id.to_owned(), revision: commit.clone(), missing },
        )?;
        let directory = self.folder.snapshot(commit);
        for file in files {
            self.fetch_file(commit, &directory, file, progress)?;
            if file == WEIGHTS_INDEX {
                for shard in layout::shards(&directory.join(WEIGHTS_INDEX))? {
                    self.fetch_file(commit, &directory, &shard, progress)?;
                }
            }
        }
        // Last, so that a branch in the cache always points to a whole snapshot.
        if !is_commit_hash(self.revision) {
            self.folder.set_revision(self.revision, commit)?;
        }
        Ok(ResolvedModel { directory, id: self.id.to_owned(), revision: Some(commit.clone()), warning: None })
    }

    /// Fetches those of the files that are `wanted` which the cache lacks, and says where they lie. Their names are the
    /// hub's: those that lead out of the folder are no files of the data set.
    pub(super) fn fetch_wanted(
        &self,
        snapshot: &Snapshot,
        wanted: &dyn Fn(&str) -> bool,
        progress: &mut dyn FnMut(DownloadProgress<'_>),
    ) -> Result<PathBuf, HubError> {
        let commit = &snapshot.commit;
        let directory = self.folder.snapshot(commit);
        let files = snapshot.files.iter().filter(|file| file.split('/').all(is_file_name) && wanted(file));
        let mut is_empty = true;
        for file in files {
            self.fetch_file(commit, &directory, file, progress)?;
            is_empty = false;
        }
        if is_empty {
            return Err(HubError::NoData { id: self.id.to_owned(), revision: commit.clone() });
        }
        if !is_commit_hash(self.revision) {
            self.folder.set_revision(self.revision, commit)?;
        }
        Ok(directory)
    }

    fn fetch_file(
        &self,
        commit: &str,
        directory: &Path,
        file: &str,
        progress: &mut dyn FnMut(DownloadProgress<'_>),
    ) -> Result<(), HubError> {
        if directory.join(file).is_file() {
            return Ok(());
        }
        // By commit: the branch may move while files are fetched.
        let name: Vec<String> = file.split('/').map(percent_encoded).collect();
        let (prefix, commit_name) = (self.kind.prefix(), percent_encoded(commit));
        let path = format!("{prefix}{}/resolve/{commit_name}/{}", self.id, name.join("/"));
        let url = self.transport.url(&path);
        let (transport, cancel) = (&self.transport, &self.cancel);
        let download = Download { transport, folder: self.folder, id: self.id, commit, file, url, cancel };
        // The furthest that any attempt came. Beginning again is not getting on.
        let mut furthest = 0;
        retried(RETRY, cancel, || {
            download.attempt(progress).map_err(|interrupted| {
                let progressed = interrupted.partial_bytes >= furthest + MIN_PROGRESS;
                furthest = furthest.max(interrupted.partial_bytes);
                Setback { failure: interrupted.failure, progressed }
            })
        })
        .map_err(|failure| failure.error)
    }

    fn info_url(&self, revision: &str) -> String {
        let kind = self.kind.name();
        self.transport.url(&format!("api/{kind}/{}/revision/{}", self.id, percent_encoded(revision)))
    }

    fn info(&self, url: &str) -> Result<RepoInfo, Failure> {
        Ok(self.transport.json(url)?.0)
    }

    /// The hub answers 404 for a model and for a revision that does not exist; asking for the model tells
    /// which.
    fn not_found(&self, url: &str) -> HubError {
        let (id, url) = (self.id.to_owned(), self.transport.shown(url));
        if self.revision != "main" && self.info(&self.info_url("main")).is_ok() {
            return HubError::NoSuchRevision { id, revision: self.revision.to_owned(), url };
        }
        match self.kind {
            Kind::Model => HubError::NoSuchModel { id, url },
            Kind::DataSet => HubError::NoSuchDataSet { id, url },
        }
    }
}

/// Tries until there is an answer, an error that stays, or `retry.retries` attempts in a row after one that
/// got on; or until it is cancelled, which is heard behind each.
pub(super) fn retried<T>(
    retry: RetrySettings,
    cancel: &CancelToken,
    mut attempt: impl FnMut() -> Result<T, Setback>,
) -> Result<T, Failure> {
    let mut idle = 0;
    loop {
        if cancel.is_cancelled() {
            return Err(HubError::Cancelled.into());
        }
        let Setback { failure, progressed } = match attempt() {
            Ok(done) => return Ok(done),
            Err(setback) => setback,
        };
        // Whatever else there was: nobody wants to know, or the copy of before.
        if cancel.is_cancelled() {
            return Err(HubError::Cancelled.into());
        }
        if progressed {
            idle = 0;
        }
        let Failure { error, retry_after, status } = failure;
        let HubError::Network { id, url, reason } = error else {
            return Err(Failure { error, retry_after, status });
        };
        if let Some(wait) = retry_after.filter(|wait| *wait > MAX_WAIT) {
            let reason = format!("{reason}, and it asks to come back in {} s", wait.as_secs());
            return Err(HubError::Network { id, url, reason }.into());
        }
        if idle >= retry.retries {
            return Err(HubError::Network { id, url, reason }.into());
        }
        let end = Instant::now() + retry.delay(idle, retry_after);
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            if cancel.is_cancelled() {
                return Err(HubError::Cancelled.into());
            }
            std::thread::sleep(left.min(LONGEST_SLEEP));
        }
        idle += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_where_it_is_cancelled() {
        let (cancel, start) = (CancelToken::new(), Instant::now());
        let mut attempts = 0;
        let failure = retried::<()>(RETRY, &cancel, || {
            attempts += 1;
            cancel.cancel();
            let error =
                HubError::Network { id: String::new(), url: String::new(), reason: "busy".to_owned() };
            Err(Failure { error, retry_after: Some(Duration::from_secs(50)), status: Some(503) }.into())
        });
        assert!(matches!(failure.err().unwrap().error, HubError::Cancelled));
        assert!(attempts == 1 && start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    }
}
