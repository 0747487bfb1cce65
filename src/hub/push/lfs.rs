//! Large file storage: the batch interface of git LFS, with the hub's transfer in parts.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::HubError;
use super::super::client::{RETRY, retried};
use super::super::transport::{Method, Outgoing, Reply};
use super::api::{Api, LONG, Named, Patience, USUAL};
use super::content::{Watch, Watched};
use super::{PushFile, PushProgress};
use crate::cancel::CancelToken;

const LFS_JSON: &str = "application/vnd.git-lfs+json";
const JSON: &str = "application/json";
/// What says that an object is sent in parts, and how long each is; the parts' addresses stand beside it, by
/// number.
const PART_BYTES: &str = "chunk_size";

#[derive(Deserialize)]
struct Batch {
    objects: Vec<Object>,
}

#[derive(Deserialize)]
struct Object {
    oid: String,
    actions: Option<Actions>,
    error: Option<Refusal>,
}

/// What is to be done about an object; nothing where the storage has it.
#[derive(Deserialize)]
struct Actions {
    upload: Option<Action>,
    verify: Option<Action>,
}

#[derive(Deserialize)]
struct Action {
    href: String,
    header: Option<BTreeMap<String, Value>>,
}

#[derive(Deserialize)]
struct Refusal {
    code: u16,
    message: String,
}

/// Brings what the storage lacks of `files`; gives their names there, and how many bytes went.
pub(super) fn store(
    api: &Api,
    revision: &str,
    files: &[&PushFile],
    cancel: &CancelToken,
    progress: &mut dyn FnMut(PushProgress<'_>),
) -> Result<(Vec<Named>, u64), HubError> {
    let (mut named, mut sent) = (Vec::new(), 0);
    let mut there = BTreeSet::new();
    for file in files {
        let mut watch = Watch { file: &file.name, is_sent: false, cancel, progress: &mut *progress };
        let oid = file.content.sha256(&mut watch)?.to_owned();
        named.push(Named { path: file.name.clone(), oid: oid.clone(), size: file.bytes });
        // Equal files are one object. Each is asked for just before it is sent: the addresses are good for some
        // minutes, which others may take to be sent.
        if !there.insert(oid.clone()) {
            continue;
        }
        let object = ask(api, revision, file, &oid)?;
        let Some(Actions { upload: Some(upload), verify }) = object.actions else { continue };
        watch.is_sent = true;
        Upload { api, file, oid: &oid }.run(&upload, verify.as_ref(), &mut watch)?;
        sent += file.bytes;
    }
    Ok((named, sent))
}

/// What the storage wants of the object `oid`, which is `file`.
fn ask(api: &Api, revision: &str, file: &PushFile, oid: &str) -> Result<Object, HubError> {
    let question = json!({
        "operation": "upload", "transfers": ["basic", "multipart"], "hash_algo": "sha256",
        "ref": {"name": revision}, "objects": [{"oid": oid, "size": file.bytes}],
    });
    let url = api.transport.url(&format!("{}.git/info/lfs/objects/batch", api.id));
    let batch: Batch = api.post(&url, LFS_JSON, &question)?;
    let Some(object) = batch.objects.into_iter().find(|object| object.oid == oid) else {
        let reason = format!("its storage says nothing of the object {oid}");
        return Err(api.transport.wrong(&api.transport.parsed(&url)?, reason));
    };
    match &object.error {
        Some(Refusal { code, message }) => {
            let said = format!("{}: {}", file.name, api.transport.said(message));
            Err(api.refused(&url, *code, &said))
        }
        None => Ok(object),
    }
}

/// One object on its way.
struct Upload<'a> {
    api: &'a Api,
    file: &'a PushFile,
    oid: &'a str,
}

impl Upload<'_> {
    fn run(&self, action: &Action, verify: Option<&Action>, watch: &mut Watch<'_>) -> Result<(), HubError> {
        let header = action.header.clone().unwrap_or_default();
        let href = self.api.transport.on_mirror(&action.href);
        match header.get(PART_BYTES) {
            Some(length) => self.in_parts(&href, length, &header, watch)?,
            None => drop(self.put(&href, &texts(&header), 0, self.file.bytes, watch)?),
        }
        let Some(verify) = verify else { return Ok(()) };
        let body = json!({"oid": self.oid, "size": self.file.bytes}).to_string();
        self.tell(&self.api.transport.on_mirror(&verify.href), JSON, &body, USUAL)
    }

    fn in_parts(
        &self,
        completion: &str,
        length: &Value,
        header: &BTreeMap<String, Value>,
        watch: &mut Watch<'_>,
    ) -> Result<(), HubError> {
        let wrong = |reason: String| -> HubError {
            let url = self.api.transport.shown(completion);
            HubError::Response { id: self.api.id.clone(), url, reason }
        };
        let as_text = length.as_str().and_then(|text| text.parse().ok());
        let length = length.as_u64().or(as_text).filter(|length| *length > 0);
        let length = length.ok_or_else(|| wrong(format!("its {PART_BYTES} is no number of bytes")))?;
        let numbered = header.iter().filter_map(|(key, url)| Some((key.parse::<u64>().ok()?, url.as_str()?)));
        let urls: BTreeMap<u64, &str> = numbered.collect();
        let expected = self.file.bytes.div_ceil(length);
        if urls.len() as u64 != expected || !urls.keys().copied().eq(1..=expected) {
            return Err(wrong(format!("it has {} addresses for {expected} parts", urls.len())));
        }
        let mut parts = Vec::new();
        for (number, url) in urls {
            let start = (number - 1) * length;
            let reply = self.put(url, &[], start, length.min(self.file.bytes - start), watch)?;
            let etag = reply.etag.ok_or_else(|| wrong(format!("no etag of part {number}")))?;
            parts.push(json!({"partNumber": number, "etag": etag}));
        }
        // The storage puts them together before it answers.
        self.tell(completion, LFS_JSON, &json!({"oid": self.oid, "parts": parts}).to_string(), LONG)
    }

    /// Sends `length` bytes of the file, from `start` on, once more where that may help.
    fn put(
        &self,
        url: &str,
        headers: &[(&str, &str)],
        start: u64,
        length: u64,
        watch: &mut Watch<'_>,
    ) -> Result<Reply, HubError> {
        let (api, total) = (self.api, self.file.bytes);
        let put = retried(RETRY, &api.cancel, || {
            let mut source = self.file.content.open(start, length)?;
            let mut body = Watched::new(&mut *source, start..start + length, total, &mut *watch);
            let sent = api.transport.send(Outgoing {
                method: Method::Put,
                url,
                headers,
                body: &mut body,
                bytes: length,
                least_wait: USUAL.least_wait,
            });
            let failed = body.into_failed();
            if watch.cancel.is_cancelled() {
                return Err(HubError::Cancelled.into());
            }
            if let Some(error) = failed {
                return Err(self.file.content.failure(error).into());
            }
            // Else the storage would have what is of two files, or say that it is another one.
            self.file.content.require_unchanged()?;
            Ok(api.accepted(url, sent?)?)
        });
        put.map_err(|failure| failure.error)
    }

    /// Says something to the storage whose answer says nothing.
    fn tell(&self, url: &str, kind: &str, body: &str, patience: Patience) -> Result<(), HubError> {
        let told = self.api.post_as(url, (kind, kind), body.as_bytes(), patience);
        told.map(drop).map_err(|failure| failure.error)
    }
}

/// The headers that are texts.
fn texts(header: &BTreeMap<String, Value>) -> Vec<(&str, &str)> {
    header.iter().filter_map(|(name, value)| Some((name.as_str(), value.as_str()?))).collect()
}
