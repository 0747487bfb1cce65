//! Large file storage: the batch interface of git LFS, with the hub's transfer in parts.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::HubError;
use super::super::client::{RETRY, retried};
use super::super::transport::{Method, Outgoing, Reply};
use super::api::{Api, Named};
use super::content::{Watch, Watched};
use super::{PushFile, PushProgress};
use crate::cancel::CancelToken;

const LFS_JSON: &str = "application/vnd.git-lfs+json";
const JSON: &str = "application/json";
/// Objects that the storage is asked about together.
const OBJECTS_AT_ONCE: usize = 100;
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
    for some in files.chunks(OBJECTS_AT_ONCE) {
        // Equal files are one object.
        let mut by_oid: BTreeMap<String, &PushFile> = BTreeMap::new();
        for file in some {
            let mut watch = Watch { file: &file.name, is_sent: false, cancel, progress: &mut *progress };
            let oid = file.content.sha256(&mut watch)?.to_owned();
            named.push(Named { path: file.name.clone(), oid: oid.clone(), size: file.bytes });
            by_oid.entry(oid).or_insert(file);
        }
        for object in ask(api, revision, &by_oid)? {
            let Some(file) = by_oid.get(&object.oid) else { continue };
            let Some(Actions { upload: Some(upload), verify }) = object.actions else { continue };
            let mut watch = Watch { file: &file.name, is_sent: true, cancel, progress: &mut *progress };
            Upload { api, file, oid: &object.oid }.run(&upload, verify.as_ref(), &mut watch)?;
            sent += file.bytes;
        }
    }
    Ok((named, sent))
}

/// What the storage wants of these objects.
fn ask(api: &Api, revision: &str, files: &BTreeMap<String, &PushFile>) -> Result<Vec<Object>, HubError> {
    let objects: Vec<Value> =
        files.iter().map(|(oid, file)| json!({"oid": oid, "size": file.bytes})).collect();
    let question = json!({
        "operation": "upload", "transfers": ["basic", "multipart"], "hash_algo": "sha256",
        "ref": {"name": revision}, "objects": objects,
    });
    let url = api.transport.url(&format!("{}.git/info/lfs/objects/batch", api.id));
    let batch: Batch = api.post(&url, LFS_JSON, &question)?;
    for object in &batch.objects {
        if let Some(Refusal { code, message }) = &object.error {
            let file = files.get(&object.oid).map_or("an object", |file| file.name.as_str());
            return Err(api.refused(&url, *code, &format!("{file}: {}", api.transport.said(message))));
        }
    }
    match files.keys().find(|oid| batch.objects.iter().all(|object| object.oid != **oid)) {
        None => Ok(batch.objects),
        Some(oid) => {
            let reason = format!("its storage says nothing of the object {oid}");
            Err(api.transport.wrong(&api.transport.parsed(&url)?, reason))
        }
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
        match header.get(PART_BYTES) {
            Some(length) => self.in_parts(&action.href, length, &header, watch)?,
            None => drop(self.put(&action.href, &texts(&header), 0, self.file.bytes, watch)?),
        }
        let Some(verify) = verify else { return Ok(()) };
        let body = json!({"oid": self.oid, "size": self.file.bytes}).to_string();
        self.tell(&verify.href, JSON, &body)
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
        self.tell(completion, LFS_JSON, &json!({"oid": self.oid, "parts": parts}).to_string())
    }

    /// Sends `length` bytes of the file, from `start` on, as often as it takes.
    fn put(
        &self,
        url: &str,
        headers: &[(&str, &str)],
        start: u64,
        length: u64,
        watch: &mut Watch<'_>,
    ) -> Result<Reply, HubError> {
        let (api, total) = (self.api, self.file.bytes);
        let put = retried(RETRY, || {
            let mut source = self.file.content.open(start, length)?;
            let mut body = Watched { inner: &mut *source, done: 0, before: start, total, watch: &mut *watch };
            let sent = api.transport.send(Outgoing {
                method: Method::Put,
                url,
                headers,
                body: &mut body,
                bytes: length,
            });
            if watch.cancel.is_cancelled() {
                return Err(HubError::Cancelled.into());
            }
            Ok(api.accepted(url, sent?)?)
        });
        put.map_err(|failure| failure.error)
    }

    /// Says something to the storage whose answer says nothing.
    fn tell(&self, url: &str, kind: &str, body: &str) -> Result<(), HubError> {
        let told = self.api.post_as(url, kind, kind, body.as_bytes(), RETRY.retries);
        told.map(drop).map_err(|failure| failure.error)
    }
}

/// The headers that are texts.
fn texts(header: &BTreeMap<String, Value>) -> Vec<(&str, &str)> {
    header.iter().filter_map(|(name, value)| Some((name.as_str(), value.as_str()?))).collect()
}
