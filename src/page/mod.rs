//! What pages that work offline are made of: text as HTML, and small pictures of inputs as `data:` URIs.

mod pictures;
mod thumbnail;

pub(crate) use pictures::{Look, pictures};
pub use thumbnail::thumbnail;

/// The style that all pages of this program share: light or dark as the reader has it.
pub(crate) const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1b1f24;--faint:#8b949e;--line:#d8dee4;--ground:#fff}\
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--faint:#7d8590;--line:#30363d;--ground:#0d1117}}\
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--ground);margin:2em auto;max-width:1180px;padding:0 1em}\
h1{font-size:1.5em;margin:0}h2{font-size:1em;margin:0 0 .2em}p{margin:.3em 0 1.2em;color:var(--faint)}\
table{border-collapse:collapse;font-variant-numeric:tabular-nums;margin-top:2em;display:block;overflow-x:auto}\
td,th{padding:.15em .8em;text-align:right;border-bottom:1px solid var(--line);font-weight:normal}th{color:var(--faint)}";

/// Any text as that of an element or of a quoted attribute.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_becomes_text() {
        assert_eq!(escaped("</script>\"'&"), "&lt;/script&gt;&quot;&#39;&amp;");
    }
}
