//! Why a model could not be found or fetched.

use std::path::PathBuf;

use crate::recipe::RecipeError;
use crate::store::IoError;

/// Errors of resolving a model reference. Each displays as one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// Neither a directory nor something that could be an id.
    #[error("{reference:?} is neither a directory nor a hub id such as Alibaba-NLP/GVE-3B")]
    NotAReference {
        /// What was given.
        reference: String,
    },
    /// A file stands where a model directory is expected.
    #[error("{} is a file: give the directory that holds the model", path.display())]
    NotADirectory {
        /// The file.
        path: PathBuf,
    },
    /// A directory or a cached copy lacks files.
    #[error("the model in {} lacks {}", directory.display(), missing.join(", "))]
    IncompleteDirectory {
        /// Where the model should be.
        directory: PathBuf,
        /// The files that are missing.
        missing: Vec<String>,
    },
    /// The list of weight shards cannot be understood.
    #[error("cannot read the list of weight files {}: {reason}", path.display())]
    InvalidIndex {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Offline, and not downloaded before.
    #[error(
        "offline, and {id} at revision {revision} is not in the cache {}: run once with network access",
        cache.display()
    )]
    NotCached {
        /// The model.
        id: String,
        /// The revision asked for.
        revision: String,
        /// The cache searched.
        cache: PathBuf,
    },
    /// What the cache says of a branch or tag is no commit.
    #[error("{} holds no commit: delete it, and the revision is looked up anew", path.display())]
    DamagedRevision {
        /// The file in the cache.
        path: PathBuf,
    },
    /// Status 401 or 403.
    #[error("no access to {id} ({url} answers {status}): {}", access_hint(*has_token))]
    AccessDenied {
        /// The model.
        id: String,
        /// The address asked, without what opens it.
        url: String,
        /// HTTP status.
        status: u16,
        /// Whether a token was sent.
        has_token: bool,
    },
    /// The hub knows no such model.
    #[error(
        "there is no model {id} ({url} answers 404): check the spelling, or give a token if it is private"
    )]
    NoSuchModel {
        /// The model.
        id: String,
        /// The address asked, without what opens it.
        url: String,
    },
    /// The hub knows no such data set.
    #[error(
        "there is no data set {id} ({url} answers 404): check the spelling, or give a token if it is private"
    )]
    NoSuchDataSet {
        /// The data set.
        id: String,
        /// The address asked, without what opens it.
        url: String,
    },
    /// A data set without a file that is wanted.
    #[error("the data set {id} at revision {revision} has no file that is asked for")]
    NoData {
        /// The data set.
        id: String,
        /// Commit hash.
        revision: String,
    },
    /// The model or data set exists, the revision does not.
    #[error("{id} has no revision {revision} ({url} answers 404)")]
    NoSuchRevision {
        /// The model.
        id: String,
        /// The revision asked for.
        revision: String,
        /// The address asked, without what opens it.
        url: String,
    },
    /// The built-in model is another one than was asked for.
    #[error(
        "the built-in model is nano {built_in}, not nano {revision}: make the embeddings again, or use the \
         version of gve they were made with"
    )]
    OtherNano {
        /// The revision asked for.
        revision: String,
        /// The revision of the one that is there.
        built_in: &'static str,
    },
    /// The repository is not a model this crate can load.
    #[error(
        "{id} at revision {revision} on the hub has no {}: it is not a checkpoint in Hugging Face layout",
        missing.join(", no ")
    )]
    NotACheckpoint {
        /// The model.
        id: String,
        /// Commit hash.
        revision: String,
        /// The files it lacks.
        missing: Vec<String>,
    },
    /// The hub answers with another status, or not as a hub does.
    #[error("cannot fetch {id} from {url}: {reason}")]
    Response {
        /// The model.
        id: String,
        /// The address asked, without what opens it.
        url: String,
        /// What came back.
        reason: String,
    },
    /// The hub cannot be reached, or the connection broke too often.
    #[error(
        "cannot reach {url} for {id}: {reason}; what was downloaded is kept, offline mode uses a complete \
         cached copy"
    )]
    Network {
        /// The model.
        id: String,
        /// The address asked, without what opens it.
        url: String,
        /// What happened.
        reason: String,
    },
    /// What arrived is not what the hub says the file is.
    #[error(
        "{file} of {id} from {url} is not what the hub announces: digest {announced}, but the bytes have \
         {found}; nothing of it is kept, try another hub or again later"
    )]
    WrongDigest {
        /// The model.
        id: String,
        /// The file.
        file: String,
        /// The address asked, without what opens it.
        url: String,
        /// The digest that was announced, in hexadecimal digits: SHA-256 or the id of a git blob.
        announced: String,
        /// That of the bytes.
        found: String,
    },
    /// No branch, tag or commit has such a name.
    #[error("{revision:?} cannot be a revision of {id}: expected a branch, a tag or a commit hash")]
    InvalidRevision {
        /// The model.
        id: String,
        /// The revision asked for.
        revision: String,
    },
    /// Another process downloads the same file.
    #[error("another process is downloading {file} of {id}: wait for it to end")]
    Locked {
        /// The model.
        id: String,
        /// The file.
        file: String,
    },
    /// Not the form of a repository's name.
    #[error("{id:?} is no repository on the hub: give it as OWNER/NAME, such as Alibaba-NLP/GVE-3B")]
    NotARepository {
        /// What was given.
        id: String,
    },
    /// A directory that is no model for others.
    #[error("cannot push {} to {id}: {reason}", directory.display())]
    NotPushable {
        /// The directory.
        directory: PathBuf,
        /// The repository.
        id: String,
        /// Why not, and what to do.
        reason: String,
    },
    /// The hub or its storage does not take what is pushed.
    #[error("cannot push to {id}: {url} answers {said}: {advice}")]
    PushRefused {
        /// The repository.
        id: String,
        /// The address asked, without what opens it.
        url: String,
        /// HTTP status.
        status: u16,
        /// The status, and what the hub says to it.
        said: String,
        /// What to do.
        advice: String,
    },
    /// The hub or its storage cannot be reached, has a fault of its own, or the connection broke too often.
    #[error(
        "cannot push to {id}: {url} does not answer: {reason}; push again, what is there is not sent again"
    )]
    PushInterrupted {
        /// The repository.
        id: String,
        /// The address asked, without what opens it.
        url: String,
        /// What happened.
        reason: String,
    },
    /// What answers does not do so as a hub does, or cannot be asked.
    #[error("cannot push to {id} at {url}: {reason}")]
    PushAnswer {
        /// The repository.
        id: String,
        /// The address asked, without what opens it.
        url: String,
        /// What came back.
        reason: String,
    },
    /// A file is not the one any more that was looked at.
    #[error("{} changed while it was pushed: push again", path.display())]
    FileChanged {
        /// The file.
        path: PathBuf,
    },
    /// Pushing takes a token.
    #[error("pushing to {id} takes a token that may write: set HF_TOKEN, or log in with `hf auth login`")]
    NoToken {
        /// The repository.
        id: String,
    },
    /// A repository that was to be private is not.
    #[error(
        "{id} was to be private, but the hub made it public, or it was there before: nothing was sent; see {url}"
    )]
    NotPrivate {
        /// The repository.
        id: String,
        /// Its page.
        url: String,
    },
    /// Pushing takes the hub.
    #[error("cannot push to {id}: requests are switched off (offline)")]
    PushOffline {
        /// The repository.
        id: String,
    },
    /// It was asked to stop.
    #[error("stopped")]
    Cancelled,
    /// The disk refuses.
    #[error(transparent)]
    Io(#[from] IoError),
    /// The recipe of the built-in model cannot be written down.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// No cache directory was given and there is no home directory to look in.
    #[error("there is no home directory: name a cache directory")]
    NoHome,
}

fn access_hint(has_token: bool) -> &'static str {
    if has_token {
        "the token does not open it; accept the model's terms on its page, or use another token"
    } else {
        "it is gated, private or misspelt; give a token that may read it"
    }
}
