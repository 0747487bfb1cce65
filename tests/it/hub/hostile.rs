//! A hub that misbehaves. Whatever it does: no secret leaves its host, nothing is written outside of the
//! cache, no wrong byte is loaded, and it ends in time, with one line.

mod answers;
mod cases;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gve::hub::{HubOptions, ResolvedModel, resolve};
use gve_test_support::hub::{COMMIT, ID, respond};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};

use super::quiet;
use cases::cases;

const TOKEN: &str = "hf_SecretToken";
const PASSWORD: &str = "SecretPassword";
const SIGNATURE: &str = "SecretSignature";
const SHARDS: [&str; 2] = ["model-1.safetensors", "model-2.safetensors"];
/// No case may take longer, with a silence of [`TIMEOUT`] allowed and five attempts.
const LIMIT: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(1);

/// A request, as far as it matters.
struct Asked<'a> {
    path: &'a str,
    range: Option<&'a str>,
    /// How often this path was asked for before.
    before: usize,
}

impl Asked<'_> {
    fn is_listing(&self) -> bool {
        self.path.starts_with("/api/")
    }

    /// For a file on the hub itself.
    fn is_of(&self, file: &str) -> bool {
        self.path == format!("/{ID}/resolve/{COMMIT}/{file}")
    }

    /// For the bytes of a shard, in storage elsewhere.
    fn is_of_storage(&self) -> bool {
        self.path.starts_with("/storage/")
    }

    fn start(&self) -> usize {
        let start =
            self.range.and_then(|range| range.strip_prefix("bytes=")?.split('-').next()?.parse().ok());
        start.unwrap_or(0)
    }
}

/// `None`: as an honest hub would answer.
type Answer = Option<std::io::Result<()>>;
type Misbehaviour = fn(&Server, &Asked<'_>, &mut TcpStream) -> Answer;
/// What lies in the folder of the model, of which the second is outside of the cache, before anything is
/// asked for.
type Before = fn(&Path, &Path);

struct Case {
    what: &'static str,
    does: Misbehaviour,
    before: Before,
    /// `Ok`: the model is served. `Err`: the error says this.
    expected: Result<(), &'static str>,
}

/// The hub and, on another port, the storage it sends us to.
struct Server {
    files: BTreeMap<&'static str, Vec<u8>>,
    does: Misbehaviour,
    ports: [u16; 2],
    requests: Mutex<Vec<(u16, String)>>,
    leaked: Mutex<Vec<String>>,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn git_id(content: &[u8]) -> String {
    let blob = [format!("blob {}\0", content.len()).as_bytes(), content].concat();
    hex(digest(&SHA1_FOR_LEGACY_USE_ONLY, &blob).as_ref())
}

fn sha256(content: &[u8]) -> String {
    hex(digest(&SHA256, content).as_ref())
}

impl Server {
    fn start(does: Misbehaviour) -> Arc<Self> {
        let index = format!(r#"{{"weight_map": {{"a": "{}", "b": "{}"}}}}"#, SHARDS[0], SHARDS[1]);
        let weights = |seed: u8| (0..50_000_u32).map(|i| (i % 251) as u8 ^ seed).collect::<Vec<u8>>();
        let files = BTreeMap::from([
            ("config.json", b"{\"model_type\": \"qwen2_5_vl\"}".to_vec()),
            ("preprocessor_config.json", b"{ }".to_vec()),
            ("tokenizer.json", b"{\"version\": \"1.0\"}".to_vec()),
            ("model.safetensors.index.json", index.into_bytes()),
            (SHARDS[0], weights(1)),
            (SHARDS[1], weights(2)),
        ]);
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let ports = [0, 1].map(|i: usize| listeners[i].local_addr().unwrap().port());
        let server =
            Arc::new(Self { files, does, ports, requests: Mutex::default(), leaked: Mutex::default() });
        for (listener, port) in listeners.into_iter().zip(ports) {
            let server = Arc::clone(&server);
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    let server = Arc::clone(&server);
                    // A client that hangs up early is part of the game.
                    std::thread::spawn(move || drop(server.answer(port, stream.unwrap())));
                }
            });
        }
        server
    }

    fn answer(&self, port: u16, mut stream: TcpStream) -> std::io::Result<()> {
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        // A client may open a connection that it has no use for in the end.
        let Some(request) = lines.next().transpose()? else { return Ok(()) };
        let path = request.split(' ').nth(1).unwrap_or("").to_owned();
        let mut range = None;
        for line in lines {
            let line = line?;
            if line.is_empty() {
                break;
            }
            if port == self.ports[1]
                && (line.contains(TOKEN) || line.to_ascii_lowercase().starts_with("authorization"))
            {
                self.leaked.lock().unwrap().push(format!("{path}: {line}"));
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("range: ") {
                range = Some(value.to_owned());
            }
        }
        let before = {
            let mut requests = self.requests.lock().unwrap();
            let before = requests.iter().filter(|asked| **asked == (port, path.clone())).count();
            requests.push((port, path.clone()));
            before
        };
        let path = path.split('?').next().unwrap_or_default();
        let asked = Asked { path, range: range.as_deref(), before };
        match (self.does)(self, &asked, &mut stream) {
            Some(done) => done,
            None => self.honest(&asked, &mut stream),
        }
    }

    fn honest(&self, asked: &Asked<'_>, stream: &mut TcpStream) -> std::io::Result<()> {
        if asked.is_listing() {
            return respond(stream, "200 OK", "", self.listing(COMMIT, "").as_bytes());
        }
        let file = asked.path.rsplit('/').next().unwrap_or_default();
        let Some(content) = self.files.get(file) else { return respond(stream, "404 Not Found", "", b"") };
        if asked.is_of_storage() {
            return send(stream, "", content, asked);
        }
        if SHARDS.contains(&file) {
            return self.to_storage(stream, file, &format!("\"{}\"", sha256(content)));
        }
        let headers = format!("x-repo-commit: {COMMIT}\r\netag: \"{}\"\r\n", git_id(content));
        send(stream, &headers, content, asked)
    }

    /// Where the hub has the bytes of `file`, with the ETag that it announces.
    fn to_storage(&self, stream: &mut TcpStream, file: &str, etag: &str) -> std::io::Result<()> {
        let headers = format!(
            "x-repo-commit: {COMMIT}\r\nx-linked-etag: {etag}\r\nx-linked-size: {}\r\n{}",
            self.files[file].len(),
            self.location(&format!("/storage/{file}?X-Amz-Signature={SIGNATURE}"))
        );
        respond(stream, "302 Found", &headers, b"")
    }

    fn listing(&self, commit: &str, more: &str) -> String {
        let siblings: Vec<String> =
            self.files.keys().map(|file| format!(r#"{{"rfilename": "{file}"}}"#)).collect();
        format!(r#"{{"sha": "{commit}", "siblings": [{more}{}]}}"#, siblings.join(", "))
    }

    /// A header that leads to the other host.
    fn location(&self, path: &str) -> String {
        format!("location: http://127.0.0.1:{}{path}\r\n", self.ports[1])
    }

    fn resolve(&self, cache: &Path) -> Result<ResolvedModel, gve::hub::HubError> {
        let options = HubOptions::default()
            .with_endpoint(Some(format!("http://user:{PASSWORD}@127.0.0.1:{}", self.ports[0])))
            .with_cache_dir(Some(cache.to_owned()))
            .with_token(Some(TOKEN.to_owned()))
            .with_timeout(Some(TIMEOUT));
        resolve(ID, &options, &mut quiet)
    }
}

/// `content`, or the part of it that was asked for.
fn send(stream: &mut TcpStream, headers: &str, content: &[u8], asked: &Asked<'_>) -> std::io::Result<()> {
    let Some(range) = asked.range else { return respond(stream, "200 OK", headers, content) };
    let start = asked.start();
    if start >= content.len() {
        return respond(stream, "416 Range Not Satisfiable", headers, b"");
    }
    let last =
        range.rsplit('-').next().and_then(|end| end.parse::<usize>().ok()).unwrap_or(content.len() - 1);
    let headers = format!("{headers}content-range: bytes {start}-{last}/{}\r\n", content.len());
    respond(stream, "206 Partial Content", &headers, &content[start..=last])
}

/// An absolute path that nothing may be written to, and no other program writes to.
fn escape() -> String {
    format!("/tmp/gve-hub-escape-{}", std::process::id())
}

/// Why the case did not go as it should.
fn run(case: &Case) -> Result<(), String> {
    let outer = tempfile::tempdir().unwrap();
    let (outside, cache) = (outer.path().join("outside"), outer.path().join("home/hub"));
    std::fs::write(&outside, "outside").unwrap();
    let folder = cache.join("models--acme--tiny-embedder");
    std::fs::create_dir_all(&folder).unwrap();
    (case.before)(&folder, &outside);
    let server = Server::start(case.does);
    let start = Instant::now();
    let got = server.resolve(&cache);
    let ensure = |good: bool, what: String| if good { Ok(()) } else { Err(what) };
    ensure(start.elapsed() < LIMIT, format!("took {:?}", start.elapsed()))?;
    let requests = server.requests.lock().unwrap().len();
    ensure(requests < 100, format!("{requests} requests"))?;
    let leaked = server.leaked.lock().unwrap();
    ensure(leaked.is_empty(), format!("the other host was sent {leaked:?}"))?;
    let around: Vec<_> = [outer.path(), &outer.path().join("home"), &cache]
        .into_iter()
        .flat_map(|directory| std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()))
        .collect();
    ensure(around.len() == 4, format!("something was written outside of the cache: {around:?}"))?;
    ensure(std::fs::read(&outside).unwrap() == b"outside", "the file outside was changed".into())?;
    ensure(!Path::new(&escape()).exists(), "an absolute path was written".into())?;
    for (file, content) in &server.files {
        let loaded = std::fs::read(folder.join("snapshots").join(COMMIT).join(file));
        let is_of_case = case.expected.is_err() && *file == "model.safetensors.index.json";
        ensure(
            is_of_case || loaded.is_ok() <= (loaded.ok().as_ref() == Some(content)),
            format!("{file} is wrong"),
        )?;
    }
    match (got, case.expected) {
        (Ok(model), Ok(())) => {
            let complete = server.files.keys().all(|file| model.directory.join(file).is_file());
            ensure(complete && model.directory.starts_with(&cache), "the model is not complete".into())
        }
        (Err(error), Err(expected)) => {
            let error = error.to_string();
            ensure(error.contains(expected), format!("{error:?} should say {expected:?}"))?;
            ensure(error.lines().count() == 1 && error.len() < 1000, format!("{error:?} is no line"))?;
            let shown = [TOKEN, PASSWORD, SIGNATURE].into_iter().find(|secret| error.contains(secret));
            ensure(shown.is_none(), format!("{error:?} shows {shown:?}"))
        }
        (got, expected) => Err(format!("{got:?}, expected {expected:?}")),
    }
}

#[test]
fn a_hub_that_misbehaves_does_no_harm() {
    let cases = cases();
    let results: Vec<Result<(), String>> = std::thread::scope(|scope| {
        let running: Vec<_> = cases.iter().map(|case| scope.spawn(|| run(case))).collect();
        running.into_iter().map(|case| case.join().unwrap_or_else(|_| Err("it panicked".into()))).collect()
    });
    let failed: Vec<String> = cases
        .iter()
        .zip(&results)
        .filter_map(|(case, result)| Some(format!("a hub that {}: {}", case.what, result.as_ref().err()?)))
        .collect();
    println!("{} ways of misbehaving, {} of them did harm", cases.len(), failed.len());
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(cases.len() > 20);
}

#[test]
fn a_revision_that_is_a_path_is_refused() {
    let (server, cache) = (Server::start(|_, _, _| None), tempfile::tempdir().unwrap());
    for revision in ["../../../escape", &escape(), "a\\b", ""] {
        let options = HubOptions::default()
            .with_endpoint(Some(format!("http://127.0.0.1:{}", server.ports[0])))
            .with_cache_dir(Some(cache.path().join("hub")))
            .with_revision(Some(revision.to_owned()));
        let error = resolve(ID, &options, &mut quiet).unwrap_err();
        assert!(matches!(error, gve::hub::HubError::InvalidRevision { .. }), "{error}");
    }
    assert!(server.requests.lock().unwrap().is_empty());
}

#[test]
fn a_password_and_a_broken_address_stay_unsaid() {
    for endpoint in [
        format!("user:{PASSWORD}@host"),
        format!("ftp://user:{PASSWORD}@host"),
        format!("http://user:{PASSWORD}@"),
        format!("http://user:{PASSWORD}/x@host name/"),
        format!("http://user:{PASSWORD}@127.0.0.1:1/?key={SIGNATURE}"),
    ] {
        let cache = tempfile::tempdir().unwrap();
        let options = HubOptions::default()
            .with_endpoint(Some(endpoint.clone()))
            .with_cache_dir(Some(cache.path().to_owned()))
            .with_timeout(Some(TIMEOUT));
        let error = resolve(ID, &options, &mut quiet).unwrap_err().to_string();
        assert!(
            !error.contains(PASSWORD) && !error.contains(SIGNATURE) && error.lines().count() == 1,
            "{error}"
        );
    }
}
