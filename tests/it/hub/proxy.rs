//! The hub through proxies on a loopback address.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use gve::hub::{HubError, HubOptions, Proxies, resolve};
use gve_test_support::hub::{CLOSED, FakeHub, ID};

use super::{assert_served, quiet};

/// A name that no resolver knows.
const HUB: &str = "hub.invalid";

/// Takes every `CONNECT` to the hub, whatever its name, and writes down what it was asked.
struct Proxy {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    fn before(hub: &FakeHub) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (asked, hub) = (Arc::<Mutex<Vec<String>>>::default(), hub.endpoint.replace("http://", ""));
        let log = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (log, hub) = (log.clone(), hub.clone());
                // A client that hangs up early is part of the game.
                std::thread::spawn(move || drop(tunnel(stream.unwrap(), &hub, &log)));
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

fn tunnel(mut client: TcpStream, hub: &str, log: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut head = Vec::new();
    while head.last().is_none_or(|line: &String| !line.trim().is_empty()) {
        head.push(String::new());
        reader.read_line(head.last_mut().unwrap())?;
    }
    let with = head.iter().find(|line| line.to_lowercase().starts_with("proxy-authorization")).cloned();
    log.lock().unwrap().push(format!("{} {}", head[0].trim(), with.unwrap_or_default().trim()));
    let mut hub = TcpStream::connect(hub)?;
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    let (mut up, mut down) = (hub.try_clone()?, client.try_clone()?);
    let back = std::thread::spawn(move || std::io::copy(&mut hub, &mut client).map(drop));
    std::io::copy(&mut reader, &mut up)?;
    down.flush()?;
    back.join().unwrap_or(Ok(()))
}

fn options(cache: &tempfile::TempDir, proxies: Proxies) -> HubOptions {
    HubOptions::default()
        .with_endpoint(Some(format!("http://{HUB}")))
        .with_cache_dir(Some(cache.path().to_owned()))
        .with_proxies(proxies)
}

#[test]
fn a_hub_behind_a_proxy_is_asked_through_it() {
    let (hub, cache) = (FakeHub::start(), tempfile::tempdir().unwrap());
    let proxy = Proxy::before(&hub);
    let through = |address: &str| Proxies::default().with_http(Some(address.to_owned()));
    let all = through(&format!("http://user:secret-word@{}", proxy.address));
    assert_served(&hub, &resolve(ID, &options(&cache, all.clone()), &mut quiet).unwrap());
    let asked = proxy.asked();
    // user:secret-word
    let expected = format!("CONNECT {HUB}:80 HTTP/1.1 Proxy-Authorization: basic dXNlcjpzZWNyZXQtd29yZA==");
    assert!(asked.iter().any(|line| line.eq_ignore_ascii_case(&expected)), "{asked:?}");
    // The storage is an address of its own.
    assert!(asked.iter().any(|line| line.starts_with("CONNECT 127.0.0.1:")), "{asked:?}");

    let cache = tempfile::tempdir().unwrap();
    let except = all.with_except(vec!["127.0.0.1".to_owned()]);
    assert_served(&hub, &resolve(ID, &options(&cache, except.clone()), &mut quiet).unwrap());
    let asked = proxy.asked();
    assert!(!asked.is_empty() && asked.iter().all(|line| line.contains(HUB)), "{asked:?}");

    // What is not for this scheme, or not for this host, is not used.
    let cache = tempfile::tempdir().unwrap();
    let others = [except.clone().with_except(vec!["invalid".to_owned()]), {
        let (https, http) = (except.http.clone(), None);
        Proxies::default().with_https(https).with_http(http)
    }];
    for proxies in others {
        let error = resolve(ID, &options(&cache, proxies), &mut quiet).unwrap_err();
        assert!(matches!(error, HubError::Network { .. }), "{error}");
        assert_eq!(proxy.asked(), [""; 0]);
    }
}

#[test]
fn a_proxy_that_is_none_is_one_line_without_its_password() {
    let cache = tempfile::tempdir().unwrap();
    for (address, expected) in
        [("gopher://user:secret-word@proxy:1", "no address of a proxy"), (CLOSED, "cannot reach")]
    {
        let proxies = Proxies::default().with_http(Some(address.to_owned()));
        let error = resolve(ID, &options(&cache, proxies), &mut quiet).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains("secret-word") && error.lines().count() == 1, "{error}");
    }
}
