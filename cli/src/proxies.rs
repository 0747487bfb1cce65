//! The environment's proxies; the library itself reads no environment.

use std::env;

use gve::http::Proxies;

/// The proxies that `curl` would take: `https_proxy`, `http_proxy` and `all_proxy`, but for the hosts in
/// `no_proxy`, each in lower case or else in upper. One that is there and empty says that there is none.
pub fn from_environment() -> Proxies {
    proxies_of(|name| env::var(name).ok())
}

fn proxies_of(variable: impl Fn(&str) -> Option<String>) -> Proxies {
    let either = |name: &str| variable(name).or_else(|| variable(&name.to_ascii_uppercase()));
    let of_scheme =
        |name: &str| either(name).or_else(|| either("all_proxy")).filter(|address| !address.is_empty());
    let except = either("no_proxy").unwrap_or_default();
    let hosts = except.split(|c: char| c == ',' || c.is_whitespace()).filter(|host| !host.is_empty());
    Proxies::default()
        .with_https(of_scheme("https_proxy"))
        .with_http(of_scheme("http_proxy"))
        .with_except(hosts.map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_read_as_curl_reads_them() {
        for (variables, https, http, except) in [
            (&[][..], None, None, &[][..]),
            (&[("HTTPS_PROXY", "a:1")], Some("a:1"), None, &[]),
            (&[("https_proxy", "a:1"), ("HTTPS_PROXY", "b:1")], Some("a:1"), None, &[]),
            (&[("ALL_PROXY", "a:1"), ("http_proxy", "b:1")], Some("a:1"), Some("b:1"), &[]),
            (&[("all_proxy", "a:1"), ("HTTP_PROXY", "")], Some("a:1"), None, &[]),
            (&[("http_proxy", ""), ("HTTP_PROXY", "a:1")], None, None, &[]),
            (&[("NO_PROXY", " a, .b c,,10.0.0.0/8 ")], None, None, &["a", ".b", "c", "10.0.0.0/8"]),
            (&[("no_proxy", ""), ("NO_PROXY", "a")], None, None, &[]),
        ] {
            let find =
                |name: &str| variables.iter().find(|(other, _)| *other == name).map(|(_, value)| *value);
            let proxies = proxies_of(|name| find(name).map(str::to_owned));
            let expected = Proxies::default()
                .with_https(https.map(str::to_owned))
                .with_http(http.map(str::to_owned))
                .with_except(except.iter().map(|host| (*host).to_owned()).collect());
            assert_eq!(proxies, expected, "{variables:?}");
        }
    }
}
