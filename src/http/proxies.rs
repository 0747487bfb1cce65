//! Through whom requests go.

use std::fmt::{self, Debug, Formatter};
use std::net::IpAddr;

use ::http::Uri;

use super::redacted_url;
use crate::options::with_fields;

/// Schemes of proxies, without a scheme first.
const SCHEMES: [&str; 6] = ["http", "https", "socks4", "socks4a", "socks5", "socks5h"];

/// Proxies for requests, as `curl` chooses them: by the scheme of an address, unless its host is excepted. The
/// default is none. This machine itself (`localhost`, `127.0.0.1`, `::1`) is never asked through one.
///
/// The address of a proxy is one such as `http://user:password@proxy.example:3128` or
/// `socks5h://127.0.0.1:1080`; without a scheme it is `http`.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Proxies {
    /// For https addresses.
    pub https: Option<String>,
    /// For http addresses.
    pub http: Option<String>,
    /// Hosts that are asked directly: a name with all below it, as `example.org`, `.example.org` or
    /// `*.example.org`; an IP address, or a range such as `10.0.0.0/8`; each with a port or without; `*` is all
    /// there are.
    pub except: Vec<String>,
}

impl Debug for Proxies {
    /// Without passwords.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { https, http, except } = self;
        let shown = |address: &Option<String>| address.as_deref().map(redacted_url);
        f.debug_struct("Proxies")
            .field("https", &shown(https))
            .field("http", &shown(http))
            .field("except", except)
            .finish()
    }
}

with_fields!(Proxies {
    with_https(https: Option<String>),
    with_http(http: Option<String>),
    with_except(except: Vec<String>),
});

/// What should be the address of a proxy is none. It is shown without the password.
#[derive(Debug, thiserror::Error)]
#[error("`{address}` is no address of a proxy, expected {EXPECTED_PROXY}")]
#[non_exhaustive]
pub struct ProxyError {
    /// What was given.
    pub address: String,
}

/// What the address of a proxy looks like.
pub(crate) const EXPECTED_PROXY: &str = "one such as http://proxy.example:3128 or socks5h://127.0.0.1:1080";

impl Proxies {
    /// The proxy that a request to `url` goes through, with its scheme; `None`: the host is asked directly.
    ///
    /// # Errors
    /// [`ProxyError`] where that proxy's address is none.
    pub fn of(&self, url: &str) -> Result<Option<String>, ProxyError> {
        let Ok(uri) = url.parse::<Uri>() else { return Ok(None) };
        let proxy = if uri.scheme_str() == Some("https") { &self.https } else { &self.http };
        match proxy {
            Some(address) if !self.is_direct(&uri) => with_scheme(address).map(Some),
            _ => Ok(None),
        }
    }

    /// The addresses that are set.
    pub(super) fn addresses(&self) -> impl Iterator<Item = &str> {
        [&self.https, &self.http].into_iter().flatten().map(String::as_str)
    }

    fn is_direct(&self, uri: &Uri) -> bool {
        let Some(host) = uri.host().map(bare) else { return true };
        let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
        is_this_machine(&host) || self.except.iter().any(|entry| matches(entry.trim(), &host, port))
    }
}

/// The address of a proxy with its scheme.
fn with_scheme(address: &str) -> Result<String, ProxyError> {
    let wrong = || ProxyError { address: redacted_url(address) };
    let uri: Uri = address.parse().map_err(|_| wrong())?;
    if uri.host().is_none_or(str::is_empty) {
        return Err(wrong());
    }
    match uri.scheme_str() {
        None => Ok(format!("{}://{address}", SCHEMES[0])),
        Some("socks") => Ok(address.replacen("socks", "socks5", 1)),
        Some(scheme) if SCHEMES.contains(&scheme) => Ok(address.to_owned()),
        Some(_) => Err(wrong()),
    }
}

/// A host in lower case, without the brackets of an IPv6 address and without the dot that ends a full name.
fn bare(host: &str) -> String {
    host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_ascii_lowercase()
}

/// No proxy leads here: its own machine would answer.
fn is_this_machine(host: &str) -> bool {
    match host.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
        Ok(ip) => ip.is_loopback() || ip.is_unspecified(),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

/// Whether `entry` means a host, as [`bare`] gives it.
fn matches(entry: &str, host: &str, port: u16) -> bool {
    if entry == "*" {
        return true;
    }
    let (name, of_port) = match entry.rsplit_once(':').map(|(name, port)| (name, port.parse().ok())) {
        Some((name, Some(port))) if !name.contains(':') || name.ends_with(']') => (name, Some(port)),
        _ => (entry, None),
    };
    let name = bare(name.strip_prefix('*').unwrap_or(name).trim_start_matches('.'));
    let is_meant = match host.parse::<IpAddr>() {
        Ok(ip) => is_in_range(ip, &name),
        Err(_) => host == name || host.strip_suffix(&name).is_some_and(|above| above.ends_with('.')),
    };
    !name.is_empty() && is_meant && of_port.is_none_or(|of_port: u16| of_port == port)
}

/// Whether an address is `range`, or begins with as many bits of it as it says behind a slash.
fn is_in_range(ip: IpAddr, range: &str) -> bool {
    let (start, length) = range.split_once('/').unwrap_or((range, "128"));
    let (Ok(start), Ok(length)) = (start.parse::<IpAddr>(), length.parse::<u32>()) else { return false };
    // From the highest bit on.
    let bits = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => u128::from(ip.to_bits()) << 96,
        IpAddr::V6(ip) => ip.to_bits(),
    };
    // All 128 of them may be of no matter, and are not shifted out at once.
    let differing = (bits(ip) ^ bits(start)).checked_shr(128_u32.saturating_sub(length)).unwrap_or(0);
    ip.is_ipv4() == start.is_ipv4() && differing == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(address: &str) -> Proxies {
        Proxies::default().with_https(Some(address.to_owned())).with_http(Some(address.to_owned()))
    }

    #[test]
    fn passwords_are_not_shown() {
        let shown = format!("{:?}", through("http://me:hush@proxy.example:3128"));
        assert!(shown.contains("proxy.example:3128") && !shown.contains("hush"), "{shown}");
    }

    #[test]
    fn hosts_are_excepted_by_name_suffix_range_and_port() {
        for (entry, address, expected) in [
            ("example.org", "https://example.org/a", true),
            ("example.org", "https://cdn.Example.org/a", true),
            ("example.org.", "https://example.org/a", true),
            ("example.org", "https://example.org./a", true),
            (".example.org", "https://cdn.example.org", true),
            ("*.example.org", "https://cdn.example.org", true),
            ("example.org", "https://badexample.org", false),
            ("cdn.example.org", "https://example.org", false),
            (" example.org ", "https://example.org", true),
            ("example.org:443", "https://example.org", true),
            ("example.org:80", "https://example.org", false),
            ("192.0.2.1", "http://192.0.2.1:8080", true),
            ("192.0.2.1:8080", "http://192.0.2.1:8080", true),
            ("192.0.2.1:80", "http://192.0.2.1:8080", false),
            ("2.1", "http://192.0.2.1:8080", false),
            ("192.0.2.0/24", "http://192.0.2.255", true),
            ("192.0.2.128/25", "http://192.0.2.1", false),
            ("0.0.0.0/0", "http://192.0.2.1", true),
            ("::/0", "http://192.0.2.1", false),
            ("192.0.2.0/x", "http://192.0.2.1", false),
            ("192.0.2.0/24", "http://example.org", false),
            ("fd00::1", "http://[fd00::1]:8080", true),
            ("[fd00::1]:8080", "http://[fd00:0::1]:8080", true),
            ("[fd00::1]:80", "http://[fd00::1]:8080", false),
            ("fd00::/8", "http://[fd12::1]:8080", true),
            ("fd00::/8", "http://[fe80::1]:8080", false),
            ("*", "https://example.org", true),
            ("", "https://example.org", false),
        ] {
            let proxies = through("proxy:1").with_except(vec![entry.to_owned()]);
            assert_eq!(proxies.of(address).unwrap().is_none(), expected, "{entry:?} and {address}");
        }
    }

    #[test]
    fn this_machine_is_asked_directly() {
        for (address, expected) in [
            ("http://localhost:8000/v1", true),
            ("https://a.LOCALHOST", true),
            ("http://127.0.0.1:8000", true),
            ("http://127.9.0.1", true),
            ("http://0.0.0.0:8000", true),
            ("http://[::1]:8000", true),
            ("http://[::ffff:127.0.0.1]", true),
            ("http://localhost.example.org", false),
            ("http://128.0.0.1", false),
            ("http://[::2]", false),
        ] {
            assert_eq!(through("proxy:1").of(address).unwrap().is_none(), expected, "{address}");
        }
    }

    #[test]
    fn the_scheme_of_an_address_chooses() {
        let proxies = Proxies::default().with_https(Some("https://a:1".to_owned()));
        assert_eq!(proxies.of("https://example.org").unwrap().as_deref(), Some("https://a:1"));
        assert_eq!(proxies.of("http://example.org").unwrap(), None);
        assert_eq!(Proxies::default().of("https://example.org").unwrap(), None);
    }

    #[test]
    fn a_proxy_has_a_scheme_that_is_spoken() {
        for (address, expected) in [
            ("http://proxy:1", Some("http://proxy:1")),
            ("socks5h://user:p%40@proxy", Some("socks5h://user:p%40@proxy")),
            ("socks://proxy:1", Some("socks5://proxy:1")),
            ("user:pass@proxy:1", Some("http://user:pass@proxy:1")),
            ("proxy", Some("http://proxy")),
            ("gopher://user:pass@proxy:1", None),
            ("", None),
            ("/proxy", None),
            ("http://", None),
        ] {
            match (through(address).of("http://example.org"), expected) {
                (Ok(proxy), expected) => assert_eq!(proxy.as_deref(), expected, "{address}"),
                (Err(error), None) => assert!(!error.to_string().contains("pass"), "{error}"),
                (Err(error), Some(_)) => panic!("{address}: {error}"),
            }
        }
    }
}
