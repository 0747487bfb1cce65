//! Reads what is said of the difference between two scenes.

use gve::synth::world::{Look, Scene};

use super::{Reader, Said, check, is_event};

/// What is wrong with `text` as what makes `changed` out of `scene`.
pub(crate) fn fault_of_change(scene: &Scene, changed: &Scene, text: &str) -> Option<String> {
    let leads = ["the same, but ", "like this, but ", "now ", "but "];
    let clause = leads.iter().find_map(|lead| text.strip_prefix(lead));
    let [before, after] = [scene, changed].map(|scene| Reader { scene });
    match clause {
        Some(clause) => after.differs(&before, clause).err(),
        None => Some(format!("unread: {text}")),
    }
}

impl Reader<'_> {
    /// Whether `clause` is so here, and was not so `before`.
    fn differs(&self, before: &Self, clause: &str) -> Said {
        const SWAPS: [&str; 3] = [" have changed places", " have swapped places", " are the other way round"];
        if let Some(pair) = SWAPS.iter().find_map(|words| clause.strip_suffix(words)) {
            let (a, b) = pair.split_once(" and the ").ok_or_else(|| format!("unread: {pair}"))?;
            let (a, b) = (before.find(a)?, before.find(b)?);
            let near = |a: usize, b: usize| {
                let [here, there] =
                    [(self, a), (before, b)].map(|(at, actor)| at.scene.pose(actor, 0.0).centre);
                (0..2).all(|axis| (here[axis] - there[axis]).abs() < 20.0)
            };
            return check(near(a, b) && near(b, a), clause);
        }
        if let Some((thing, _)) = [" elsewhere", " in another place"]
            .iter()
            .find_map(|words| clause.strip_suffix(words)?.rsplit_once(' '))
        {
            let actor = before.find(thing)?;
            let [here, there] = [self, before].map(|reader| reader.scene.pose(actor, 0.0).centre);
            return check((0..2).any(|axis| (here[axis] - there[axis]).abs() > 30.0), clause);
        }
        if clause.contains(" at the ") || clause.contains(" in the ") {
            check(before.sentence(clause).is_err(), clause)?;
            return self.sentence(clause);
        }
        if let Some((new, old)) = clause.split_once(" instead of ") {
            let gone = before.find(old).is_ok() && self.find(old).is_err();
            check(gone && before.numbers(new).is_err(), clause)?;
            return self.numbers(new);
        }
        for lead in ["there is only ", "there are ", "it shows only ", "it shows "] {
            if let Some(things) = clause.strip_prefix(lead) {
                let things =
                    things.strip_prefix("one ").map_or(things.to_owned(), |thing| format!("a {thing}"));
                check(before.numbers(&things).is_err(), clause)?;
                return self.numbers(&things);
            }
        }
        if clause.starts_with("behind is ") || clause.starts_with("the background is ") {
            check(before.sentence(clause).is_err(), clause)?;
            return self.sentence(clause);
        }
        if let Some((thing, colour)) = [" is ", " are "].iter().find_map(|verb| clause.split_once(verb)) {
            // Not "the view is steady".
            if let Ok(actor) = before.find(thing) {
                let [old, new] = [before, self].map(|reader| reader.scene.actors[actor].look);
                let so = match (old, new) {
                    (Look::Shape(shape, was, texture), Look::Shape(same, now, alike)) => {
                        shape == same && texture == alike && was != now && now.word() == colour
                    }
                    _ => false,
                };
                return check(so, clause);
            }
        }
        // An event, an order of events or a movement of the camera: sentences of captions.
        let is_told = is_event(clause) || clause.starts_with("first ") || clause.starts_with("the camera ");
        check(is_told || clause.starts_with("the view "), clause)?;
        check(before.sentence(clause).is_err(), clause)?;
        self.sentence(clause)
    }
}
