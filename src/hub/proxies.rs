//! Through whom requests go.

use ureq::http::Uri;
use ureq::{Agent, Proxy};

use crate::options::with_fields;

/// Proxies for requests, as `curl` and `huggingface_hub` choose them: by the scheme of an address, unless its
/// host is excepted. The default is none.
///
/// An address is that of an HTTP, HTTPS or SOCKS proxy, such as `http://user:password@proxy.example:3128` or
/// `socks5h://127.0.0.1:1080`; without a scheme it is `http`. HTTP proxies are asked to `CONNECT`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Proxies {
    /// For https addresses.
    pub https: Option<String>,
    /// For http addresses.
    pub http: Option<String>,
    /// Hosts that are asked directly, each with all below it: `example.org`, `.example.org` or
    /// `*.example.org`, with a port or without; `*` is all there are.
    pub except: Vec<String>,
}

with_fields!(Proxies {
    with_https(https: Option<String>),
    with_http(http: Option<String>),
    with_except(except: Vec<String>),
});

impl Proxies {
    /// The addresses that are set.
    pub(super) fn addresses(&self) -> impl Iterator<Item = &str> {
        [&self.https, &self.http].into_iter().flatten().map(String::as_str)
    }

    fn is_excepted(&self, uri: &Uri) -> bool {
        let Some(host) = uri.host() else { return false };
        let port = uri.port_u16().or(match uri.scheme_str() {
            Some("https") => Some(443),
            _ => Some(80),
        });
        self.except.iter().any(|entry| matches(entry.trim(), host, port))
    }
}

/// Whether `entry` means a host, of which an IPv6 address stands in brackets.
fn matches(entry: &str, host: &str, port: Option<u16>) -> bool {
    if entry == "*" {
        return true;
    }
    let (name, of_port) = match entry.rsplit_once(':').map(|(name, port)| (name, port.parse().ok())) {
        Some((name, Some(port))) if !name.contains(':') || name.ends_with(']') => (name, Some(port)),
        _ => (entry, None),
    };
    let name = name.strip_prefix('*').unwrap_or(name).trim_start_matches('.');
    let bare = |text: &str| text.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    let (name, host) = (bare(name), bare(host));
    let is_below = || host.strip_suffix(&name).is_some_and(|above| above.ends_with('.'));
    !name.is_empty() && (of_port.is_none() || of_port == port) && (host == name || is_below())
}

/// One agent for each way that a request may take: connections are kept for the next request.
pub(super) struct Agents {
    proxies: Proxies,
    direct: Agent,
    https: Option<Agent>,
    http: Option<Agent>,
}

impl Agents {
    /// `make` makes an agent that goes through a proxy, or through none. The error is a proxy's address that is
    /// none.
    pub(super) fn new(proxies: &Proxies, make: impl Fn(Option<Proxy>) -> Agent) -> Result<Self, String> {
        let through = |address: &Option<String>| {
            let proxy = address.as_ref().map(|address| Proxy::new(address).map_err(|_| address.clone()));
            Ok::<_, String>(proxy.transpose()?.map(|proxy| make(Some(proxy))))
        };
        let (https, http) = (through(&proxies.https)?, through(&proxies.http)?);
        Ok(Self { proxies: proxies.clone(), direct: make(None), https, http })
    }

    /// The one for an address.
    pub(super) fn of(&self, uri: &Uri) -> &Agent {
        let proxied = if uri.scheme_str() == Some("https") { &self.https } else { &self.http };
        proxied.as_ref().filter(|_| !self.proxies.is_excepted(uri)).unwrap_or(&self.direct)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_excepted_by_name_suffix_and_port() {
        for (entry, address, expected) in [
            ("example.org", "https://example.org/a", true),
            ("example.org", "https://cdn.Example.org/a", true),
            (".example.org", "https://cdn.example.org", true),
            ("*.example.org", "https://cdn.example.org", true),
            ("example.org", "https://badexample.org", false),
            ("cdn.example.org", "https://example.org", false),
            (" example.org ", "https://example.org", true),
            ("example.org:443", "https://example.org", true),
            ("example.org:80", "https://example.org", false),
            ("127.0.0.1", "http://127.0.0.1:8080", true),
            ("127.0.0.1:8080", "http://127.0.0.1:8080", true),
            ("::1", "http://[::1]:8080", true),
            ("[::1]:8080", "http://[::1]:8080", true),
            ("[::1]:80", "http://[::1]:8080", false),
            ("*", "https://example.org", true),
            ("", "https://example.org", false),
        ] {
            let proxies = Proxies::default().with_except(vec![entry.to_owned()]);
            assert_eq!(proxies.is_excepted(&address.parse().unwrap()), expected, "{entry:?} and {address}");
        }
    }
}
