//! The hub's interface, as far as a push needs it.

use std::collections::BTreeMap;

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
use crate::http::Verdict;

const JSON: &str = "application/json";
const JSON_LINES: &str = "application/x-ndjson";
/// Files that the hub is asked about together.
const FILES_AT_ONCE: usize = 256;
/// First bytes of a file that tell the hub whether it is text.
const SAMPLE_BYTES: u64 = 512;
/// Longest list of files, in bytes.
const MAX_LISTING: u64 = 64 << 20;
/// Pages of a list of files, at the most.
const MAX_PAGES: usize = 1000;

/// One repository.
pub(super) struct Api {
    pub(super) transport: Transport,
    pub(super) id: String,
    has_token: bool,
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
    upload_mode: String,
    #[serde(default)]
    should_ignore: bool,
}

impl Modes {
    pub(super) fn is_large(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|mode| mode.upload_mode == "lfs")
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
    pub(super) fn open(id: &str, options: &PushOptions) -> Result<Self, HubError> {
        let token = token(&options.hub)?;
        let transport = Transport::new(&options.hub, token.as_deref(), id, false)?;
        Ok(Self { transport, id: id.to_owned(), has_token: token.is_some() })
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
        retried(RETRY, || Ok(self.get(url)?.0))
    }

    /// All files at a commit.
    fn files(&self, commit: &str) -> Result<Vec<RemoteFile>, HubError> {
        let mut files = Vec::new();
        let mut url = format!("{}?recursive=true", self.url("tree", commit));
        for _ in 0..MAX_PAGES {
            let page: (Vec<RemoteFile>, _) =
                retried(RETRY, || Ok(self.get(&url)?)).map_err(|failure| failure.error)?;
            files.extend(page.0.into_iter().filter(|file| file.kind == "file"));
            match page.1 {
                Some(next) => url = next,
                None => return Ok(files),
            }
        }
        Err(self.transport.wrong(&self.transport.parsed(&url)?, "its list of files does not end".to_owned()))
    }

    /// An answer, and the address of the next page.
    fn get<T: DeserializeOwned>(&self, url: &str) -> Result<(T, Option<String>), Failure> {
        let mut answer = self.transport.get(url, None)?;
        let next = answer.header("link").and_then(next_page).map(str::to_owned);
        let bytes = answer
            .body
            .read_to_limit(MAX_LISTING)
            .map_err(|error| self.transport.body_failure(&answer.uri, &error))?;
        let said = serde_json::from_slice(&bytes).map_err(|error| self.no_hub(url, &error))?;
        Ok((said, next))
    }

    /// Makes the repository, unless it is there.
    pub(super) fn create(&self, private: Option<bool>) -> Result<(), HubError> {
        let (owner, name) = self.id.split_once('/').unwrap_or(("", &self.id));
        let mut body = json!({"name": name, "organization": owner, "type": "model"});
        if let Some(private) = private {
            // Whichever of the two a hub knows: what is to be private must not become public.
            body["private"] = private.into();
            body["visibility"] = if private { "private" } else { "public" }.into();
        }
        self.make(&self.transport.url("api/repos/create"), &body)
    }

    /// Makes the branch, unless it is there.
    pub(super) fn branch(&self, revision: &str) -> Result<(), HubError> {
        self.make(&self.url("branch", revision), &json!({}))
    }

    fn make(&self, url: &str, body: &Value) -> Result<(), HubError> {
        match self.post_as(url, JSON, JSON, body.to_string().as_bytes(), RETRY.retries) {
            // Somebody else was first.
            Err(Failure { status: Some(409), .. }) => Ok(()),
            made => made.map(drop).map_err(|failure| failure.error),
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
        let reply = self.post_as(&url, JSON_LINES, JSON, lines.as_bytes(), 0).map_err(|failure| match failure.error {
            HubError::Network { id, url, reason } => {
                let reason = format!("{reason}; whether it was committed is not known: push again, and what is there is not sent again");
                HubError::Network { id, url, reason }
            }
            error => error,
        })?;
        let answer: Answer =
            serde_json::from_slice(&reply.body).map_err(|error| self.no_hub(&url, &error))?;
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
            .post_as(url, accept, accept, body.to_string().as_bytes(), RETRY.retries)
            .map_err(|failure| failure.error)?;
        serde_json::from_slice(&reply.body).map_err(|error| self.no_hub(url, &error))
    }

    pub(super) fn post_as(
        &self,
        url: &str,
        kind: &str,
        accept: &str,
        body: &[u8],
        retries: u32,
    ) -> Result<Reply, Failure> {
        let headers = [("content-type", kind), ("accept", accept)];
        let retry = crate::http::RetrySettings { retries, ..RETRY };
        retried(retry, || {
            let mut reader = body;
            let outgoing = Outgoing {
                method: Method::Post,
                url,
                headers: &headers,
                body: &mut reader,
                bytes: body.len() as u64,
            };
            Ok(self.accepted(url, self.transport.send(outgoing)?)?)
        })
    }

    /// An answer that says yes.
    pub(super) fn accepted(&self, url: &str, reply: Reply) -> Result<Reply, Failure> {
        let said = self.transport.said(&String::from_utf8_lossy(&reply.body));
        let error = match Verdict::of(reply.status) {
            Verdict::Accepted => return Ok(reply),
            Verdict::Busy | Verdict::Fails => {
                let reason = with_said(format!("status {}", reply.status), &said);
                HubError::Network { id: self.id.clone(), url: self.transport.shown(url), reason }
            }
            _ => self.refused(url, reply.status, &said),
        };
        Err(Failure { error, retry_after: reply.retry_after, status: Some(reply.status) })
    }

    pub(super) fn refused(&self, url: &str, status: u16, said: &str) -> HubError {
        let is_hub = self.transport.is_hub(url);
        let (id, owner) = (&self.id, self.id.split('/').next().unwrap_or_default());
        let advice = match status {
            400 => {
                "what it says is about the files: README.md's head has to be as the hub wants it".to_owned()
            }
            401 | 403 if !is_hub => "what the storage opened has closed again: push again".to_owned(),
            401 if self.has_token => {
                "the hub does not know the token: take another one (HF_TOKEN, or `hf auth login`)".to_owned()
            }
            401 => "give a token (HF_TOKEN, or `hf auth login`)".to_owned(),
            403 => format!("the token may not write to {owner}: take one that may, of a member of {owner}"),
            404 => format!("there is no {id}, no such branch, or the token may not see it"),
            409 | 412 => "somebody else changed it meanwhile: push again".to_owned(),
            413 => "it is more than the hub takes at once: push less, or ask for more room there".to_owned(),
            422 => "the storage did not get what was announced: push again".to_owned(),
            300..=399 => {
                "it leads elsewhere, as for a repository that was renamed: give the new name".to_owned()
            }
            _ => "push again later, or ask the hub".to_owned(),
        };
        let said = with_said(format!("status {status}"), said);
        HubError::PushRefused { id: id.clone(), url: self.transport.shown(url), status, said, advice }
    }

    fn no_hub(&self, url: &str, error: &serde_json::Error) -> HubError {
        let reason = format!("it does not answer as a hub does: {}", self.transport.said(&error.to_string()));
        HubError::Response { id: self.id.clone(), url: self.transport.shown(url), reason }
    }
}

fn with_said(status: String, said: &str) -> String {
    if said.is_empty() { status } else { format!("{status}, {said:?}") }
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
