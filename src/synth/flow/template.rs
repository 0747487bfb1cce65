use std::path::Path;

use crate::synth::SynthError;

/// A text with `N` slots such as `{duration}`; `{{` and `}}` are braces.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Template<const N: usize> {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq)]
enum Piece {
    Text(String),
    /// Place of the slot in the list of names, below `N`.
    Slot(usize),
}

impl<const N: usize> Template<N> {
    /// Reads a template that may use the slots `names`, each any number of times. `path` is for errors.
    ///
    /// # Errors
    /// [`SynthError::Content`] with the line of an unknown slot or a brace that stands alone.
    pub(super) fn parse(text: &str, path: &Path, names: [&str; N]) -> Result<Self, SynthError> {
        let mut pieces = Vec::new();
        for (number, line) in (1..).zip(text.split_inclusive('\n')) {
            let fault = |reason: String| SynthError::Content { path: path.to_owned(), line: number, reason };
            parse_line(line, &names, &mut pieces).map_err(fault)?;
        }
        Ok(Self { pieces })
    }

    /// The text with `values` in the slots, in the order of their names.
    pub(super) fn render(&self, values: [&str; N]) -> String {
        let pieces = self.pieces.iter().map(|piece| match piece {
            Piece::Text(text) => text.as_str(),
            Piece::Slot(slot) => values[*slot],
        });
        pieces.collect::<String>().trim_end().to_owned()
    }
}

fn parse_line(mut rest: &str, names: &[&str], pieces: &mut Vec<Piece>) -> Result<(), String> {
    while let Some(at) = rest.find(['{', '}']) {
        let (text, tail) = rest.split_at(at);
        pieces.push(Piece::Text(text.to_owned()));
        let (brace, after) = tail.split_at(1);
        if let Some(after) = after.strip_prefix(brace) {
            pieces.push(Piece::Text(brace.to_owned()));
            rest = after;
            continue;
        }
        let Some((name, after)) = after.split_once('}').filter(|_| brace == "{") else {
            return Err(format!("a single `{brace}`: write `{brace}{brace}` for a brace"));
        };
        let slot = names.iter().position(|known| *known == name);
        pieces.push(Piece::Slot(slot.ok_or_else(|| unknown(name, names))?));
        rest = after;
    }
    pieces.push(Piece::Text(rest.to_owned()));
    Ok(())
}

fn unknown(name: &str, names: &[&str]) -> String {
    let known: Vec<String> = names.iter().map(|name| format!("{{{name}}}")).collect();
    format!("unknown slot `{{{name}}}`: this template may use {}", known.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Template<2>, String> {
        Template::parse(text, Path::new("t.txt"), ["what", "seconds"]).map_err(|e| e.to_string())
    }

    #[test]
    fn slots_are_filled_and_doubled_braces_are_braces() {
        let template = parse("{what} of {seconds} s,\n{{\"{what}\"}}: {{}}\n").unwrap();
        assert_eq!(template.render(["a {clip}", "3"]), "a {clip} of 3 s,\n{\"a {clip}\"}: {}");
        assert_eq!(parse("").unwrap().render(["", ""]), "");
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        for (text, expected) in [
            ("a\n{length}", "t.txt:2: unknown slot `{length}`: this template may use {what}, {seconds}"),
            ("{}", "t.txt:1: unknown slot `{}`: this template may use {what}, {seconds}"),
            ("{ what }", "t.txt:1: unknown slot `{ what }`: this template may use {what}, {seconds}"),
            ("a\n\nb {what", "t.txt:3: a single `{`: write `{{` for a brace"),
            ("{what\n}", "t.txt:1: a single `{`: write `{{` for a brace"),
            ("what}", "t.txt:1: a single `}`: write `}}` for a brace"),
        ] {
            assert_eq!(parse(text).unwrap_err(), expected);
        }
    }
}
