//! A hub on a loopback address that takes what is pushed to it: the requests that `huggingface_hub` sends for `upload_folder`, git LFS
//! with the hub's transfer in parts, and downloads of what is there.

mod bytes;
mod faults;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use serde_json::{Value, json};

use crate::hub::respond;
pub use faults::PushFaults;

use bytes::{Answer, decoded, git_oid, hex, listed, part_of};

/// The token that may write.
pub const TOKEN: &str = "hf_good_token";
/// Files in a page of a list.
const PAGE: usize = 3;

/// What came in.
#[derive(Debug, Clone)]
pub struct Seen {
    /// GET, POST or PUT.
    pub method: String,
    /// With its query.
    pub path: String,
    /// The header, if there was one.
    pub authorization: Option<String>,
    /// What was sent.
    pub body: Vec<u8>,
}

/// Files of a commit by name, each with whether it is in large file storage.
type Files = BTreeMap<String, (Vec<u8>, bool)>;

#[derive(Default)]
struct Repository {
    private: bool,
    branches: BTreeMap<String, String>,
    commits: BTreeMap<String, Files>,
    messages: Vec<String>,
}

#[derive(Default)]
struct State {
    repositories: BTreeMap<String, Repository>,
    store: BTreeMap<String, Vec<u8>>,
    parts: BTreeMap<(String, usize), Vec<u8>>,
    sizes: BTreeMap<String, usize>,
    seen: Vec<Seen>,
}

/// Runs until the test program ends.
pub struct PushHub {
    /// Its address.
    pub endpoint: String,
    /// Objects of more bytes are sent in parts of so many.
    pub part_bytes: usize,
    /// What it is to do wrong.
    pub faults: Mutex<PushFaults>,
    state: Mutex<State>,
}

fn said(status: u16, value: &Value) -> Answer {
    (status, "content-type: application/json\r\n".to_owned(), value.to_string().into_bytes())
}

fn error(status: u16, message: &str) -> Answer {
    said(status, &json!({"error": message}))
}

impl PushHub {
    /// One without repositories.
    ///
    /// # Panics
    /// No port is free.
    pub fn start(part_bytes: usize) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let hub = Arc::new(Self { endpoint, part_bytes, faults: Mutex::default(), state: Mutex::default() });
        let served = Arc::clone(&hub);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let hub = Arc::clone(&served);
                std::thread::spawn(move || drop(hub.serve(stream.unwrap())));
            }
        });
        hub
    }

    /// Makes a repository, as somebody else does.
    pub fn create(&self, id: &str, is_private: bool) {
        self.state.lock().unwrap().create(id, is_private, &self.endpoint);
    }

    /// What came in since the last call.
    pub fn take_seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.state.lock().unwrap().seen)
    }

    /// The files of a branch by name; none where it is not there.
    pub fn files(&self, id: &str, branch: &str) -> BTreeMap<String, Vec<u8>> {
        let state = self.state.lock().unwrap();
        let files = state.repositories.get(id).and_then(|repo| repo.commits.get(repo.branches.get(branch)?));
        files.into_iter().flatten().map(|(name, (bytes, _))| (name.clone(), bytes.clone())).collect()
    }

    /// Titles of the commits of a repository, and whether it is private; `None` where it is not there.
    pub fn commits(&self, id: &str) -> Option<(Vec<String>, bool)> {
        let state = self.state.lock().unwrap();
        state.repositories.get(id).map(|repo| (repo.messages.clone(), repo.private))
    }

    fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut line = String::new();
        // A client may open a connection that it has no use for in the end.
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut words = line.split(' ').map(str::to_owned);
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (mut length, mut authorization, mut range) = (None, None, None);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse::<usize>().ok(),
                "authorization" => authorization = Some(value.trim().to_owned()),
                "range" => range = value.trim().strip_prefix("bytes=").map(str::to_owned),
                _ => {}
            }
        }
        if method == "PUT" {
            // The storage takes nothing whose length is not said.
            let Some(length) = length else { return respond(&mut stream, "411 Length Required", "", b"") };
            if PushFaults::take(&mut self.faults.lock().unwrap().dropped_puts) {
                let mut half = vec![0; length / 2];
                return reader.read_exact(&mut half);
            }
        }
        let mut body = vec![0; length.unwrap_or(0)];
        reader.read_exact(&mut body)?;
        let seen = Seen { method, path, authorization, body };
        let shown = format!("{} {}", seen.method, seen.path);
        let slow = self.faults.lock().unwrap().slow.filter(|(prefix, _)| shown.starts_with(prefix));
        std::thread::sleep(slow.map(|(_, wait)| wait).unwrap_or_default());
        let is_commit = shown.contains("/commit/");
        if is_commit && PushFaults::take(&mut self.faults.lock().unwrap().rival_commits) {
            self.state.lock().unwrap().commit_of_another();
        }
        let (status, headers, body) =
            self.refusal(&shown).unwrap_or_else(|| self.answer(&seen, range.as_deref()));
        let headers = headers.replace("ENDPOINT", &self.endpoint);
        self.state.lock().unwrap().seen.push(seen);
        if is_commit && PushFaults::take(&mut self.faults.lock().unwrap().lost_commits) {
            return Ok(());
        }
        respond(&mut stream, &format!("{status} Answer"), &headers, &body)
    }

    fn refusal(&self, shown: &str) -> Option<Answer> {
        let mut faults = self.faults.lock().unwrap();
        let (_, status, body, left) =
            faults.refusals.iter_mut().find(|(prefix, .., left)| *left > 0 && shown.starts_with(prefix))?;
        *left -= 1;
        Some((*status, String::new(), body.as_bytes().to_vec()))
    }

    fn answer(&self, seen: &Seen, range: Option<&str>) -> Answer {
        let mut state = self.state.lock().unwrap();
        let (path, _) = seen.path.split_once('?').unwrap_or((&seen.path, ""));
        let words: Vec<String> = path.split('/').skip(1).map(decoded).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let may_write = seen.authorization.as_deref() == Some(&format!("Bearer {TOKEN}"));
        let json = || serde_json::from_slice::<Value>(&seen.body).unwrap_or_default();
        match (seen.method.as_str(), words.as_slice()) {
            // Storage is opened by its addresses.
            ("PUT", ["store", oid, rest @ ..]) => {
                assert_eq!(seen.authorization, None, "the token is not for the storage");
                let etag = format!("etag: \"{}\"\r\n", hex(&SHA256, &seen.body));
                match rest {
                    [number] => drop(
                        state.parts.insert(((*oid).to_owned(), number.parse().unwrap()), seen.body.clone()),
                    ),
                    _ if hex(&SHA256, &seen.body) == *oid => {
                        drop(state.store.insert((*oid).to_owned(), seen.body.clone()))
                    }
                    _ => return error(400, "not what it is called"),
                }
                (200, etag, Vec::new())
            }
            ("POST", ["complete", oid]) => state.complete(oid, &json()),
            ("GET" | "HEAD", ["store", oid]) => match state.store.get(*oid) {
                Some(bytes) => part_of(bytes, range, ""),
                None => error(404, "no such object"),
            },
            ("POST", ["api", "validate-yaml"])
                if json()["content"].as_str().unwrap().contains("license: none") =>
            {
                said(400, &json!({"errors": [{"message": "\"license\" must be one of"}], "warnings": []}))
            }
            ("POST", ["api", "validate-yaml"]) => said(200, &json!({"errors": [], "warnings": []})),
            ("POST", _) if !may_write => error(401, "Invalid username or password."),
            ("POST", ["api", "repos", "create"]) => {
                let told = json();
                let is_private = told["private"] == true || told["visibility"] == "private";
                let is_private = is_private && !self.faults.lock().unwrap().makes_public;
                let owner = told["organization"].as_str().unwrap();
                state.create(
                    &format!("{owner}/{}", told["name"].as_str().unwrap()),
                    is_private,
                    &self.endpoint,
                )
            }
            ("POST", ["verify", oid]) => match state.store.get(*oid) {
                Some(bytes) if json()["size"] == bytes.len() => (200, String::new(), Vec::new()),
                _ => error(404, "no such object"),
            },
            ("POST", [owner, name, "info", "lfs", "objects", "batch"]) => {
                let id = format!("{owner}/{}", name.trim_end_matches(".git"));
                if state.repositories.contains_key(&id) {
                    self.batch(&mut state, &json())
                } else {
                    error(404, "no such repository")
                }
            }
            (_, ["api", "models", owner, name, rest @ ..]) => {
                let id = format!("{owner}/{name}");
                match state.repositories.get(&id) {
                    Some(repo) if !repo.private || may_write => state.of_repository(&id, seen, rest),
                    _ if may_write => error(404, "Repository not found"),
                    _ => error(401, "Invalid username or password."),
                }
            }
            ("GET" | "HEAD", [owner, name, "resolve", revision, file @ ..]) => {
                state.resolve(&format!("{owner}/{name}"), revision, &file.join("/"), range, &self.endpoint)
            }
            _ => error(404, "Not found"),
        }
    }

    /// What is to be sent of some objects.
    fn batch(&self, state: &mut State, question: &Value) -> Answer {
        assert_eq!((&question["operation"], &question["hash_algo"]), (&json!("upload"), &json!("sha256")));
        let objects = question["objects"].as_array().unwrap().iter().map(|object| {
            let (oid, size) = (object["oid"].as_str().unwrap(), object["size"].as_u64().unwrap() as usize);
            state.sizes.insert(oid.to_owned(), size);
            if state.store.contains_key(oid) {
                return json!({"oid": oid, "size": size});
            }
            let at = |path: &str| format!("{}/{path}/{oid}", self.endpoint.replace("127.0.0.1", "localhost"));
            let upload = if size > self.part_bytes {
                let parts = (1..=size.div_ceil(self.part_bytes))
                    .map(|part| (format!("{part:05}"), json!(format!("{}/{part}?signature=sEcReT", at("store")))));
                let mut header: serde_json::Map<String, Value> = parts.collect();
                header.insert("chunk_size".to_owned(), json!(self.part_bytes.to_string()));
                json!({"href": at("complete"), "header": header})
            } else {
                json!({"href": format!("{}?signature=sEcReT", at("store"))})
            };
            // As through a mirror, which the hub knows nothing of.
            let verify = json!({"href": format!("https://huggingface.co/verify/{oid}")});
            json!({"oid": oid, "size": size, "authenticated": true, "actions": {"upload": upload, "verify": verify}})
        });
        let objects: Vec<Value> = objects.collect();
        said(200, &json!({"transfer": "multipart", "objects": objects}))
    }
}

impl State {
    fn complete(&mut self, oid: &str, told: &Value) -> Answer {
        let count = told["parts"].as_array().map_or(0, Vec::len);
        let parts: Option<Vec<Vec<u8>>> =
            (1..=count).map(|number| self.parts.get(&(oid.to_owned(), number)).cloned()).collect();
        let whole = parts.unwrap_or_default().concat();
        let etags = told["parts"].as_array().into_iter().flatten().enumerate().all(|(number, part)| {
            let sent = self
                .parts
                .get(&(oid.to_owned(), number + 1))
                .map(|part| format!("\"{}\"", hex(&SHA256, part)));
            part["partNumber"] == number + 1 && part["etag"].as_str() == sent.as_deref()
        });
        if !etags || hex(&SHA256, &whole) != oid || self.sizes.get(oid) != Some(&whole.len()) {
            return error(422, "the parts are not the object");
        }
        self.store.insert(oid.to_owned(), whole);
        said(200, &json!({}))
    }

    fn create(&mut self, id: &str, is_private: bool, endpoint: &str) -> Answer {
        let url = format!("{endpoint}/{id}");
        if self.repositories.contains_key(id) {
            return said(409, &json!({"error": "You already created this model repo", "url": url}));
        }
        let repository = self.repositories.entry(id.to_owned()).or_default();
        repository.private = is_private;
        repository.put(
            "main",
            "initial commit",
            [(".gitattributes".to_owned(), (b"*.safetensors filter=lfs\n".to_vec(), false))].into(),
        );
        said(200, &json!({"url": url, "name": id}))
    }

    /// A file of somebody else's, in every repository.
    fn commit_of_another(&mut self) {
        for repository in self.repositories.values_mut() {
            let mut files = repository.commits[&repository.branches["main"]].clone();
            files.insert("theirs.txt".to_owned(), (b"theirs".to_vec(), false));
            repository.put("main", "Somebody else's", files);
        }
    }

    fn of_repository(&mut self, id: &str, seen: &Seen, rest: &[&str]) -> Answer {
        let (store, repo) = (&self.store, self.repositories.get_mut(id).unwrap());
        let json = || serde_json::from_slice::<Value>(&seen.body).unwrap();
        let commit = |revision: &str| {
            repo.branches
                .get(revision)
                .cloned()
                .or_else(|| repo.commits.get(revision).map(|_| revision.to_owned()))
        };
        match (seen.method.as_str(), rest) {
            ("GET", [] | ["revision", _]) => {
                let Some(sha) = commit(rest.get(1).unwrap_or(&"main")) else {
                    return error(404, "Invalid rev id");
                };
                let siblings: Vec<Value> =
                    repo.commits[&sha].keys().map(|name| json!({"rfilename": name})).collect();
                said(
                    200,
                    &json!({"id": id, "modelId": id, "private": repo.private, "sha": sha, "siblings": siblings, "tags": [], "downloads": 0, "likes": 0}),
                )
            }
            ("GET", ["tree", revision]) => {
                let Some(sha) = commit(revision) else { return error(404, "Invalid rev id") };
                let start: usize =
                    seen.path.split("cursor=").nth(1).map_or(0, |cursor| cursor.parse().unwrap());
                let files: Vec<Value> = repo.commits[&sha].iter().map(listed).collect();
                let next = start + PAGE;
                let (path, _) = seen.path.split_once("&cursor").unwrap_or((&seen.path, ""));
                let link = if next < files.len() {
                    format!("link: <ENDPOINT{path}&cursor={next}>; rel=\"next\"\r\n")
                } else {
                    String::new()
                };
                let (status, _, body) = said(200, &json!(files[start..next.min(files.len())]));
                (status, link, body)
            }
            ("POST", ["branch", branch]) => {
                if repo.branches.contains_key(*branch) {
                    return error(409, "Reference already exists");
                }
                let main = repo.branches["main"].clone();
                repo.branches.insert((*branch).to_owned(), main);
                said(201, &json!({}))
            }
            ("POST", ["preupload", revision]) => {
                let Some(sha) = commit(revision) else { return error(404, "Invalid rev id") };
                let asked = json();
                let files = asked["files"].as_array().unwrap().iter().map(|file| {
                    let (path, size) = (file["path"].as_str().unwrap(), file["size"].as_u64().unwrap());
                    assert!(BASE64.decode(file["sample"].as_str().unwrap()).unwrap().len() as u64 == size.min(512));
                    let mode = if path.ends_with(".safetensors") || size >= 10 << 20 { "lfs" } else { "regular" };
                    let oid = repo.commits[&sha].get(path).map(|file| listed((&path.to_owned(), file)));
                    let oid = oid.map(|file| file["lfs"]["oid"].as_str().or(file["oid"].as_str()).map(str::to_owned));
                    json!({"path": path, "uploadMode": mode, "shouldIgnore": path == "ignored.txt", "oid": oid})
                });
                let files: Vec<Value> = files.collect();
                said(200, &json!({"commitOid": sha, "files": files}))
            }
            ("POST", ["commit", branch]) => {
                let Some(head) = repo.branches.get(*branch).cloned() else {
                    return error(404, "Invalid rev id");
                };
                let lines: Vec<Value> = String::from_utf8_lossy(&seen.body)
                    .lines()
                    .map(|line| serde_json::from_str(line).unwrap())
                    .collect();
                let mut files = repo.commits[&head].clone();
                let header = &lines[0]["value"];
                if header["parentCommit"].as_str().is_some_and(|parent| parent != head) {
                    return error(412, "A commit has happened since. Please refresh and try again.");
                }
                for line in &lines[1..] {
                    let (value, path) = (&line["value"], line["value"]["path"].as_str().unwrap().to_owned());
                    let file = match line["key"].as_str().unwrap() {
                        "file" => (BASE64.decode(value["content"].as_str().unwrap()).unwrap(), false),
                        "lfsFile" => match store.get(value["oid"].as_str().unwrap()) {
                            Some(bytes) if value["algo"] == "sha256" => (bytes.clone(), true),
                            _ => return error(400, "an LFS object is missing"),
                        },
                        other => return error(400, other),
                    };
                    files.insert(path, file);
                }
                let sha = repo.put(branch, header["summary"].as_str().unwrap(), files);
                said(
                    200,
                    &json!({"success": true, "commitOid": sha, "commitUrl": format!("/{id}/commit/{sha}"), "hookOutput": ""}),
                )
            }
            _ => error(404, "Not found"),
        }
    }

    fn resolve(&self, id: &str, revision: &str, file: &str, range: Option<&str>, endpoint: &str) -> Answer {
        let found = self.repositories.get(id).and_then(|repo| {
            let sha = repo.branches.get(revision).map_or(revision, String::as_str);
            Some((sha.to_owned(), repo.commits.get(sha)?.get(file)?))
        });
        let Some((sha, (bytes, is_large))) = found else { return error(404, "Entry not found") };
        if *is_large {
            // Another host, as that of the hub is.
            let storage = endpoint.replace("127.0.0.1", "localhost");
            let (oid, size) = (hex(&SHA256, bytes), bytes.len());
            let headers = format!(
                "x-repo-commit: {sha}\r\nx-linked-etag: \"{oid}\"\r\nx-linked-size: {size}\r\nlocation: {storage}/store/{oid}\r\n"
            );
            return (302, headers, Vec::new());
        }
        part_of(bytes, range, &format!("x-repo-commit: {sha}\r\netag: \"{}\"\r\n", git_oid(bytes)))
    }
}

impl Repository {
    fn put(&mut self, branch: &str, message: &str, files: Files) -> String {
        self.messages.push(message.to_owned());
        let sha = hex(&SHA1_FOR_LEGACY_USE_ONLY, format!("{} {message}", self.messages.len()).as_bytes());
        self.branches.insert(branch.to_owned(), sha.clone());
        self.commits.insert(sha.clone(), files);
        sha
    }
}
