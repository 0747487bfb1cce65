//! Reads captions of the world as a person would, and looks whether they are so.
//!
//! It knows the words and the grammar of captions, and of scenes nothing but what can be seen: where things
//! are in the picture over time, how large, how visible and how turned. It shares no code with the captions
//! or their claims.

mod change;
mod seen;

use std::collections::BTreeMap;

use gve::synth::world::{Look, Scene, Style, WIDTH};

pub(crate) use change::fault_of_change;
use seen::{check, is_event, names, rises, way};

/// Everything that is wrong with what `caption` says of `scene`.
pub(crate) fn faults(scene: &Scene, style: Style, caption: &str) -> Vec<String> {
    let reader = Reader { scene };
    match style {
        Style::Keywords => caption.split(", ").filter_map(|word| reader.keyword(word).err()).collect(),
        Style::Abstract => reader.kinds(caption).err().into_iter().collect(),
        _ => caption.split(". ").filter_map(|sentence| reader.sentence(sentence).err()).collect(),
    }
}

/// Everything that is wrong with what `caption` says of `scenes`, one behind the other.
pub(crate) fn faults_of_scenes(scenes: &[Scene], style: Style, caption: &str) -> Vec<String> {
    let joint = if style == Style::Keywords { "; " } else { " Then: " };
    let parts: Vec<&str> = caption.split(joint).collect();
    if parts.len() != scenes.len() {
        return vec![format!("{} scenes are told of, there are {}", parts.len(), scenes.len())];
    }
    scenes.iter().zip(parts).flat_map(|(scene, part)| faults(scene, style, part)).collect()
}

const NUMBERS: [&str; 13] =
    ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"];

struct Reader<'a> {
    scene: &'a Scene,
}

type Said = Result<(), String>;

impl Reader<'_> {
    fn sentence(&self, sentence: &str) -> Said {
        let text = sentence.trim_end_matches('.').to_lowercase();
        self.numbers(&text)?;
        if let Some(ground) = text.strip_prefix("the background is ") {
            return self.ground(ground);
        }
        if ["nothing moves", "everything stays as it is", "nothing happens"].contains(&text.as_str()) {
            return check(self.movers().is_empty(), &text);
        }
        if let Some(moves) = text.strip_prefix("the camera ").or_else(|| text.strip_prefix("the view ")) {
            return self.camera(moves);
        }
        if let Some(order) = text.strip_prefix("first ") {
            return self.in_order(&order.split(", then ").collect::<Vec<_>>());
        }
        if let Some((first, second)) = text.split_once(" before ") {
            return self.in_order(&[first, second]);
        }
        if let Some((second, first)) = text.split_once(" after ") {
            return self.in_order(&[first, second]);
        }
        if self.relation(&text)? || self.place(&text)? {
            return Ok(());
        }
        // A sentence with one event, or with none at all; the ground and other things may follow.
        let head = text.split(" in front of ").next().unwrap_or(&text);
        let head = [" together with ", " near ", " with "]
            .iter()
            .fold(head, |head, with| head.split(with).next().unwrap_or(head));
        if is_event(head) {
            return self.event(head).map(drop);
        }
        // What is there, and no more; `numbers` has judged it.
        let leads = ["there is ", "there are ", "the video shows ", "one can see ", "behind is "];
        let things = leads.iter().find_map(|lead| text.strip_prefix(lead)).unwrap_or(&text);
        let counted =
            ["a ", "an ", "two ", "three ", "four "].iter().any(|number| things.starts_with(number));
        if counted { Ok(()) } else { Err(format!("unread: {text}")) }
    }

    /// Every "three red circles", "a large star" and "an elephant" is about things that are there, in that
    /// number, and every background is as it is said to be.
    fn numbers(&self, text: &str) -> Said {
        const ARTICLES: [(&str, usize); 5] = [("a", 1), ("an", 1), ("two", 2), ("three", 3), ("four", 4)];
        let words: Vec<&str> = text.split([' ', ',']).filter(|word| !word.is_empty()).collect();
        for (at, word) in words.iter().enumerate() {
            let Some((_, count)) = ARTICLES.iter().find(|(article, _)| article == word) else { continue };
            let rest = &words[at + 1..];
            if let Some(end) = rest.iter().take(4).position(|word| *word == "background") {
                self.ground(&rest[..end].join(" "))?;
                continue;
            }
            let large = rest.first() == Some(&"large");
            let name = rest[usize::from(large)..].join(" ");
            let there = self.scene.actors.iter().any(|actor| {
                actor.count == *count && (actor.large || !large) && names(actor.look, &name, *count > 1)
            });
            check(there, &format!("{word} {}", rest.join(" ")))?;
        }
        Ok(())
    }

    fn relation(&self, text: &str) -> Result<bool, String> {
        const WORDS: [(&str, usize, bool); 8] = [
            ("to the left of", 0, true),
            ("to the right of", 0, false),
            ("left of", 0, true),
            ("right of", 0, false),
            ("above", 1, true),
            ("over", 1, true),
            ("below", 1, false),
            ("under", 1, false),
        ];
        let (times, text) = match (text.strip_prefix("at first "), text.strip_prefix("in the end ")) {
            (Some(rest), _) => (vec![0.0], rest),
            (_, Some(rest)) => (vec![1.0], rest),
            _ => (self.times().collect(), text),
        };
        for (words, axis, before) in WORDS {
            let sides = if let Some(rest) = text.strip_prefix(&format!("{words} ")) {
                [" is ", " are "].iter().find_map(|verb| rest.split_once(verb)).map(|(b, a)| (a, b))
            } else {
                [" is ", " are "].iter().find_map(|verb| text.split_once(&format!("{verb}{words} ")))
            };
            let Some((a, b)) = sides else { continue };
            let (a, b) = (self.find(a)?, self.find(b)?);
            let so = times.iter().all(|&time| {
                let gap = self.scene.on_screen(a, time)[axis] - self.scene.on_screen(b, time)[axis];
                let seen = self.is_in_view(a, time) && self.is_in_view(b, time);
                seen && (gap < 0.0) == before && gap.abs() > 15.0
            });
            return check(so, text).map(|()| true);
        }
        Ok(false)
    }

    fn place(&self, text: &str) -> Result<bool, String> {
        for (row, top) in [("top", true), ("bottom", false)] {
            for (column, word) in ["left", "centre", "right"].iter().enumerate() {
                for lead in ["at the", "in the"] {
                    let end = format!("{lead} {row} {word}");
                    let name = text.strip_suffix(&end).map(str::trim);
                    let Some(name) =
                        name.and_then(|n| n.strip_suffix(" is").or_else(|| n.strip_suffix(" are")))
                    else {
                        continue;
                    };
                    let actor = self.find(name)?;
                    let third = WIDTH as f32 / 3.0;
                    let so = self.times().all(|time| {
                        let [x, y] = self.scene.on_screen(actor, time);
                        let there = (y < 84.0) == top && (x / third).clamp(0.0, 2.9) as usize == column;
                        there && self.is_in_view(actor, time)
                    });
                    return check(so, text).map(|()| true);
                }
            }
        }
        Ok(false)
    }

    /// The times at which there is a picture.
    fn times(&self) -> impl Iterator<Item = f32> + use<> {
        let last = self.scene.frames - 1;
        (0..=last).map(move |frame| frame as f32 / last as f32)
    }

    /// Whether a good part of an actor lies within the picture.
    fn is_in_view(&self, actor: usize, time: f32) -> bool {
        let [x, y] = self.scene.on_screen(actor, time);
        x.clamp(-13.0, WIDTH as f32 + 13.0) == x && y.clamp(-13.0, 168.0 + 13.0) == y
    }

    fn in_order(&self, clauses: &[&str]) -> Said {
        let mut end = -1.0;
        for clause in clauses {
            let (from, to) = self.event(clause)?;
            check(from >= end - 1e-3, &clauses.join(", then "))?;
            end = to;
        }
        Ok(())
    }

    /// When what a clause tells begins and ends.
    fn event(&self, clause: &str) -> Result<(f32, f32), String> {
        const WORDS: [(&str, Seen); 16] = [
            ("move left", |s, a| way(s, a)[0] < -30.0),
            ("go left", |s, a| way(s, a)[0] < -30.0),
            ("move right", |s, a| way(s, a)[0] > 30.0),
            ("go right", |s, a| way(s, a)[0] > 30.0),
            ("move up", |s, a| way(s, a)[1] < -30.0),
            ("go up", |s, a| way(s, a)[1] < -30.0),
            ("move down", |s, a| way(s, a)[1] > 30.0),
            ("go down", |s, a| way(s, a)[1] > 30.0),
            ("spin", |s, a| s.pose(a, 1.0).angle.abs() > 6.0),
            ("rotate", |s, a| s.pose(a, 1.0).angle.abs() > 6.0),
            ("fade in", |s, a| s.pose(a, 0.0).opacity < 0.1 && s.pose(a, 1.0).opacity > 0.9),
            ("fade away", |s, a| s.pose(a, 1.0).opacity < 0.1 && s.pose(a, 0.0).opacity > 0.9),
            ("disappear", |s, a| s.pose(a, 1.0).opacity < 0.1 && s.pose(a, 0.0).opacity > 0.9),
            ("appear", |s, a| s.pose(a, 0.0).opacity < 0.1 && s.pose(a, 1.0).opacity > 0.9),
            ("become larger", |s, a| s.pose(a, 1.0).scale > 1.2),
            ("become smaller", |s, a| s.pose(a, 1.0).scale < 0.8),
        ];
        const MORE: [(&str, Seen); 5] = [
            ("grow", |s, a| s.pose(a, 1.0).scale > 1.2),
            ("shrink", |s, a| s.pose(a, 1.0).scale < 0.8),
            ("hop up and down", |s, a| way(s, a)[1].abs() < 1.0 && rises(s, a)),
            ("jump", |s, a| way(s, a)[1].abs() < 1.0 && rises(s, a)),
            ("turn", |_, _| true),
        ];
        for (words, seen) in WORDS.iter().chain(&MORE) {
            let (verb, rest) = words.split_once(' ').map_or((*words, ""), |(verb, rest)| (verb, rest));
            for verb in [verb.to_owned(), format!("{verb}s"), format!("{verb}es")] {
                let phrase = format!(" {verb} {rest}").trim_end().to_owned();
                let end = if *words == "turn" { None } else { clause.strip_suffix(&phrase) };
                if let Some(name) = end {
                    let actor = self.find(name)?;
                    check(seen(self.scene, actor), clause)?;
                    let (from, to) = self.activity(actor);
                    check(self.is_in_view(actor, from) && self.is_in_view(actor, to), clause)?;
                    return Ok((from, to));
                }
            }
        }
        // "the circle turns blue", "the circle becomes blue"
        for verb in [" turns ", " turn ", " becomes ", " become "] {
            if let Some((name, colour)) = clause.split_once(verb) {
                let actor = self.find(name)?;
                let turned = self.scene.pose(actor, 1.0).colour;
                let so = turned.is_some_and(|(to, progress)| to.word() == colour && progress > 0.99);
                check(so, clause)?;
                return Ok(self.activity(actor));
            }
        }
        Err(format!("unread: {clause}"))
    }

    fn camera(&self, text: &str) -> Said {
        let text = ["over", "across", "on"]
            .iter()
            .fold(text, |text, word| text.split(&format!(" {word} a")).next().unwrap_or(text));
        if ["stays still", "does not move", "is steady"].contains(&text) {
            return check(self.scene.view(0.5) == self.scene.view(1.0), text);
        }
        let moves: Vec<&str> = text.split(" then ").map(|part| part.trim_end_matches(" and")).collect();
        let share = 1.0 / moves.len() as f32;
        for (number, words) in moves.iter().enumerate() {
            let span = [0.1, 0.9].map(|part| (number as f32 + part) * share);
            let so = self.camera_moves(words, span).ok_or_else(|| format!("unread: {words}"))?;
            check(so, text)?;
        }
        Ok(())
    }

    /// Whether the camera moves so, and not otherwise, from one time to another; nothing for words it does
    /// not know.
    fn camera_moves(&self, words: &str, span: [f32; 2]) -> Option<bool> {
        const MOVES: [(&str, usize, bool); 8] = [
            ("pans left", 0, false),
            ("pans right", 0, true),
            ("tilts up", 1, false),
            ("tilts down", 1, true),
            ("zooms out", 2, false),
            ("zooms in", 2, true),
            ("rolls counterclockwise", 3, false),
            ("rolls clockwise", 3, true),
        ];
        let &(_, axis, rises) = MOVES.iter().find(|(known, ..)| *known == words)?;
        let [from, to] = span.map(|time| {
            let view = self.scene.view(time);
            [view.offset[0], view.offset[1], view.zoom, view.angle]
        });
        let so = |number: usize| match number == axis {
            true => from[number] != to[number] && (from[number] < to[number]) == rises,
            false => from[number] == to[number],
        };
        Some((0..4).all(so))
    }

    fn keyword(&self, word: &str) -> Said {
        let still = self.scene.view(0.0) == self.scene.view(1.0);
        match word {
            "still camera" => return check(still, word),
            _ if word.ends_with(" background") => return self.ground(word),
            _ => {}
        }
        // "pan left" is said of a camera that "pans left", "two red stars" and "star" of things, "spinning"
        // of one that "spins".
        if let Some((noun, way)) = ["pan ", "tilt ", "zoom ", "roll "]
            .iter()
            .find_map(|noun| Some((noun.trim_end(), word.strip_prefix(noun)?)))
        {
            return self.camera_does(&format!("{noun}s {way}"));
        }
        let many = ["two ", "three ", "four "].iter().any(|number| word.starts_with(number));
        if many {
            return self.numbers(word);
        }
        if self.scene.actors.iter().any(|actor| actor.count == 1 && names(actor.look, word, false)) {
            return Ok(());
        }
        let does = |actor: usize| {
            let (gerund, rest) = word.split_once(' ').unwrap_or((word, ""));
            let stem = gerund.trim_end_matches("ing");
            let verbs = [stem.to_owned(), format!("{stem}e"), stem[..stem.len().max(1) - 1].to_owned()];
            self.spellings(actor).iter().any(|name| {
                verbs.iter().any(|verb| self.event(format!("the {name} {verb} {rest}").trim_end()).is_ok())
            })
        };
        check((0..self.scene.actors.len()).any(does), word)
    }

    /// Whether the camera makes a movement at some time.
    fn camera_does(&self, movement: &str) -> Said {
        let halves = [[0.0, 0.5], [0.5, 1.0], [0.0, 1.0]];
        check(halves.iter().any(|span| self.camera_moves(movement, *span) == Some(true)), movement)
    }

    fn ground(&self, words: &str) -> Said {
        let ground = self.scene.ground;
        check(words.contains(ground.tone.word()) && words.contains(ground.pattern.word()), words)
    }

    fn kinds(&self, text: &str) -> Said {
        let dark = self.scene.ground.tone.rgb()[0].iter().all(|&channel| channel < 128);
        check(text.contains("in the dark") == dark, text)?;
        const MOODS: [(&str, usize); 7] = [
            ("at rest", 0),
            ("calm", 0),
            ("doing nothing", 0),
            ("one change", 1),
            ("one thing happens", 1),
            ("lively", 2),
            ("much going on", 2),
        ];
        let said = MOODS.iter().find(|(mood, _)| text.contains(mood)).map(|(_, movers)| *movers);
        check(said == Some(self.movers().len().min(2)), text)?;
        // "two animals and a shape": so many of each kind, and nothing else.
        let (things, _) = text.split_once(" in ").ok_or_else(|| format!("unread: {text}"))?;
        let things = things.to_lowercase().replace(" and ", ", ");
        let mut said = BTreeMap::new();
        for thing in things.split(", ") {
            let (number, kind) = thing.split_once(' ').ok_or_else(|| format!("unread: {thing}"))?;
            let number = NUMBERS.iter().position(|known| *known == number).unwrap_or(1);
            said.insert(kind.to_owned(), number);
        }
        let mut there = BTreeMap::new();
        for actor in &self.scene.actors {
            *there.entry(actor.look.kind()).or_insert(0) += actor.count;
        }
        let alike = said.len() == there.len()
            && there.iter().all(|(kind, number)| {
                said.iter().any(|(word, told)| word.trim_end_matches('s') == *kind && told == number)
            });
        check(alike, text)
    }

    /// What an actor may be called, such as "red striped circles", rightly spelled or not.
    fn spellings(&self, actor: usize) -> Vec<String> {
        let actor = &self.scene.actors[actor];
        let name = match actor.look {
            Look::Shape(shape, colour, texture) if texture.word() == "plain" => {
                format!("{} {}", colour.word(), shape.word())
            }
            Look::Shape(shape, colour, texture) => {
                format!("{} {} {}", colour.word(), texture.word(), shape.word())
            }
            Look::Sprite(number) => gve::synth::world::sprite_name(number).to_owned(),
        };
        let plural = [format!("{name}s"), format!("{name}es"), format!("{}ies", &name[..name.len() - 1])];
        if actor.count == 1 { vec![name] } else { plural.into() }
    }

    fn movers(&self) -> Vec<usize> {
        (0..self.scene.actors.len())
            .filter(|&actor| self.activity(actor).0 < self.activity(actor).1)
            .collect()
    }

    /// When an actor begins and ends to change; the same time twice where it does not.
    fn activity(&self, actor: usize) -> (f32, f32) {
        let pose = |step: usize| self.scene.pose(actor, step as f32 / 100.0);
        let changes: Vec<usize> = (0..100).filter(|&step| pose(step) != pose(step + 1)).collect();
        match (changes.first(), changes.last()) {
            (Some(&first), Some(&last)) => (first as f32 / 100.0, (last + 1) as f32 / 100.0 - 0.02),
            _ => (0.0, 0.0),
        }
    }

    /// The actor that a phrase names.
    fn find(&self, phrase: &str) -> Result<usize, String> {
        let phrase = phrase.trim();
        let phrase = ["the ", "a large ", "a ", "an ", "two ", "three ", "four "]
            .iter()
            .find_map(|article| phrase.strip_prefix(article))
            .unwrap_or(phrase);
        let found: Vec<usize> = (0..self.scene.actors.len())
            .filter(|&actor| names(self.scene.actors[actor].look, phrase, self.scene.actors[actor].count > 1))
            .collect();
        match found[..] {
            [actor] => Ok(actor),
            _ => Err(format!("`{phrase}` is {} of the things there", found.len())),
        }
    }
}

/// Whether something can be seen of an actor.
type Seen = fn(&Scene, usize) -> bool;
