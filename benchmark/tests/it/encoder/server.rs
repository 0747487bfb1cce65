//! The client against a server that misbehaves.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gve::Input;
use gve::http::{Proxies, RetrySettings};
use gve_test_support::files::text as path;
use gve_test_support::hub::CLOSED;
use gve_test_support::program::assert_status;
use gve_test_support::proxy::Proxy;
use gve_test_support::stub::{Answer, DIM, Received, Stub};
use serde_json::json;
use uvrb::encoder::{ServerEncoder, ServerOptions};

use super::{encode, try_encode};
use crate::mini::{self, MINI};

const RETRIES: usize = 3;

/// Tries again soon, so that tests are quick.
fn options(base_url: &str) -> ServerOptions {
    ServerOptions {
        concurrency: 1,
        timeout: Duration::from_secs(30),
        retry: RetrySettings::default()
            .with_retries(RETRIES as u32)
            .with_first_delay(Duration::from_millis(1))
            .with_max_delay(Duration::from_millis(5)),
        ..ServerOptions::new(base_url, "acme/tiny")
    }
}

fn client(options: ServerOptions) -> ServerEncoder {
    ServerEncoder::new(options, "acme/tiny", "r1").unwrap()
}

fn text(text: &'static str) -> (&'static str, Input) {
    (text, Input::text(text))
}

/// Longer than anybody waits for an answer.
const QUIET: Duration = Duration::from_secs(60);

/// As [`options`]; silence is not waited for as long.
fn options_for(fault: &str, base_url: &str) -> ServerOptions {
    let timeout = Duration::from_millis(if fault == "silence" { 1500 } else { 30_000 });
    ServerOptions { timeout, ..options(base_url) }
}

type Misbehaviour = fn(&Received) -> Answer;

#[test]
fn what_passes_is_tried_again() {
    let faults: [(&str, Misbehaviour); 7] = [
        ("429", |_| Answer::status(429)),
        ("500", |_| Answer::status(500)),
        ("503", |_| Answer::status(503)),
        ("408", |_| Answer::status(408)),
        ("silence", |_| Answer::Silence(QUIET)),
        ("half-closed", |_| Answer::HalfClosed),
        ("closed", |_| Answer::Closed),
    ];
    for (name, fault) in faults {
        let stub =
            Stub::start(move |n, request| if n < 2 { fault(request) } else { Answer::embedding(request) });
        let results = encode(&client(options_for(name, &stub.base_url)), &[text("a")]);
        assert_eq!(results[0].as_ref().map(Vec::len), Ok(DIM), "{name}");
        assert_eq!(stub.requests().len(), 3, "{name}");
    }
}

#[test]
fn what_never_passes_is_the_error_of_its_item() {
    let tries = RETRIES + 1;
    let faults: [(&str, Misbehaviour, &str, usize); 9] = [
        ("500", |_| Answer::status(500), "sent 500", tries),
        ("silence", |_| Answer::Silence(QUIET), "timeout", tries),
        ("half-closed", |_| Answer::HalfClosed, "4 tries", tries),
        ("400", |_| Answer::status(400), "sent 400", 1),
        ("413", |_| Answer::status(413), "413", 1),
        ("no JSON", |_| Answer::ok("<html>"), "no embedding", 1),
        ("NaN", |_| Answer::ok(r#"{"data": [{"embedding": [NaN, 1]}]}"#), "no embedding", 1),
        ("null", |_| Answer::ok(r#"{"data": [{"embedding": [null, 1]}]}"#), "null", 1),
        ("other width", |_| Answer::ok(r#"{"data": [{"embedding": [1, 2]}]}"#), "dimension 2", 1),
    ];
    for (name, fault, named, requests) in faults {
        let stub = Stub::start(move |_, request| {
            if request.body.to_string().contains("bad") { fault(request) } else { Answer::embedding(request) }
        });
        let results =
            encode(&client(options_for(name, &stub.base_url)), &[text("a"), text("bad"), text("b")]);
        assert!(results[0].is_ok() && results[2].is_ok(), "{name}");
        let error = results[1].as_ref().unwrap_err().to_string();
        assert!(error.contains(named) && !error.contains('\n'), "{name}: {error}");
        assert_eq!(stub.requests().len(), requests + 2, "{name}");
    }
}

#[test]
fn what_no_input_would_change_ends_the_job() {
    let tries = RETRIES + 1;
    let redirect =
        |_: &Received| Answer::Status(307, vec![("location", "http://127.0.0.1:1/".into())], String::new());
    let faults: [(Misbehaviour, &str, usize); 6] = [
        (|_| Answer::status(401), "API key", 1),
        (|_| Answer::status(403), "API key", 1),
        (|_| Answer::status(404), "base URL", 1),
        (redirect, "307", 1),
        (|_| Answer::status(429), "sent 429", tries),
        (|_| Answer::status(503), "sent 503", tries),
    ];
    for (fault, named, requests) in faults {
        let stub = Stub::start(move |_, request| fault(request));
        let error = try_encode(&client(options(&stub.base_url)), &[text("a"), text("b")]).unwrap_err();
        assert!(matches!(error, uvrb::Error::Encoder { .. }));
        let message = error.to_string();
        assert!(message.contains(named) && message.contains(&stub.base_url), "{message}");
        assert_eq!(stub.requests().len(), requests, "{named}");
    }
}

#[test]
fn nobody_at_the_address_ends_the_job() {
    let base_url = format!("http://{CLOSED}/v1");
    let error = try_encode(&client(options(&base_url)), &[text("a"), text("b")]).unwrap_err();
    assert!(matches!(error, uvrb::Error::Encoder { .. }));
    assert!(error.to_string().contains(&base_url) && error.to_string().contains("4 tries"), "{error}");
    for base_url in ["", "localhost:8000", "ftp://localhost/v1", "http://"] {
        let error = ServerEncoder::new(options(base_url), "m", "r").err().unwrap().to_string();
        assert!(error.contains("not a base URL"), "{error}");
    }
}

#[test]
fn a_server_behind_a_proxy_is_asked_through_it() {
    // A name that no resolver knows.
    const FAR: &str = "http://embedder.invalid/v1";
    let stub = Stub::start(|_, request| Answer::embedding(request));
    let proxy = Proxy::before(&stub.base_url);
    let through = |address: &str| Proxies::default().with_http(Some(address.to_owned()));
    let open = through(&format!("http://user:secret-word@{}", proxy.address));
    let encode = |base_url: &str, proxies: &Proxies| {
        let client = client(ServerOptions { proxies: proxies.clone(), ..options(base_url) });
        try_encode(&client, &[text("a")]).map_err(|error| error.to_string())
    };
    assert!(encode(FAR, &open).unwrap()[0].is_ok());
    let asked = proxy.asked();
    // user:secret-word
    let expected = "CONNECT embedder.invalid:80 HTTP/1.1 Proxy-Authorization: basic dXNlcjpzZWNyZXQtd29yZA==";
    assert!(asked.len() == 1 && asked[0].eq_ignore_ascii_case(expected), "{asked:?}");

    let except = open.with_except(vec!["embedder.invalid".to_owned()]);
    // Which it is, who answers for names on this machine decides.
    assert!(!encode(FAR, &except).is_ok_and(|results| results[0].is_ok()));
    assert_eq!(proxy.asked(), [""; 0]);
    // This machine is asked directly.
    assert!(encode(&stub.base_url, &through(CLOSED)).unwrap()[0].is_ok());

    // A proxy that is none, or lets nobody through.
    let error = encode(FAR, &through(&format!("user:secret-word@{CLOSED}"))).unwrap_err();
    assert!(error.contains("4 tries") && !error.contains("secret-word"), "{error}");
    let refusing = format!("user:secret-word@{}", Proxy::refusing().address);
    let error = encode(FAR, &through(&refusing)).unwrap_err();
    assert!(error.contains("4 tries") && !error.contains("secret-word"), "{error}");
    let proxies = through("gopher://user:secret-word@proxy:1");
    let error = ServerEncoder::new(ServerOptions { proxies, ..options(FAR) }, "m", "r").err().unwrap();
    assert!(error.to_string().contains("`gopher://***@proxy:1` is no address of a proxy"), "{error}");
}

#[test]
fn proxies_of_the_environment_are_used() {
    let (folder, stub) = (tempfile::tempdir().unwrap(), Stub::start(|_, request| Answer::embedding(request)));
    let (data, out) = (folder.path().join("data"), folder.path().join("out"));
    mini::make_one(&data, &MINI[0]);
    let proxy = Proxy::before(&stub.base_url);
    let mut command = Command::new(env!("CARGO_BIN_EXE_uvrb"));
    command.args(["run", path(&data), "--out", path(&out), "--quiet"]);
    command.args(["--server", "http://embedder.invalid/v1", "--name", "stub", "--revision", "1"]);
    let output = command.env("http_proxy", &proxy.address).env("no_proxy", "").output().unwrap();
    assert_status(&output, 0);
    assert!(proxy.asked().iter().all(|line| line.starts_with("CONNECT embedder.invalid:80 ")));
    assert_eq!(stub.requests().len(), MINI[0].queries + MINI[0].clips.len());
}

#[test]
fn retry_after_is_honoured() {
    let stub = Stub::start(|n, request| match n {
        0 => Answer::Status(429, vec![("retry-after", "1".into())], String::new()),
        _ => Answer::embedding(request),
    });
    let start = Instant::now();
    assert!(encode(&client(options(&stub.base_url)), &[text("a")])[0].is_ok());
    assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());
}

#[test]
fn a_request_is_what_the_api_asks_for() {
    let stub = Stub::start(|_, request| Answer::embedding(request));
    let mut options = options(&format!("{}/", stub.base_url));
    options.api_key = Some("secret".into());
    options.extra.insert("add_generation_prompt".into(), json!(true));
    let input = Input::text("a dog").with_instruction("Find it.");
    assert!(encode(&client(options), &[("a", input)])[0].is_ok());
    let [Received { path, authorization, body }] = <[_; 1]>::try_from(stub.requests()).unwrap();
    assert_eq!((path.as_str(), authorization.as_deref()), ("/v1/embeddings", Some("Bearer secret")));
    let expected = json!({
        "model": "acme/tiny",
        "messages": [
            {"role": "system", "content": "Find it."},
            {"role": "user", "content": [{"type": "text", "text": "a dog"}]},
        ],
        "encoding_format": "float",
        "add_generation_prompt": true,
    });
    assert_eq!(body, expected);
}

#[test]
fn requests_are_under_way_together_but_not_more_than_allowed() {
    static NOW: AtomicUsize = AtomicUsize::new(0);
    static MOST: AtomicUsize = AtomicUsize::new(0);
    let stub = Stub::start(|_, request| {
        MOST.fetch_max(NOW.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(300));
        NOW.fetch_sub(1, Ordering::SeqCst);
        Answer::embedding(request)
    });
    let options = ServerOptions { concurrency: 3, ..options(&stub.base_url) };
    let results = encode(&client(options), &["a", "b", "c", "d", "e", "f", "g", "h", "i"].map(text));
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(MOST.load(Ordering::SeqCst), 3);
}

#[test]
fn no_message_shows_a_key_or_a_password() {
    let echoes: [Misbehaviour; 4] = [
        |request| {
            let said = format!("bad key {}", request.authorization.as_deref().unwrap_or("none"));
            Answer::Status(400, Vec::new(), json!({"error": {"message": said}}).to_string())
        },
        |request| Answer::Status(401, Vec::new(), format!("{:?}", request.authorization)),
        |request| Answer::ok(json!({"data": [{"embedding": request.authorization}]}).to_string()),
        |_| Answer::Closed,
    ];
    for echo in echoes {
        let stub = Stub::start(move |_, request| echo(request));
        let address = stub.base_url.replace("http://", "http://someone:pass-4711@");
        let options = ServerOptions { api_key: Some("sk-0815".into()), ..options(&address) };
        let said = match try_encode(&client(options), &[text("a")]) {
            Ok(results) => results[0].as_ref().unwrap_err().to_string(),
            Err(error) => error.to_string(),
        };
        assert!(!said.contains("pass-4711") && !said.contains("0815"), "{said}");
    }
    let error =
        ServerEncoder::new(options("ftp://someone:pass-4711@host/v1"), "m", "r").err().unwrap().to_string();
    assert!(error.contains("host/v1") && !error.contains("pass-4711"), "{error}");
}
