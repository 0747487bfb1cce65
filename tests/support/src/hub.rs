//! A hub of our own on a loopback address.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// An address where nobody listens. A port that was free a moment ago may be the next test's.
pub const CLOSED: &str = "127.0.0.1:1";
/// The model it has.
pub const ID: &str = "acme/tiny-embedder";
/// The commit of its branch `main`.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// The larger half of the weights.
pub const SHARD: &str = "model-00002-of-00002.safetensors";

/// What a hub may do wrong.
#[derive(Default)]
pub struct Faults {
    /// Close the connection after this many bytes of this file; each entry is used once.
    pub drops: Vec<(String, usize)>,
    /// Answer the next requests for the bytes of a file with this status.
    pub statuses: Vec<u16>,
    /// Answer every request for a list of files with this status.
    pub listing: Option<&'static str>,
    /// Send files so slowly that the larger ones take seconds.
    pub slow: bool,
    /// Send whole files whatever range was asked for.
    pub ignores_ranges: bool,
}

/// Speaks as much of the hub's protocol as a client needs: the file list of a revision, small files served in
/// place, weights by a redirect to another path, ranges.
pub struct FakeHub {
    /// By name, what it serves.
    pub files: BTreeMap<String, Vec<u8>>,
    requests: Mutex<Vec<String>>,
    /// What it is to do wrong.
    pub faults: Mutex<Faults>,
    /// Its address.
    pub endpoint: String,
}

impl FakeHub {
    /// A small made-up checkpoint.
    pub fn start() -> Arc<Self> {
        let index = format!(
            r#"{{"weight_map": {{"a": "model-00001-of-00002.safetensors", "b": "{SHARD}", "c": "{SHARD}"}}}}"#
        );
        let weights = |seed: u8| (0..300_000_u32).map(|i| (i % 251) as u8 ^ seed).collect::<Vec<u8>>();
        let files = [
            ("config.json", b"{\"model_type\": \"qwen2_5_vl\"}".to_vec()),
            ("preprocessor_config.json", b"{}".to_vec()),
            ("tokenizer.json", b"{\"version\": \"1.0\"}".to_vec()),
            ("tokenizer_config.json", b"{ }".to_vec()),
            ("notes.txt", b"not needed".to_vec()),
            ("model.safetensors.index.json", index.into_bytes()),
            ("model-00001-of-00002.safetensors", weights(1)),
            (SHARD, weights(2)),
        ];
        Self::serve(files.map(|(name, bytes)| (name.to_owned(), bytes)).into())
    }

    /// The files of a model directory, under the id `acme/tiny-embedder`.
    pub fn serve_directory(directory: &Path) -> Arc<Self> {
        let files = std::fs::read_dir(directory).unwrap().map(|entry| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())
        });
        Self::serve(files.collect())
    }

    /// Files by name.
    ///
    /// # Panics
    /// No port is free.
    pub fn serve(files: BTreeMap<String, Vec<u8>>) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let hub = Arc::new(Self { files, requests: Mutex::default(), faults: Mutex::default(), endpoint });
        let served = Arc::clone(&hub);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let hub = Arc::clone(&served);
                // A client that hangs up early is part of the game.
                std::thread::spawn(move || drop(hub.answer(stream.unwrap())));
            }
        });
        hub
    }

    fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        // A client may open a connection that it has no use for in the end.
        let Some(request_line) = lines.next().transpose()? else { return Ok(()) };
        let (mut range, mut token) = (None, None);
        for line in lines {
            let line = line?.to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("range: bytes=") {
                let (start, end) = value.split_once('-').unwrap();
                range = Some((start.parse::<usize>().unwrap(), end.parse::<usize>().ok()));
            }
            token = token.or(line.strip_prefix("authorization: bearer ").map(str::to_owned));
        }
        let path = request_line.split(' ').nth(1).unwrap_or("").to_owned();
        let shown = range.map_or(String::new(), |(start, end)| {
            format!(" {start}-{}", end.map_or(String::new(), |e| e.to_string()))
        });
        self.requests.lock().unwrap().push(format!("{path}{shown}"));

        // A model and a data set of the same id and files.
        let path = path.replacen("/api/datasets/", "/api/models/", 1).replacen("/datasets/", "/", 1);
        if let Some(rest) = path.strip_prefix("/api/models/") {
            if let Some(status) = self.faults.lock().unwrap().listing {
                return respond(&mut stream, status, "", b"");
            }
            let siblings: Vec<String> =
                self.files.keys().map(|file| format!(r#"{{"rfilename": "{file}"}}"#)).collect();
            let body =
                format!(r#"{{"sha": "{COMMIT}", "siblings": [{}], "id": "{ID}"}}"#, siblings.join(", "));
            return match rest.strip_prefix(ID).unwrap_or("") {
                "/revision/main" | "/revision/v1" => respond(&mut stream, "200 OK", "", body.as_bytes()),
                "" if rest.starts_with("acme/gated") && token.as_deref() != Some("good") => {
                    respond(&mut stream, "401 Unauthorized", "", b"")
                }
                "" if rest.starts_with("acme/html") => respond(&mut stream, "200 OK", "", b"<html>"),
                _ => respond(&mut stream, "404 Not Found", "", b""),
            };
        }
        let (file, redirected) = match path.strip_prefix("/cdn/") {
            Some(file) => (file, true),
            None => (path.strip_prefix(&format!("/{ID}/resolve/{COMMIT}/")).unwrap_or(""), false),
        };
        let Some(content) = self.files.get(file) else {
            return respond(&mut stream, "404 Not Found", "", b"");
        };
        let identity = format!("x-repo-commit: {COMMIT}\r\n");
        if file.ends_with(".safetensors") && !redirected {
            let headers = format!(
                "{identity}x-linked-etag: \"etag-{file}\"\r\nx-linked-size: {}\r\nlocation: {}/cdn/{file}\r\n",
                content.len(),
                self.endpoint
            );
            return respond(&mut stream, "302 Found", &headers, b"");
        }
        self.send_file(&mut stream, file, content, range, &format!("{identity}etag: \"etag-{file}\"\r\n"))
    }

    fn send_file(
        &self,
        stream: &mut TcpStream,
        file: &str,
        content: &[u8],
        range: Option<(usize, Option<usize>)>,
        headers: &str,
    ) -> std::io::Result<()> {
        let (start, end) = range.unwrap_or((0, None));
        let is_probe = end.is_some();
        let mut faults = self.faults.lock().unwrap();
        if !is_probe && let Some(status) = faults.statuses.pop() {
            return respond(stream, &format!("{status} Refused"), "", b"");
        }
        if start >= content.len() {
            return respond(stream, "416 Range Not Satisfiable", "", b"");
        }
        let last = end.unwrap_or(usize::MAX).min(content.len() - 1);
        let (status, body) = if faults.ignores_ranges && !is_probe {
            ("200 OK", content)
        } else {
            ("206 Partial Content", &content[start..=last])
        };
        let headers = format!("{headers}content-range: bytes {start}-{last}/{}\r\n", content.len());
        let drop_at = (!is_probe).then(|| faults.drops.iter().position(|(name, _)| name == file)).flatten();
        if let Some(position) = drop_at {
            let bytes = faults.drops.remove(position).1;
            write!(
                stream,
                "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            )?;
            return stream.write_all(&body[..bytes]);
        }
        let is_slow = faults.slow && !is_probe;
        drop(faults);
        if !is_slow {
            return respond(stream, status, &headers, body);
        }
        write!(
            stream,
            "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        )?;
        for piece in body.chunks(4096) {
            std::thread::sleep(Duration::from_millis(40));
            stream.write_all(piece)?;
        }
        Ok(())
    }

    /// The paths that were asked for since the last call, with ranges.
    pub fn take_requests(&self) -> Vec<String> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }
}

/// Answers a request, and ends the connection.
///
/// # Errors
/// The client hung up.
pub fn respond(stream: &mut TcpStream, status: &str, headers: &str, body: &[u8]) -> std::io::Result<()> {
    write!(
        stream,
        "HTTP/1.1 {status}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    )?;
    stream.write_all(body)
}
