//! Words for what the world knows, and what English does to them.

use super::claim::{Relation, Thing};
use super::scene::{Action, Look};
use super::sprites;
use super::vocabulary::{CameraMove, Colour, Texture};

impl Relation {
    /// Ways to say it.
    pub(super) fn words(self) -> &'static [&'static str] {
        match self {
            Self::LeftOf => &["to the left of", "left of"],
            Self::RightOf => &["to the right of", "right of"],
            Self::Above => &["above", "over"],
            Self::Below => &["below", "under"],
        }
    }
}

impl Action {
    /// Ways to say it: a verb and what follows it.
    pub(super) fn words(self) -> [(&'static str, String); 2] {
        let with = |verb, rest: &str| (verb, rest.to_owned());
        match self {
            Self::Move(direction) => {
                let way = direction.word();
                [("move", format!(" {way}")), ("go", format!(" {way}"))]
            }
            Self::Spin => [with("spin", ""), with("rotate", "")],
            Self::Grow => [with("grow", ""), with("become", " larger")],
            Self::Shrink => [with("shrink", ""), with("become", " smaller")],
            Self::Appear => [with("appear", ""), with("fade", " in")],
            Self::Vanish => [with("disappear", ""), with("fade", " away")],
            Self::Turn(colour) => {
                [("turn", format!(" {}", colour.word())), ("become", format!(" {}", colour.word()))]
            }
            Self::Jump => [with("jump", ""), with("hop", " up and down")],
        }
    }
}

impl CameraMove {
    pub(super) fn noun(self) -> &'static str {
        match self {
            Self::PanLeft => "pan left",
            Self::PanRight => "pan right",
            Self::TiltUp => "tilt up",
            Self::TiltDown => "tilt down",
            Self::ZoomIn => "zoom in",
            Self::ZoomOut => "zoom out",
            Self::RollClockwise => "roll clockwise",
            Self::RollCounterclockwise => "roll counterclockwise",
        }
    }
}

/// "red striped circle", "elephants".
pub(super) fn name(look: Look, count: usize) -> String {
    let singular = match look {
        Look::Sprite(number) => sprites::name(number).to_owned(),
        Look::Shape(shape, colour, texture) => join_words(colour, texture, shape.word()),
    };
    if count == 1 { singular } else { plural(&singular) }
}

fn join_words(colour: Colour, texture: Texture, shape: &str) -> String {
    match texture {
        Texture::Plain => format!("{} {shape}", colour.word()),
        _ => format!("{} {} {shape}", colour.word(), texture.word()),
    }
}

pub(super) fn indefinite(thing: Thing) -> String {
    let name = name(thing.look, thing.count);
    if thing.count == 1 { article(&name) } else { format!("{} {name}", number(thing.count)) }
}

pub(super) fn definite(thing: Thing) -> String {
    format!("the {}", name(thing.look, thing.count))
}

pub(super) fn article(noun: &str) -> String {
    // The words of the world that begin with u are said with a y: unicorn.
    let article =
        if noun.starts_with(['a', 'e', 'i', 'o']) || noun.starts_with("umbrella") { "an" } else { "a" };
    format!("{article} {noun}")
}

pub(super) fn number(count: usize) -> &'static str {
    const WORDS: [&str; 13] = [
        "no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
        "twelve",
    ];
    WORDS.get(count).copied().unwrap_or("many")
}

pub(super) fn plural(noun: &str) -> String {
    const IRREGULAR: &[(&str, &str)] = &[("jellyfish", "jellyfish"), ("volcano", "volcanoes")];
    let (rest, last) =
        noun.rsplit_once(' ').map_or(("", noun), |(rest, last)| (&noun[..rest.len() + 1], last));
    if let Some((_, irregular)) = IRREGULAR.iter().find(|(singular, _)| *singular == last) {
        return format!("{rest}{irregular}");
    }
    if ["s", "x", "ch", "sh"].iter().any(|end| noun.ends_with(end)) {
        format!("{noun}es")
    } else if let Some(stem) = noun.strip_suffix('y').filter(|stem| !stem.ends_with(['a', 'e', 'o'])) {
        format!("{stem}ies")
    } else {
        format!("{noun}s")
    }
}

pub(super) fn third_person(verb: &str) -> String {
    if verb.ends_with('o') { format!("{verb}es") } else { format!("{verb}s") }
}

pub(super) fn participle(verb: &str) -> String {
    match verb {
        "spin" => "spinning".to_owned(),
        verb => format!("{}ing", verb.strip_suffix('e').unwrap_or(verb)),
    }
}

/// "a, b and c".
pub(super) fn enumerate(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [only] => only.clone(),
        [front @ .., last] => format!("{} and {last}", front.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_take_the_forms_they_should() {
        let plurals = [
            ("fox", "foxes"),
            ("cherry blossom", "cherry blossoms"),
            ("butterfly", "butterflies"),
            ("toy", "toys"),
            ("jellyfish", "jellyfish"),
            ("dress", "dresses"),
            ("hot dog", "hot dogs"),
        ];
        for (singular, expected) in plurals {
            assert_eq!(plural(singular), expected);
        }
        assert_eq!([article("owl"), article("cat"), article("umbrella")], ["an owl", "a cat", "an umbrella"]);
        assert_eq!([third_person("go"), third_person("fade")], ["goes", "fades"]);
        assert_eq!(
            [participle("spin"), participle("fade"), participle("jump")],
            ["spinning", "fading", "jumping"]
        );
        let items = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(
            [enumerate(&items), enumerate(&items[..2]), enumerate(&items[..1])],
            ["a, b and c", "a and b", "a"]
        );
    }
}
