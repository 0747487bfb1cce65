//! One file from the hub into the cache.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use ureq::http::Uri;

use super::cache::{self, ModelFolder};
use super::digest::Digest;
use super::names::blob_name;
use super::transport::{Answer, Failure, Transport};
use super::{DownloadProgress, HubError};
use crate::cancel::{CancelToken, Cancellable};
use crate::store::{IoError, rename};

const COMMIT: &str = "x-repo-commit";
const LINKED_ETAG: &str = "x-linked-etag";
const LINKED_SIZE: &str = "x-linked-size";
const XET_HASH: &str = "x-xet-hash";

/// A file of a model at a commit.
pub(super) struct Download<'a> {
    pub(super) transport: &'a Transport,
    pub(super) folder: &'a ModelFolder,
    pub(super) id: &'a str,
    pub(super) commit: &'a str,
    pub(super) file: &'a str,
    pub(super) url: String,
    pub(super) cancel: &'a CancelToken,
}

/// What the hub says about a file before it sends it.
struct Announced {
    name: String,
    digest: Option<Digest>,
    size: u64,
}

/// The file being written.
struct Partial {
    path: PathBuf,
    file: File,
    length: u64,
}

/// Why an attempt failed, and how much there is on disk.
pub(super) struct Interrupted {
    pub(super) failure: Failure,
    pub(super) partial_bytes: u64,
}

impl Download<'_> {
    /// One attempt, which goes on where an earlier one stopped.
    pub(super) fn attempt(&self, progress: &mut dyn FnMut(DownloadProgress<'_>)) -> Result<(), Interrupted> {
        let nothing = |failure| Interrupted { failure, partial_bytes: 0 };
        let announced = self.announced().map_err(nothing)?;
        let is_digest = announced.digest.is_some();
        let blob = self.folder.blob(&announced.name, is_digest, self.file, announced.size);
        let path = blob.with_extension("part");
        let fail =
            |failure| Interrupted { failure, partial_bytes: fs::metadata(&path).map_or(0, |m| m.len()) };
        let lock = cache::lock(&blob, &path, self.cancel);
        let Some(lock) = lock.map_err(|error| fail(HubError::from(error).into()))? else {
            self.go_on().map_err(|error| fail(error.into()))?;
            let (id, file) = (self.id.to_owned(), self.file.to_owned());
            return Err(fail(HubError::Locked { id, file }.into()));
        };
        // Downloaded for another revision, or by another process just now. One of another size was damaged.
        if !fs::metadata(&blob).is_ok_and(|there| there.is_file() && there.len() == announced.size) {
            self.fill(&path, &announced, progress).map_err(&fail)?;
            rename(&path, &blob).map_err(|error| fail(HubError::from(error).into()))?;
        }
        let linked = self.folder.link(&blob, self.commit, self.file);
        drop(lock);
        linked.map_err(|error| fail(error.into()))
    }

    /// Ends what was cancelled. What has arrived stays.
    fn go_on(&self) -> Result<(), HubError> {
        if self.cancel.is_cancelled() { Err(HubError::Cancelled) } else { Ok(()) }
    }

    /// Asks for the first byte, which brings the headers.
    fn announced(&self) -> Result<Announced, Failure> {
        const PROBE: Option<&str> = Some("bytes=0-0");
        let first = self.transport.hop(&self.transport.parsed(&self.url)?, PROBE)?;
        let answer = self.transport.follow(first, PROBE, |answer| answer.headers.contains_key(COMMIT))?;
        let wrong = |reason: &str| self.transport.wrong(&answer.uri, reason.to_owned());
        let commit = answer.header(COMMIT).ok_or_else(|| wrong("no header x-repo-commit: this is no hub"))?;
        if !commit.eq_ignore_ascii_case(self.commit) {
            let commit = self.transport.said(commit);
            let reason = format!("it answers for commit {commit:?} where {} was asked for", self.commit);
            return Err(self.transport.wrong(&answer.uri, reason).into());
        }
        let etag = answer.header(LINKED_ETAG).or_else(|| answer.header("etag"));
        let name = blob_name(etag.ok_or_else(|| wrong("no header etag"))?);
        // A proxy may answer in place of storage that names files by hashes of another kind.
        let is_of_xet = !answer.headers.contains_key(LINKED_ETAG)
            && answer.header(XET_HASH).is_some_and(|xet| blob_name(xet) == name);
        let digest = Digest::of_name(&name).filter(|_| !is_of_xet);
        let size = match answer.header(LINKED_SIZE) {
            Some(size) => size.parse().map_err(|_| wrong("its header x-linked-size is no number"))?,
            None => self.size(answer, PROBE)?,
        };
        Ok(Announced { name, digest, size })
    }

    /// The size that the server has which sends the file.
    fn size(&self, answer: Answer, probe: Option<&str>) -> Result<u64, Failure> {
        let answer = self.transport.follow(answer, probe, |_| false)?;
        let size = match answer.status {
            206 => content_range(&answer).and_then(|(_, total)| total),
            _ if answer.headers.contains_key("content-encoding") => None,
            _ => answer.header("content-length").and_then(|length| length.parse().ok()),
        };
        size.ok_or_else(|| {
            self.transport.wrong(&answer.uri, "it does not say how long the file is".to_owned()).into()
        })
    }

    /// Brings the rest of the file to disk, and sees that it is the file.
    fn fill(
        &self,
        path: &Path,
        announced: &Announced,
        progress: &mut dyn FnMut(DownloadProgress<'_>),
    ) -> Result<(), Failure> {
        let io = |reason: io::Error| HubError::from(IoError::of("write", path)(reason));
        let file = cache::open_partial(path).map_err(HubError::from)?;
        let length = file.metadata().map_err(io)?.len();
        let mut partial = Partial { path: path.to_owned(), file, length };
        if length > announced.size {
            partial.clear().map_err(io)?;
        }
        let resumed = partial.length > 0;
        let mut uri = self.transport.parsed(&self.url)?;
        // A run killed between the last byte and the renaming leaves one that is whole.
        if partial.length < announced.size {
            uri = self.receive(&mut partial, announced.size, progress)?;
        }
        let Some(digest) = &announced.digest else {
            return partial.file.sync_all().map_err(|e| io(e).into());
        };
        partial.file.seek(SeekFrom::Start(0)).map_err(io)?;
        let content = Cancellable { reader: &partial.file, cancel: self.cancel };
        let mismatch = digest.mismatch(content, announced.size);
        self.go_on()?;
        let Some(found) = mismatch.map_err(io)? else {
            return partial.file.sync_all().map_err(|e| io(e).into());
        };
        partial.clear().map_err(io)?;
        if resumed {
            // What was there may have been another file's.
            return Err(self
                .transport
                .unreachable(&uri, "what was resumed is not the file".to_owned())
                .into());
        }
        drop(fs::remove_file(path));
        Err(HubError::WrongDigest {
            id: self.id.to_owned(),
            file: self.file.to_owned(),
            url: self.transport.shown(&uri),
            announced: digest.hex().to_owned(),
            found,
        }
        .into())
    }

    /// Appends what is missing up to `size`, and says where it came from.
    fn receive(
        &self,
        partial: &mut Partial,
        size: u64,
        progress: &mut dyn FnMut(DownloadProgress<'_>),
    ) -> Result<Uri, Failure> {
        let path = partial.path.clone();
        let io = |reason: io::Error| HubError::from(IoError::of("write", &path)(reason));
        self.go_on()?;
        let range = (partial.length > 0).then(|| format!("bytes={}-", partial.length));
        let answer = match self.transport.get(&self.url, range.as_deref()) {
            // Past the end of what is there now.
            Err(Failure { error: HubError::Response { id, url, reason }, status: Some(416), .. }) => {
                partial.clear().map_err(&io)?;
                return Err(HubError::Network { id, url, reason }.into());
            }
            answer => answer?,
        };
        let starts_at = match answer.status {
            206 => content_range(&answer).map(|(start, total)| (start, total.unwrap_or(size))),
            _ => Some((0, size)),
        };
        match starts_at {
            Some((start, total)) if start == partial.length && total == size => {}
            // The whole file, from a server that knows no ranges.
            Some((0, total)) if total == size => partial.clear().map_err(io)?,
            _ => {
                let had = partial.length;
                partial.clear().map_err(io)?;
                let reason =
                    format!("it sends another range than bytes {had}-{} of {size}", size.saturating_sub(1));
                return Err(self.transport.unreachable(&answer.uri, reason).into());
            }
        }
        let Answer { uri, mut body, .. } = answer;
        partial.file.seek(SeekFrom::Start(partial.length)).map_err(io)?;
        let mut buffer = vec![0; 1 << 16];
        loop {
            progress(DownloadProgress { file: self.file, done_bytes: partial.length, total_bytes: size });
            self.go_on()?;
            let read = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(self.transport.body_failure(&uri, &e).into()),
            };
            if read as u64 > size - partial.length {
                partial.clear().map_err(io)?;
                return Err(self
                    .transport
                    .wrong(&uri, format!("it sends more than the {size} bytes of the file"))
                    .into());
            }
            partial.file.write_all(&buffer[..read]).map_err(io)?;
            partial.length += read as u64;
        }
        if partial.length == size {
            return Ok(uri);
        }
        let reason = format!("{} bytes arrived, expected {size}", partial.length);
        Err(self.transport.unreachable(&uri, reason).into())
    }
}

impl Partial {
    fn clear(&mut self) -> io::Result<()> {
        self.length = 0;
        self.file.set_len(0)
    }
}

/// The first byte and, where it is known, the size of the whole, of `Content-Range: bytes 5-9/10`.
fn content_range(answer: &Answer) -> Option<(u64, Option<u64>)> {
    let (range, total) = answer.header("content-range")?.strip_prefix("bytes ")?.split_once('/')?;
    let (start, _) = range.split_once('-')?;
    let total = match total.trim() {
        "*" => None,
        total => Some(total.parse().ok()?),
    };
    Some((start.trim().parse().ok()?, total))
}
