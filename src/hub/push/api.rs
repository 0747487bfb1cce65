//! The hub's interface, as far as a push needs it.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::super::HubError;
use super::super::client::{RETRY, retried};
use super::super::names::percent_encoded;
use super::super::transport::{Failure, Method, Outgoing, Reply, Transport};
use super::{PushFile, PushOptions, token};
use crate::cancel::CancelToken;
use crate::http::RetrySettings;

const JSON: &str = "application/json";
const JSON_LINES: &str = "application/x-ndjson";
/// Where the hub judges cards.
pub(super) const VALIDATE: &str = "api/validate-yaml";
/// Files that the hub is asked about together.
const FILES_AT_ONCE: usize = 256;
/// First bytes of a file that tell the hub whether it is text.
const SAMPLE_BYTES: u64 = 512;
/// Pages of a list of files, at the most.
const MAX_PAGES: usize = 1000;

/// How often something is tried, and for how long its answer is waited for.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    retries: u32,
    /// Whatever the timeout is.
    pub(super) least_wait: Duration,
}

pub(super) const USUAL: Patience = Patience { retries: RETRY.retries, least_wait: Duration::ZERO };
/// For an answer that comes once much has been put together.
pub(super) const LONG: Patience = Patience { least_wait: Duration::from_secs(120), ..USUAL };

/// One repository.
pub(super) struct Api {
    pub(super) transport: Transport,
    pub(super) id: String,
    pub(super) has_token: bool,
    pub(super) cancel: CancelToken,
}

/// What a repository is at a branch.
#[derive(Default)]
pub(super) struct There {
    /// It is not there, as far as can be seen.
    pub(super) is_new: bool,
    /// It may be there, unseen.
    pub(super) is_hidden: bool,
    pub(super) private: Option<bool>,
    /// The commit of the branch; `None` where there is no such branch.
    pub(super) head: Option<String>,
    pub(super) files: Vec<RemoteFile>,
}

/// A file of the repository.
#[derive(Deserialize)]
pub(super) struct RemoteFile {
    #[serde(rename = "type")]
    kind: String,
    pub(super) path: String,
    #[serde(default)]
    size: u64,
    /// The id of the git blob.
    #[serde(default)]
    pub(super) oid: String,
    pub(super) lfs: Option<RemoteLfs>,
}

impl RemoteFile {
    pub(super) fn bytes(&self) -> u64 {
        self.lfs.as_ref().map_or(self.size, |lfs| lfs.size)
    }
}

/// What stands in a git blob of a large file.
#[derive(Deserialize)]
pub(super) struct RemoteLfs {
    /// SHA-256.
    pub(super) oid: String,
    size: u64,
}

#[derive(Deserialize)]
struct RepoInfo {
    sha: Option<String>,
    private: Option<bool>,
}

/// How the hub wants files.
#[derive(Default)]
pub(super) struct Modes(BTreeMap<String, Mode>);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mode {
    path: String,
    upload_mode: UploadMode,
    #[serde(default)]
    should_ignore: bool,
}

/// What is not known here is no answer: a file would go where the hub does not look for it.
#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum UploadMode {
    Lfs,
    Regular,
}

impl Modes {
    pub(super) fn is_large(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|mode| mode.upload_mode == UploadMode::Lfs)
    }

    /// Whether the repository's `.gitignore` has it.
    pub(super) fn is_ignored(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|mode| mode.should_ignore)
    }
}

/// A file of large file storage, as a commit names it.
pub(super) struct Named {
    pub(super) path: String,
    pub(super) oid: String,
    pub(super) size: u64,
}

impl Api {
    pub(super) fn open(id: &str, options: &PushOptions, cancel: &CancelToken) -> Result<Self, HubError> {
        let token = token(&options.hub)?;
        let transport = Transport::new(&options.hub, token.as_deref(), id, false)?;
        Ok(Self { transport, id: id.to_owned(), has_token: token.is_some(), cancel: cancel.clone() })
    }

    pub(super) fn require_token(&self) -> Result<(), HubError> {
        if self.has_token { Ok(()) } else { Err(HubError::NoToken { id: self.id.clone() }) }
    }

    /// The repository's page.
    pub(super) fn page(&self) -> String {
        self.transport.shown(self.transport.url(&self.id))
    }

    fn url(&self, of: &str, revision: &str) -> String {
        self.transport.url(&format!("api/models/{}/{of}/{}", self.id, percent_encoded(revision)))
    }

    /// What the repository is at the branch `revision`.
    pub(super) fn look(&self, revision: &str) -> Result<There, HubError> {
        let info = match self.info(&self.url("revision", revision)) {
            Ok(info) => info,
            Err(Failure { status: Some(404), .. }) => {
                let repository = self.info(&self.transport.url(&format!("api/models/{}", self.id)));
                return match repository {
                    Ok(info) => Ok(There { private: info.private, ..There::default() }),
                    Err(failure) => self.unseen(failure),
                };
            }
            Err(failure) => return self.unseen(failure),
        };
        let Some(head) = info.sha else { return Ok(There { private: info.private, ..There::default() }) };
        let files = self.files(&head)?;
        Ok(There { private: info.private, head: Some(head), files, ..There::default() })
    }

    /// A repository that the hub does not show.
    fn unseen(&self, failure: Failure) -> Result<There, HubError> {
        let unseen = |is_hidden| Ok(There { is_new: true, is_hidden, ..There::default() });
        match failure.status {
            Some(404) => unseen(false),
            // So it answers strangers, whether the repository is there or not.
            Some(401) if !self.has_token => unseen(true),
            Some(status @ (401 | 403)) => Err(self.refused(&self.transport.url(&self.id), status, "")),
            _ => Err(failure.error),
        }
    }

    fn info(&self, url: &str) -> Result<RepoInfo, Failure> {
        retried(RETRY, &self.cancel, || Ok(self.transport.json(url)?.0))
    }

    /// All files at a commit.
    fn files(&self, commit: &str) -> Result<Vec<RemoteFile>, HubError> {
        let mut files = Vec::new();
        let mut url = format!("{}?recursive=true", self.url("tree", commit));
        for _ in 0..MAX_PAGES {
            let page: (Vec<RemoteFile>, _) =
                retried(RETRY, &self.cancel, || Ok(self.transport.json(&url)?))
                    .map_err(|failure| failure.error)?;
            files.extend(page.0.into_iter().filter(|file| file.kind == "file"));
            match page.1.as_deref().and_then(next_page) {
                Some(next) => url = next.to_owned(),
                None => return Ok(files),
            }
        }
        Err(self.transport.wrong(&self.transport.parsed(&url)?, "its list of files does not end".to_owned()))
    }

    /// Makes the repository. One that somebody else made meanwhile is an error: it is not what was asked for.
    pub(super) fn create(&self, private: Option<bool>) -> Result<(), HubError> {
        let (owner, name) = self.id.split_once('/').unwrap_or(("", &self.id));
        let mut body = json!({"name": name, "organization": owner, "type": "model"});
        if let Some(private) = private {
            // Whichever of the two a hub knows: what is to be private must not become public.
            body["private"] = private.into();
            body["visibility"] = if private { "private" } else { "public" }.into();
        }
        self.make(&self.transport.url("api/repos/create"), &body).map_err(|failure| failure.error)
    }

    /// Makes the branch, unless it is there.
    pub(super) fn branch(&self, revision: &str) -> Result<(), HubError> {
        match self.make(&self.url("branch", revision), &json!({})) {
            Err(Failure { status: Some(409), .. }) => Ok(()),
            made => made.map_err(|failure| failure.error),
        }
    }

    fn make(&self, url: &str, body: &Value) -> Result<(), Failure> {
        self.post_as(url, (JSON, JSON), body.to_string().as_bytes(), USUAL).map(drop)
    }

    /// Has the hub judge the head of a card, as far as it judges cards before they are committed.
    pub(super) fn judge_card(&self, card: &PushFile) -> Result<(), HubError> {
        let content = String::from_utf8_lossy(&card.content.read()?).into_owned();
        let body = json!({"repoType": "model", "content": content}).to_string();
        let once = Patience { retries: 0, ..USUAL };
        match self.post_as(&self.transport.url(VALIDATE), (JSON, JSON), body.as_bytes(), once) {
            Err(Failure { status: Some(400), error, .. }) => Err(error),
            _ => Ok(()),
        }
    }

    /// How the hub wants these files.
    pub(super) fn preupload(&self, revision: &str, files: &[&PushFile]) -> Result<Modes, HubError> {
        #[derive(Deserialize)]
        struct Answer {
            files: Vec<Mode>,
        }
        let url = self.url("preupload", revision);
        let mut modes = Modes::default();
        for some in files.chunks(FILES_AT_ONCE) {
            let about = |file: &&PushFile| -> Result<Value, HubError> {
                let sample = BASE64.encode(file.content.beginning(SAMPLE_BYTES)?);
                Ok(json!({"path": file.name, "sample": sample, "size": file.bytes}))
            };
            let about = some.iter().map(about).collect::<Result<Vec<_>, _>>()?;
            let answer: Answer = self.post(&url, JSON, &json!({"files": about}))?;
            modes.0.extend(answer.files.into_iter().map(|mode| (mode.path.clone(), mode)));
        }
        if let Some(file) = files.iter().find(|file| !modes.0.contains_key(&file.name)) {
            let reason = format!("it does not say how it wants {}: this is no hub", file.name);
            return Err(self.transport.wrong(&self.transport.parsed(&url)?, reason));
        }
        Ok(modes)
    }

    /// Changes the branch, all at once; gives the new commit. `head`: what the branch has to be at.
    pub(super) fn commit(
        &self,
        revision: &str,
        head: Option<&str>,
        message: &str,
        small: &[&PushFile],
        large: &[Named],
    ) -> Result<String, HubError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Answer {
            commit_oid: String,
        }
        let mut header = json!({"summary": message, "description": ""});
        if let Some(head) = head {
            header["parentCommit"] = head.into();
        }
        let mut lines = format!("{}\n", json!({"key": "header", "value": header}));
        for file in small {
            let content = BASE64.encode(file.content.read()?);
            let value = json!({"path": file.name, "content": content, "encoding": "base64"});
            lines.push_str(&format!("{}\n", json!({"key": "file", "value": value})));
        }
        for file in large {
            let value = json!({"path": file.path, "algo": "sha256", "oid": file.oid, "size": file.size});
            lines.push_str(&format!("{}\n", json!({"key": "lfsFile", "value": value})));
        }
        let url = self.url("commit", revision);
        // Once: a commit whose answer is lost was made.
        let once = Patience { retries: 0, ..LONG };
        let reply = self
            .post_as(&url, (JSON_LINES, JSON), lines.as_bytes(), once)
            .map_err(|failure| failure.error)?;
        let answer: Answer =
            serde_json::from_slice(&reply.body).map_err(|error| self.transport.no_hub(&url, &error))?;
        Ok(answer.commit_oid)
    }

    /// The answer to a question in JSON; `accept` is its kind, and the answer's.
    pub(super) fn post<T: DeserializeOwned>(
        &self,
        url: &str,
        accept: &str,
        body: &Value,
    ) -> Result<T, HubError> {
        let reply = self
            .post_as(url, (accept, accept), body.to_string().as_bytes(), USUAL)
            .map_err(|failure| failure.error)?;
        serde_json::from_slice(&reply.body).map_err(|error| self.transport.no_hub(url, &error))
    }

    /// The answer to something; the kinds are its own and the answer's.
    pub(super) fn post_as(
        &self,
        url: &str,
        (kind, accept): (&str, &str),
        body: &[u8],
        patience: Patience,
    ) -> Result<Reply, Failure> {
        let headers = [("content-type", kind), ("accept", accept)];
        let retry = RetrySettings { retries: patience.retries, ..RETRY };
        retried(retry, &self.cancel, || {
            let mut reader = body;
            let outgoing = Outgoing {
                method: Method::Post,
                url,
                headers: &headers,
                body: &mut reader,
                bytes: body.len() as u64,
                least_wait: patience.least_wait,
            };
            Ok(self.accepted(url, self.transport.send(outgoing)?)?)
        })
    }
}

/// The address of the next page in a `Link` header (RFC 8288).
fn next_page(link: &str) -> Option<&str> {
    let next = link.split(',').find(|part| part.contains("rel=\"next\""))?;
    next.trim().strip_prefix('<')?.split('>').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_found() {
        for (link, expected) in [
            ("<https://hub/x?cursor=a>; rel=\"next\"", Some("https://hub/x?cursor=a")),
            ("<https://hub/0>; rel=\"prev\", <https://hub/2>; rel=\"next\"", Some("https://hub/2")),
            ("<https://hub/0>; rel=\"prev\"", None),
            ("", None),
        ] {
            assert_eq!(next_page(link), expected, "{link}");
        }
    }
}
