//! What can be seen of a thing, and which words name it.

use gve::synth::world::{Look, Scene};

use super::Said;

pub(super) fn way(scene: &Scene, actor: usize) -> [f32; 2] {
    let [from, to] = [0.0, 1.0].map(|time| scene.pose(actor, time).centre);
    [to[0] - from[0], to[1] - from[1]]
}

pub(super) fn rises(scene: &Scene, actor: usize) -> bool {
    (0..100).any(|step| {
        scene.pose(actor, step as f32 / 100.0).centre[1] < scene.pose(actor, 0.0).centre[1] - 10.0
    })
}

pub(super) fn is_event(text: &str) -> bool {
    const VERBS: [&str; 14] = [
        " move",
        " go",
        " spin",
        " rotate",
        " grow",
        " shrink",
        " become",
        " appear",
        " disappear",
        " fade",
        " turn",
        " jump",
        " hop",
        " rotates",
    ];
    let ends = text.split(' ').count() >= 2;
    ends && VERBS.iter().any(|verb| {
        let stem = verb.trim();
        text.split(' ').any(|word| word == stem || word == format!("{stem}s") || word == format!("{stem}es"))
    })
}

/// Whether a phrase begins with the name of a thing. Plurals share their beginning with the singular, but for
/// a few.
pub(super) fn names(look: Look, phrase: &str, plural: bool) -> bool {
    match look {
        Look::Shape(shape, colour, texture) => {
            let words: Vec<&str> = phrase.split(' ').collect();
            let plain = texture.word() == "plain";
            let at = if plain { 1 } else { 2 };
            words.first() == Some(&colour.word())
                && (plain || words.get(1) == Some(&texture.word()))
                && words
                    .get(at)
                    .is_some_and(|word| word.trim_end_matches(',').starts_with(&shape.word()[..3]))
        }
        Look::Sprite(number) => {
            let name = gve::synth::world::sprite_name(number);
            let forms = [format!("{name}s"), format!("{name}es"), format!("{}ies", &name[..name.len() - 1])];
            let begins = |form: &str| phrase == form || phrase.starts_with(&format!("{form} "));
            // Fish are fish, however many.
            if plural {
                forms.iter().any(|form| begins(form)) || (name.ends_with("fish") && begins(name))
            } else {
                begins(name)
            }
        }
    }
}

pub(super) fn check(so: bool, text: &str) -> Said {
    if so { Ok(()) } else { Err(format!("not so: {text}")) }
}
