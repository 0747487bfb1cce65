//! From a directory to a repository on the hub.
//!
//! [`plan_push`] looks at both and sends nothing: which files would go, how, and which are there already.
//! [`push`] does it: large files go to large file storage first, which keeps what it has, and then one commit
//! names all of them. A push that breaks off before that has changed no file of the repository, and the next one
//! sends what the storage lacks.

mod answers;
mod api;
mod content;
mod files;
mod lfs;

use std::path::{Path, PathBuf};

use api::{Api, RemoteFile};
use content::{Content, Watch};
use files::Chosen;

use super::names;
use super::{HubError, HubOptions, open_cache};
use crate::cancel::CancelToken;
use crate::card::{CARD, is_hub_id};
use crate::options::with_fields;

/// From this size on the hub takes a file for large file storage alone, in bytes.
const LARGE: u64 = 10 << 20;

/// How a directory is pushed.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct PushOptions {
    /// Where the hub is, and the token; its revision is the branch that is pushed to, which is made if need
    /// be.
    pub hub: HubOptions,
    /// Whether a repository that is made is private; `None` leaves that to the owner's settings, which are
    /// public as a rule.
    pub private: Option<bool>,
    /// Title of the commit; `None` is "Upload with gve".
    pub message: Option<String>,
    /// The id on the hub of the model that this one was made of, which is written into what is sent; the
    /// directory stays as it is.
    pub base: Option<String>,
}

with_fields!(PushOptions {
    with_hub(hub: HubOptions),
    with_private(private: Option<bool>),
    with_message(message: Option<String>),
    with_base(base: Option<String>),
});

/// What a push would do.
#[derive(Debug)]
#[non_exhaustive]
pub struct PushPlan {
    /// The repository.
    pub id: String,
    /// Its page.
    pub url: String,
    /// The branch.
    pub revision: String,
    /// Whether the repository is to be made.
    pub is_new: bool,
    /// Whether the branch is to be made.
    pub is_new_branch: bool,
    /// Whether the repository is private, as far as that is known.
    pub private: Option<bool>,
    /// The files, in the order of their names.
    pub files: Vec<PushFile>,
    /// Files of the directory that are not sent, by name, and why.
    pub left_out: Vec<(String, String)>,
    /// What whoever pushes should be told, each on one line.
    pub warnings: Vec<String>,
    /// The commit that the branch is at.
    head: Option<String>,
}

impl PushPlan {
    /// The files that the repository lacks or has otherwise.
    pub fn changed(&self) -> impl Iterator<Item = &PushFile> {
        self.files.iter().filter(|file| !file.is_there)
    }
}

/// A file that is pushed.
#[derive(Debug)]
#[non_exhaustive]
pub struct PushFile {
    /// Its name in the repository, with folders parted by `/`.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// Whether it goes to large file storage; of a file that is not there yet the hub has the last word.
    pub is_large: bool,
    /// Whether the repository has it as it is.
    pub is_there: bool,
    content: Content,
}

/// What a push reports while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PushProgress<'a> {
    /// The file at hand.
    pub file: &'a str,
    /// Whether it is sent, or else read to learn what the storage calls it.
    pub is_sent: bool,
    /// Bytes of it that are done.
    pub done_bytes: u64,
    /// Bytes of it.
    pub total_bytes: u64,
}

/// What a push came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pushed {
    /// The new commit; `None` where the repository had everything that it takes.
    pub commit: Option<String>,
    /// Files that the commit changed.
    pub files: usize,
    /// Bytes that large file storage did not have yet.
    pub stored_bytes: u64,
    /// Files that were not sent, as the repository's `.gitignore` has them.
    pub ignored: Vec<String>,
}

/// What pushing the model in `directory` to the repository `id` would do. Nothing is sent: the hub is asked
/// what it has.
///
/// # Errors
/// [`HubError::NotPushable`] for a directory that holds no model, or an adapter whose base others cannot
/// find; what the hub refuses; [`HubError::Cancelled`].
pub fn plan_push(
    directory: &Path,
    id: &str,
    options: &PushOptions,
    cancel: &CancelToken,
    progress: &mut dyn FnMut(PushProgress<'_>),
) -> Result<PushPlan, HubError> {
    planned(directory, id, options, cancel, progress).map_err(of_push)
}

fn planned(
    directory: &Path,
    id: &str,
    options: &PushOptions,
    cancel: &CancelToken,
    progress: &mut dyn FnMut(PushProgress<'_>),
) -> Result<PushPlan, HubError> {
    let revision = checked(id, options)?;
    let Chosen { files, left_out, mut warnings } = files::choose(directory, id, options)?;
    let api = Api::open(id, options, cancel)?;
    let there = api.look(&revision)?;
    if there.is_hidden {
        warnings.push(format!("{id} cannot be seen without a token: it is not there yet, or private"));
    }
    if options.private == Some(true) && there.private == Some(false) {
        warnings.push(format!(
            "{id} is there and public: nothing is sent there as long as it is to be private; change that on its page"
        ));
    }
    let mut judged = Vec::new();
    for (name, content) in files {
        let found = there.files.iter().find(|remote| remote.path == name);
        let mut watch = Watch { file: &name, is_sent: false, cancel, progress: &mut *progress };
        let is_there = found.map_or(Ok(false), |remote| is_same(remote, &content, &mut watch))?;
        let bytes = content.bytes();
        let is_large =
            found.map_or_else(|| bytes >= LARGE || files::is_large_by_name(&name), |file| file.lfs.is_some());
        judged.push(PushFile { name, bytes, is_large, is_there, content });
    }
    Ok(PushPlan {
        id: id.to_owned(),
        url: api.page(),
        is_new: there.is_new,
        is_new_branch: there.head.is_none() && !(there.is_new && revision == "main"),
        private: if there.is_new { options.private } else { there.private },
        revision,
        files: judged,
        left_out,
        warnings,
        head: there.head,
    })
}

/// Does what `plan` says, with the options it was made with.
///
/// # Errors
/// What the hub or its storage refuses, each with the address and what to do; [`HubError::FileChanged`] for a file
/// that is not as it was when the plan was made; [`HubError::NotPrivate`]; [`HubError::Cancelled`]. No file of the
/// repository has changed then, but that it, or the branch, may be there now, and that the answer to the commit may be
/// lost on its way: the error says so.
pub fn push(
    plan: &PushPlan,
    options: &PushOptions,
    cancel: &CancelToken,
    progress: &mut dyn FnMut(PushProgress<'_>),
) -> Result<Pushed, HubError> {
    pushed(plan, options, cancel, progress).map_err(of_push)
}

fn pushed(
    plan: &PushPlan,
    options: &PushOptions,
    cancel: &CancelToken,
    progress: &mut dyn FnMut(PushProgress<'_>),
) -> Result<Pushed, HubError> {
    checked(&plan.id, options)?;
    let api = Api::open(&plan.id, options, cancel)?;
    api.require_token()?;
    let changed: Vec<&PushFile> = plan.changed().collect();
    if changed.is_empty() {
        return Ok(Pushed::default());
    }
    let require_private = |private: Option<bool>| {
        if options.private == Some(true) && private != Some(true) {
            return Err(HubError::NotPrivate { id: plan.id.clone(), url: plan.url.clone() });
        }
        Ok(())
    };
    if !plan.is_new {
        require_private(plan.private)?;
    }
    if let Some(card) = changed.iter().find(|file| file.name == CARD) {
        api.judge_card(card)?;
    }
    if plan.is_new {
        api.create(options.private)?;
    }
    if plan.is_new_branch {
        api.branch(&plan.revision)?;
    }
    let head = match &plan.head {
        Some(head) => Some(head.clone()),
        None => {
            let made = api.look(&plan.revision)?;
            require_private(made.private)?;
            made.head
        }
    };
    let modes = api.preupload(&plan.revision, &changed)?;
    let (ignored, changed): (Vec<&PushFile>, Vec<&PushFile>) =
        changed.into_iter().partition(|file| modes.is_ignored(&file.name));
    let ignored = ignored.into_iter().map(|file| file.name.clone()).collect();
    if changed.is_empty() {
        return Ok(Pushed { ignored, ..Pushed::default() });
    }
    let (large, small): (Vec<&PushFile>, Vec<&PushFile>) =
        changed.iter().copied().partition(|file| modes.is_large(&file.name) && file.bytes > 0);
    let (named, stored_bytes) = lfs::store(&api, &plan.revision, &large, cancel, progress)?;
    if cancel.is_cancelled() {
        return Err(HubError::Cancelled);
    }
    let message = options.message.as_deref().unwrap_or("Upload with gve");
    let commit = match api.commit(&plan.revision, head.as_deref(), message, &small, &named) {
        // Its answer is lost, and perhaps nothing else.
        Err(HubError::Network { id, url, reason }) => {
            let made = made(&api, plan, head.as_deref(), &changed, cancel, progress);
            made.ok().flatten().ok_or_else(|| {
                let reason = format!("{reason}; whether it was committed is not known");
                HubError::Network { id, url, reason }
            })?
        }
        commit => commit?,
    };
    Ok(Pushed { commit: Some(commit), files: changed.len(), stored_bytes, ignored })
}

/// The branch, where id and settings make sense.
fn checked(id: &str, options: &PushOptions) -> Result<String, HubError> {
    if !is_hub_id(id) {
        return Err(HubError::NotARepository { id: id.to_owned() });
    }
    let revision = options.hub.revision.clone().unwrap_or_else(|| "main".to_owned());
    if !names::is_revision(&revision) {
        return Err(HubError::InvalidRevision { id: id.to_owned(), revision });
    }
    if options.hub.offline {
        return Err(HubError::PushOffline { id: id.to_owned() });
    }
    Ok(revision)
}

fn is_same(remote: &RemoteFile, content: &Content, watch: &mut Watch<'_>) -> Result<bool, HubError> {
    if remote.bytes() != content.bytes() {
        return Ok(false);
    }
    Ok(match &remote.lfs {
        Some(lfs) => content.sha256(watch)? == lfs.oid,
        None => content.git_oid(watch)? == remote.oid,
    })
}

/// The commit that the branch is at, where it is another one than `head` and has all `files`.
fn made(
    api: &Api,
    plan: &PushPlan,
    head: Option<&str>,
    files: &[&PushFile],
    cancel: &CancelToken,
    progress: &mut dyn FnMut(PushProgress<'_>),
) -> Result<Option<String>, HubError> {
    let there = api.look(&plan.revision)?;
    let Some(commit) = there.head.filter(|commit| Some(commit.as_str()) != head) else { return Ok(None) };
    for file in files {
        let mut watch = Watch { file: &file.name, is_sent: false, cancel, progress: &mut *progress };
        match there.files.iter().find(|remote| remote.path == file.name) {
            Some(remote) if is_same(remote, &file.content, &mut watch)? => {}
            _ => return Ok(None),
        }
    }
    Ok(Some(commit))
}

/// The words of a push for what downloads say otherwise.
fn of_push(error: HubError) -> HubError {
    match error {
        HubError::Network { id, url, reason } => HubError::PushInterrupted { id, url, reason },
        HubError::Response { id, url, reason } => HubError::PushAnswer { id, url, reason },
        error => error,
    }
}

/// The token of `options`, or else that of the cache.
fn token(options: &HubOptions) -> Result<Option<String>, HubError> {
    match &options.token {
        Some(token) => Ok(Some(token.clone())),
        None => Ok(open_cache(options)?.token()),
    }
}

/// A file or folder below `directory`.
fn below(directory: &Path, name: &str) -> PathBuf {
    name.split('/').fold(directory.to_owned(), |path, part| path.join(part))
}
