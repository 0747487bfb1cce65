//! What must not be shown: passwords, keys and signatures, in addresses and in what servers say.

use std::fmt;

use super::Proxies;

/// What stands for something that is not shown.
const HIDDEN: &str = "***";
/// A secret shorter than this is hidden only where it is a word of its own: `x` as a key must not blot out
/// every x.
const SHORT: usize = 4;

/// Texts that no message may show. Servers repeat what they were sent, and errors of clients name addresses.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets(Vec<String>);

impl Secrets {
    /// Adds a key, token or password.
    #[must_use]
    pub fn and(mut self, secret: &str) -> Self {
        let secret = secret.trim();
        if !secret.is_empty() && !self.0.iter().any(|known| known == secret) {
            self.0.push(secret.to_owned());
            // The longest first: no end of it is left over where another secret is its beginning.
            self.0.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        }
        self
    }

    /// Adds what [`redacted_url`] hides of `url`, as it stands there and decoded.
    #[must_use]
    pub fn and_url(self, url: &str) -> Self {
        let (_, user_info, rest) = split_user_info(url);
        let password = user_info.split_once(':').map_or(user_info, |(_, password)| password);
        let (path, fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let query = path.split_once('?').map_or("", |(_, query)| query);
        let values = query.split('&').map(|item| item.split_once('=').map_or(item, |(_, value)| value));
        [user_info, password, fragment].into_iter().chain(values).fold(self, |secrets, secret| {
            let decoded = percent_decoded(secret);
            secrets.and(secret).and(&decoded)
        })
    }

    /// Adds what opens the proxies.
    #[must_use]
    pub fn and_proxies(self, proxies: &Proxies) -> Self {
        proxies.addresses().fold(self, Self::and_url)
    }

    /// `text` with `***` for each secret, and with its addresses as [`redacted_url`] shows them.
    pub fn redact(&self, text: &str) -> String {
        let text = self.0.iter().fold(text.to_owned(), |text, secret| blotted(&text, secret));
        with_redacted_urls(&text)
    }
}

/// Shows nothing but how many there are.
impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}

/// `url` as a message may show it: without the user and password, the values of its query and its fragment,
/// where keys and signatures are. What is no URL comes back as it is, unless it has such parts.
pub fn redacted_url(url: &str) -> String {
    let (scheme, user_info, rest) = split_user_info(url);
    let hidden = if user_info.is_empty() { String::new() } else { format!("{HIDDEN}@") };
    let (rest, fragment) = match rest.split_once('#') {
        Some((rest, _)) => (rest, "#***"),
        None => (rest, ""),
    };
    let Some((path, query)) = rest.split_once('?') else {
        return format!("{scheme}{hidden}{rest}{fragment}");
    };
    let items = query.split('&').map(|item| match item.split_once('=') {
        Some((name, _)) => format!("{name}={HIDDEN}"),
        // A key may be given without a name.
        None if item.is_empty() => String::new(),
        None => HIDDEN.to_owned(),
    });
    format!("{scheme}{hidden}{path}?{}{fragment}", items.collect::<Vec<_>>().join("&"))
}

/// The scheme with its slashes, user and password, and what comes after `@`.
fn split_user_info(url: &str) -> (&str, &str, &str) {
    let start = url.find("//").filter(|&at| at == 0 || url[..at].ends_with(':')).map_or(0, |at| at + 2);
    let (scheme, rest) = url.split_at(start);
    let authority = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
    let at = rest[..authority].rfind('@').or_else(|| {
        // A password with a bare `/`, `?` or `#` ends the authority early, in what should be a port.
        let port = rest[..authority].rsplit_once(':')?.1;
        let is_port = port.bytes().all(|b| b.is_ascii_digit()) || port.ends_with(']');
        if is_port { None } else { rest.rfind('@') }
    });
    match at {
        Some(at) => (scheme, &rest[..at], &rest[at + 1..]),
        None => (scheme, "", rest),
    }
}

fn with_redacted_urls(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let is_scheme = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
        let start = rest[..at]
            .rfind(|c| !is_scheme(c))
            .map_or(0, |before| before + rest[before..].chars().next().map_or(1, char::len_utf8));
        let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '`');
        let end = rest[at..].find(ends).map_or(rest.len(), |length| at + length);
        // What follows an address in a sentence.
        let url = rest[start..end].trim_end_matches([')', '.', ',', ';', ':']);
        shown.push_str(&rest[..start]);
        shown.push_str(&redacted_url(url));
        rest = &rest[start + url.len().max(at + 3 - start)..];
    }
    shown.push_str(rest);
    shown
}

fn blotted(text: &str, secret: &str) -> String {
    if secret.len() >= SHORT {
        return text.replace(secret, HIDDEN);
    }
    let mut shown = String::with_capacity(text.len());
    let mut done = 0;
    for (at, _) in text.match_indices(secret) {
        let end = at + secret.len();
        let is_word =
            !text[..at].ends_with(char::is_alphanumeric) && !text[end..].starts_with(char::is_alphanumeric);
        if is_word {
            shown.push_str(&text[done..at]);
            shown.push_str(HIDDEN);
            done = end;
        }
    }
    shown.push_str(&text[done..]);
    shown
}

/// `%41` as `A`; what is no such code stays.
fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match code.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if bytes[at] == b'%' => {
                decoded.push(byte);
                at += 3;
            }
            _ => {
                decoded.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_without_what_opens_them() {
        for (url, expected) in [
            ("https://huggingface.co/a/b", "https://huggingface.co/a/b"),
            ("http://user:pass@host:8080/v1", "http://***@host:8080/v1"),
            ("http://hf_token@host/", "http://***@host/"),
            ("http://u:p@ss@host/x", "http://***@host/x"),
            ("http://u:p/a?s#s@host/x", "http://***@host/x"),
            ("user:pass@host/x", "***@host/x"),
            ("//user:pass@host/x", "//***@host/x"),
            ("http://[::1]:80/a@b", "http://[::1]:80/a@b"),
            ("http://[::1]/a@b", "http://[::1]/a@b"),
            (
                "https://cdn/f?X-Amz-Signature=abc&X-Amz-Date=1&key",
                "https://cdn/f?X-Amz-Signature=***&X-Amz-Date=***&***",
            ),
            ("https://cdn/f?&a=b=c", "https://cdn/f?&a=***"),
            ("https://host/f#access_token=abc", "https://host/f#***"),
            ("/relative?token=abc", "/relative?token=***"),
            ("models/tiny", "models/tiny"),
            ("", ""),
        ] {
            assert_eq!(redacted_url(url), expected, "{url}");
        }
    }

    #[test]
    fn secrets_are_blotted_out_wherever_they_stand() {
        let secrets = Secrets::default().and("sk-123456").and("sk-123456-long").and("k").and("");
        for (text, expected) in [
            ("wrong key sk-123456!", "wrong key ***!"),
            ("wrong key sk-123456-long", "wrong key ***"),
            ("Bearer sk-123456sk-123456", "Bearer ******"),
            ("key k, k", "key ***, ***"),
            (
                "error sending request for url (http://a:b@h/v1?k=v)",
                "error sending request for url (http://***@h/v1?***=***)",
            ),
            ("see \"https://h/?a=b\".", "see \"https://h/?a=***\"."),
            ("ä://x ö http://u:p@h, and s3://a:b@c?d=e", "ä://x ö http://***@h, and s3://***@c?d=***"),
            ("://", "://"),
        ] {
            assert_eq!(secrets.redact(text), expected, "{text}");
        }
        assert_eq!(format!("{secrets:?}"), "Secrets(3)");
    }

    #[test]
    fn the_parts_of_an_address_are_secrets_of_their_own() {
        let secrets =
            Secrets::default().and_url("http://user:p%40ss@host/v1?api-key=abc%2Fdef&flag#fragment");
        for text in ["p%40ss", "p@ss", "user:p@ss", "abc%2Fdef", "abc/def", "fragment"] {
            assert_eq!(secrets.redact(&format!("no {text} here")), "no *** here", "{text}");
        }
        assert_eq!(secrets.redact("user at host, api-key"), "user at host, api-key");
    }
}
