//! The hub through proxies on a loopback address.

use gve::http::Proxies;
use gve::hub::{HubError, HubOptions, resolve};
use gve_test_support::hub::{CLOSED, FakeHub, ID};
use gve_test_support::proxy::Proxy;

use super::{assert_served, options, quiet};

/// A name that no resolver knows.
const HUB: &str = "hub.invalid";

fn far_options(cache: &tempfile::TempDir, proxies: Proxies) -> HubOptions {
    HubOptions::default()
        .with_endpoint(Some(format!("http://{HUB}")))
        .with_cache_dir(Some(cache.path().to_owned()))
        .with_proxies(proxies)
}

#[test]
fn a_hub_behind_a_proxy_is_asked_through_it() {
    let (hub, cache) = (FakeHub::start(), tempfile::tempdir().unwrap());
    let proxy = Proxy::before(&hub.endpoint);
    let through = |address: &str| Proxies::default().with_http(Some(address.to_owned()));
    let all = through(&format!("http://user:secret-word@{}", proxy.address));
    assert_served(&hub, &resolve(ID, &far_options(&cache, all.clone()), &mut quiet).unwrap());
    // user:secret-word
    let expected = format!("CONNECT {HUB}:80 HTTP/1.1 Proxy-Authorization: basic dXNlcjpzZWNyZXQtd29yZA==");
    // The storage is on this machine, and asked directly.
    let asked = proxy.asked();
    assert!(!asked.is_empty() && asked.iter().all(|line| line.eq_ignore_ascii_case(&expected)), "{asked:?}");

    // What is not for this scheme, or not for this host, is not used.
    let cache = tempfile::tempdir().unwrap();
    let (https, http) = (all.http.clone(), None);
    let others =
        [all.with_except(vec!["invalid".to_owned()]), Proxies::default().with_https(https).with_http(http)];
    for proxies in others {
        let error = resolve(ID, &far_options(&cache, proxies), &mut quiet).unwrap_err();
        assert!(matches!(error, HubError::Network { .. }), "{error}");
        assert_eq!(proxy.asked(), [""; 0]);
    }

    let near = options(&hub, cache.path()).with_proxies(through(CLOSED));
    assert_served(&hub, &resolve(ID, &near, &mut quiet).unwrap());
}

#[test]
fn a_proxy_that_is_none_is_one_line_without_its_password() {
    let cache = tempfile::tempdir().unwrap();
    for (address, expected) in [
        ("gopher://user:secret-word@proxy:1", "no address of a proxy"),
        (&format!("user:secret-word@{CLOSED}"), "cannot reach"),
    ] {
        let proxies = Proxies::default().with_http(Some(address.to_owned()));
        let error = resolve(ID, &far_options(&cache, proxies), &mut quiet).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains("secret-word") && error.lines().count() == 1, "{error}");
    }
}
