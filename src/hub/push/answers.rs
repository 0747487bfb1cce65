//! What the hub's answers mean for a push.

use super::super::HubError;
use super::super::transport::{Failure, Reply};
use super::api::{Api, VALIDATE};
use crate::http::Verdict;

impl Api {
    /// An answer that says yes.
    pub(super) fn accepted(&self, url: &str, reply: Reply) -> Result<Reply, Failure> {
        let said = self.transport.said(&String::from_utf8_lossy(&reply.body));
        // Of an owner the hub makes one repository at a time.
        let is_busy = reply.status == 409 && said.contains("another conflicting operation is in progress");
        let error = match Verdict::of(reply.status) {
            Verdict::Accepted => return Ok(reply),
            Verdict::Busy | Verdict::Fails => self.passing(url, &reply, &said),
            _ if is_busy => self.passing(url, &reply, &said),
            _ => self.refused(url, reply.status, &said),
        };
        Err(Failure { error, retry_after: reply.retry_after, status: Some(reply.status) })
    }

    /// What may pass.
    fn passing(&self, url: &str, reply: &Reply, said: &str) -> HubError {
        let reason = with_said(format!("status {}", reply.status), said);
        HubError::Network { id: self.id.clone(), url: self.transport.shown(url), reason }
    }

    pub(super) fn refused(&self, url: &str, status: u16, said: &str) -> HubError {
        let is_hub = self.transport.is_hub(url);
        let (id, owner) = (&self.id, self.id.split('/').next().unwrap_or_default());
        let advice = match status {
            400 if url.contains("/commit/") || url.ends_with(VALIDATE) => {
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
}

fn with_said(status: String, said: &str) -> String {
    if said.is_empty() { status } else { format!("{status}, {said:?}") }
}
