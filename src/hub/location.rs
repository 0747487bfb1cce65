//! Addresses: where a redirect leads, and whose it is.

use ureq::http::Uri;

/// The address that `location` is, seen from `base` (RFC 3986, section 5.2); `None` if it is none of http or
/// https.
pub(super) fn resolved(base: &Uri, location: &str) -> Option<Uri> {
    let location = location.split('#').next().unwrap_or_default();
    let scheme = base.scheme_str()?;
    let absolute = if has_scheme(location) {
        location.to_owned()
    } else if location.starts_with("//") {
        format!("{scheme}:{location}")
    } else {
        let authority = base.authority()?.as_str();
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        let (path, query) =
            location.split_once('?').map_or((location, None), |(path, query)| (path, Some(query)));
        let (path, query) = match path {
            "" => (base.path().to_owned(), query.or(if location.is_empty() { base.query() } else { None })),
            path if path.starts_with('/') => (without_dots(path), query),
            path => {
                let folder = base.path().rsplit_once('/').map_or("", |(folder, _)| folder);
                (without_dots(&format!("{folder}/{path}")), query)
            }
        };
        let query = query.map_or(String::new(), |query| format!("?{query}"));
        format!("{scheme}://{host}{path}{query}")
    };
    let uri: Uri = absolute.parse().ok()?;
    let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
    (is_web && uri.host().is_some_and(|host| !host.is_empty())).then_some(uri)
}

fn has_scheme(location: &str) -> bool {
    let Some((scheme, _)) = location.split_once(':') else { return false };
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

/// `path`, which begins with a slash, without `.` and `..`.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path[1..].split('/') {
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            segment => kept.push(segment),
        }
    }
    if path.ends_with("/.") || path.ends_with("/..") {
        kept.push("");
    }
    format!("/{}", kept.join("/"))
}

/// Whether `uri` is an address of the server that `hub` is on, which may be given its secrets. The same
/// server by https, where the hub was named by http, is.
pub(super) fn is_origin_of(hub: &Uri, uri: &Uri) -> bool {
    let (Some(hub_host), Some(host)) = (hub.host(), uri.host()) else { return false };
    let port = |uri: &Uri| uri.port_u16().or_else(|| default_port(uri));
    let same = hub.scheme() == uri.scheme() && port(hub) == port(uri);
    let upgraded = (port(hub), port(uri)) == (Some(80), Some(443)) && uri.scheme_str() == Some("https");
    hub_host.eq_ignore_ascii_case(host) && (same || upgraded)
}

fn default_port(uri: &Uri) -> Option<u16> {
    match uri.scheme_str()? {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_seen_from_where_they_were_said() {
        let base: Uri = "https://user:pass@hub:8443/a/b/c?q=1".parse().unwrap();
        for (location, expected) in [
            ("https://cdn/x?y=1#z", Some("https://cdn/x?y=1")),
            ("HTTP://cdn/x", Some("http://cdn/x")),
            ("//cdn/x", Some("https://cdn/x")),
            ("/x/./y/../z?w", Some("https://hub:8443/x/z?w")),
            ("d", Some("https://hub:8443/a/b/d")),
            ("../d?e=f", Some("https://hub:8443/a/d?e=f")),
            ("../../../../d", Some("https://hub:8443/d")),
            ("..", Some("https://hub:8443/a/")),
            ("?r=2", Some("https://hub:8443/a/b/c?r=2")),
            ("", Some("https://hub:8443/a/b/c?q=1")),
            ("file:///etc/passwd", None),
            ("ftp://cdn/x", None),
            ("javascript:x", None),
            ("data:,x", None),
            ("https://", None),
            ("https:///x", None),
            ("https://a b/", None),
        ] {
            let got = resolved(&base, location).map(|uri| uri.to_string());
            assert_eq!(got.as_deref(), expected, "{location}");
        }
    }

    #[test]
    fn secrets_are_for_the_hub_alone() {
        for (hub, uri, expected) in [
            ("https://hub", "https://hub/x", true),
            ("https://hub", "https://HUB:443/x", true),
            ("http://u:p@hub", "http://hub/x", true),
            ("http://hub", "https://hub/x", true),
            ("https://hub", "http://hub/x", false),
            ("http://hub:8080", "https://hub/x", false),
            ("http://hub:8080", "http://hub:8081/x", false),
            ("https://hub", "https://cdn.hub/x", false),
            ("https://hub", "https://hub.evil/x", false),
            ("https://hub", "https://hub@evil/x", false),
            ("http://127.0.0.1:1", "http://localhost:1/", false),
        ] {
            assert_eq!(is_origin_of(&hub.parse().unwrap(), &uri.parse().unwrap()), expected, "{hub} {uri}");
        }
    }
}
