//! Makes up scenes, and scenes that differ from a given one in a single respect.

use crate::random::Random;

use super::claim::is_in_picture;
use super::scene::{Action, Actor, Event, FPS, Ground, Look, SLOTS, Scene};
use super::sprites;
use super::vocabulary::{CameraMove, Colour, Direction, Pattern, Shape, Texture, Tone};

/// The one respect in which a scene differs from another.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// An actor, by number, stands in another column and row.
    Move(usize, [usize; 2]),
    /// Two actors, by number, stand in each other's places.
    Swap(usize, usize),
    /// An actor is something else.
    Replace(usize, Look),
    /// An actor that is a shape has another colour.
    Paint(usize, Colour),
    /// There are more or fewer of an actor.
    Count(usize, usize),
    /// In an event, by number, something else happens.
    Act(usize, Action),
    /// Two events happen in the other order.
    Reorder(usize, usize),
    /// The camera moves otherwise.
    Camera(Vec<CameraMove>),
    /// The ground looks otherwise.
    Ground(Ground),
}

/// The kinds of [`Change`], to ask for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    /// [`Change::Move`]
    Move,
    /// [`Change::Swap`]
    Swap,
    /// [`Change::Replace`]
    Replace,
    /// [`Change::Paint`]
    Paint,
    /// [`Change::Count`]
    Count,
    /// [`Change::Act`]
    Act,
    /// [`Change::Reorder`]
    Reorder,
    /// [`Change::Camera`]
    Camera,
    /// [`Change::Ground`]
    Ground,
}

/// How often to try for a scene or a change that is sound before taking it for impossible.
const ATTEMPTS: usize = 64;

impl ChangeKind {
    /// All kinds.
    pub const ALL: [Self; 9] = [
        Self::Move,
        Self::Swap,
        Self::Replace,
        Self::Paint,
        Self::Count,
        Self::Act,
        Self::Reorder,
        Self::Camera,
        Self::Ground,
    ];

    /// The name in options and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Move => "move",
            Self::Swap => "swap",
            Self::Replace => "replace",
            Self::Paint => "paint",
            Self::Count => "count",
            Self::Act => "act",
            Self::Reorder => "reorder",
            Self::Camera => "camera",
            Self::Ground => "ground",
        }
    }

    /// A change of this kind that `scene` allows, and what comes of it; nothing where there is none.
    pub fn draw(self, scene: &Scene, random: &mut Random) -> Option<(Change, Scene)> {
        (0..ATTEMPTS).find_map(|_| {
            let change = self.propose(scene, random)?;
            let changed = change.apply(scene);
            (changed != *scene && is_sound(&changed)).then_some((change, changed))
        })
    }

    fn propose(self, scene: &Scene, random: &mut Random) -> Option<Change> {
        let actors = scene.actors.len();
        Some(match self {
            Self::Move | Self::Replace | Self::Paint | Self::Count if actors == 0 => return None,
            Self::Move => Change::Move(random.below(actors), [0, 1].map(|axis| random.below(SLOTS[axis]))),
            Self::Swap => match random.sample(actors, 2)[..] {
                [a, b] => Change::Swap(a, b),
                _ => return None,
            },
            Self::Replace => Change::Replace(random.below(actors), look(random)),
            Self::Paint => Change::Paint(random.below(actors), pick(random, Colour::ALL)),
            Self::Count => match (random.below(actors), 1 + random.below(4)) {
                // As many as there are would make a large thing small, and nothing else.
                (actor, count) if count == scene.actors[actor].count => return None,
                (actor, count) => Change::Count(actor, count),
            },
            Self::Act if scene.events.is_empty() => return None,
            Self::Act => Change::Act(random.below(scene.events.len()), action(random)),
            Self::Reorder => match random.sample(scene.events.len(), 2)[..] {
                [a, b] => Change::Reorder(a, b),
                _ => return None,
            },
            Self::Camera => Change::Camera(camera(random)),
            Self::Ground => Change::Ground(ground(random)),
        })
    }
}

impl Change {
    /// `scene` with the change made.
    pub fn apply(&self, scene: &Scene) -> Scene {
        let mut changed = scene.clone();
        match self {
            &Self::Move(actor, slot) => changed.actors[actor].slot = slot,
            &Self::Swap(a, b) => {
                changed.actors[a].slot = scene.actors[b].slot;
                changed.actors[b].slot = scene.actors[a].slot;
            }
            &Self::Replace(actor, look) => changed.actors[actor].look = look,
            &Self::Paint(actor, colour) => {
                if let Look::Shape(_, present, _) = &mut changed.actors[actor].look {
                    *present = colour;
                }
            }
            &Self::Count(actor, count) => {
                changed.actors[actor].count = count;
                changed.actors[actor].large = false;
            }
            &Self::Act(event, action) => changed.events[event].action = action,
            &Self::Reorder(a, b) => {
                changed.events[a].span = scene.events[b].span;
                changed.events[b].span = scene.events[a].span;
                changed.events.swap(a, b);
            }
            Self::Camera(camera) => changed.camera.clone_from(camera),
            &Self::Ground(ground) => changed.ground = ground,
        }
        changed
    }
}

/// A scene of `actors` things of which `events` do something, as far as that is possible.
pub fn scene(actors: usize, events: usize, random: &mut Random) -> Scene {
    loop {
        let scene = propose(actors, events, random);
        if is_sound(&scene) {
            return scene;
        }
    }
}

/// Most things that [`any_scene`] puts in a scene.
pub const MOST_THINGS: usize = 3;

/// A scene of one to three things, of which none to all do something.
pub fn any_scene(random: &mut Random) -> Scene {
    scene_of_at_most(MOST_THINGS, random)
}

/// Such a scene as [`any_scene`] makes up, but of no more than so many things.
pub(super) fn scene_of_at_most(things: usize, random: &mut Random) -> Scene {
    let actors = [1, 2, 2, 2, MOST_THINGS, MOST_THINGS][random.below(6)].min(things);
    let events = random.below(actors + 1).max(random.below(2));
    scene(actors, events, random)
}

fn propose(actors: usize, events: usize, random: &mut Random) -> Scene {
    let slots = random.permutation(SLOTS[0] * SLOTS[1]);
    let actors: Vec<Actor> = slots[..actors.min(slots.len())]
        .iter()
        .map(|slot| {
            let count = [1, 1, 1, 1, 2, 3, 4][random.below(7)];
            Actor {
                look: look(random),
                count,
                slot: [slot % SLOTS[0], slot / SLOTS[0]],
                offset: [0, 1].map(|_| 12.0 * random.unit() as f32 - 6.0),
                large: count == 1 && random.below(3) == 0,
            }
        })
        .collect();
    let doers = random.permutation(actors.len());
    let events = events.min(doers.len());
    let share = 0.9 / events.max(1) as f32;
    let events = doers[..events]
        .iter()
        .enumerate()
        .map(|(number, &actor)| {
            let start = 0.05 + number as f32 * share;
            Event { actor, action: action(random), span: [start, start + 0.9 * share] }
        })
        .collect();
    Scene {
        frames: (4 + random.below(3)) * FPS as usize,
        ground: ground(random),
        actors,
        events,
        camera: camera(random),
    }
}

fn look(random: &mut Random) -> Look {
    if random.below(5) < 3 {
        Look::Sprite(random.below(sprites::len()))
    } else {
        let texture = if random.below(2) == 0 { Texture::Plain } else { pick(random, Texture::ALL) };
        Look::Shape(pick(random, Shape::ALL), pick(random, Colour::ALL), texture)
    }
}

fn action(random: &mut Random) -> Action {
    match random.below(11) {
        0..=3 => Action::Move(pick(random, Direction::ALL)),
        4 => Action::Spin,
        5 => Action::Grow,
        6 => Action::Shrink,
        7 => Action::Appear,
        8 => Action::Vanish,
        9 => Action::Turn(pick(random, Colour::ALL)),
        _ => Action::Jump,
    }
}

fn camera(random: &mut Random) -> Vec<CameraMove> {
    let moves = [0, 0, 0, 1, 1, 2][random.below(6)];
    (0..moves).map(|_| pick(random, CameraMove::ALL)).collect()
}

fn ground(random: &mut Random) -> Ground {
    Ground { pattern: pick(random, Pattern::ALL), tone: pick(random, Tone::ALL) }
}

/// One of several.
pub(super) fn pick<T: Clone>(random: &mut Random, of: &[T]) -> T {
    of[random.below(of.len())].clone()
}

/// Whether one can see what a scene says: things stand apart and against the ground, move where there is
/// room, and a moving camera has something to move past.
pub(super) fn is_sound(scene: &Scene) -> bool {
    let actors = &scene.actors;
    let apart = |same: &dyn Fn(usize, usize) -> bool| (0..actors.len()).all(|a| (0..a).all(|b| !same(a, b)));
    let places: Option<Vec<_>> = (0..actors.len()).map(|actor| places(scene, actor)).collect();
    let Some(places) = places else { return false };
    apart(&|a, b| actors[a].look.is_alike(actors[b].look))
        && apart(&|a, b| places[a].iter().any(|place| places[b].contains(place)))
        && actors.iter().all(|actor| actor.look.stands_out(scene.ground.tone))
        && scene.events.iter().all(|event| is_visible(scene, event))
        && is_camera_visible(scene)
}

/// The places an actor is in, from first to last; nothing where it leaves the picture.
fn places(scene: &Scene, actor: usize) -> Option<Vec<[usize; 2]>> {
    let slot = scene.actors[actor].slot;
    let mut places = vec![slot];
    if let Some(Event { action: Action::Move(direction), .. }) = scene.event_of(actor) {
        let step = direction.step();
        let next = [0, 1].map(|axis| slot[axis] as f32 + step[axis]);
        if (0..2).any(|axis| next[axis] < 0.0 || next[axis] >= SLOTS[axis] as f32) {
            return None;
        }
        places.push(next.map(|coordinate| coordinate as usize));
    }
    Some(places)
}

fn is_visible(scene: &Scene, event: &Event) -> bool {
    let actor = &scene.actors[event.actor];
    // The camera may have moved on.
    if !event.span.iter().all(|&time| is_in_picture(scene.on_screen(event.actor, time))) {
        return false;
    }
    match (event.action, actor.look) {
        (Action::Turn(to), Look::Shape(_, from, _)) => to != from && to.stands_out(scene.ground.tone),
        (Action::Turn(_), Look::Sprite(_)) => false,
        (Action::Spin, Look::Shape(shape, ..)) => !matches!(shape, Shape::Circle | Shape::Ring),
        // Larger than that would touch its neighbours.
        (Action::Grow, _) => !actor.large && actor.count == 1,
        // Smaller than that would be hard to make out.
        (Action::Shrink, _) => actor.count == 1,
        _ => true,
    }
}

fn is_camera_visible(scene: &Scene) -> bool {
    let textured = !matches!(scene.ground.pattern, Pattern::Plain | Pattern::Gradient | Pattern::Stripes);
    // The same movement twice is one, and there and back again is none.
    let distinct = match scene.camera[..] {
        [first, second] => axis(first) != axis(second),
        _ => true,
    };
    scene.camera.is_empty() || (textured && distinct)
}

/// What a movement changes: two of the same kind add up or cancel.
fn axis(movement: CameraMove) -> usize {
    movement as usize / 2
}

impl Look {
    /// Whether one could take one for the other: the same picture, or shapes of the same form and colour.
    pub(super) fn is_alike(self, other: Self) -> bool {
        match (self, other) {
            (Self::Shape(shape, colour, _), Self::Shape(other_shape, other_colour, _)) => {
                shape == other_shape && colour == other_colour
            }
            (a, b) => a == b,
        }
    }

    fn stands_out(self, tone: Tone) -> bool {
        match self {
            Self::Shape(_, colour, _) => colour.stands_out(tone),
            Self::Sprite(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenes_and_changes_are_sound_and_repeatable() {
        let mut drawn = std::collections::HashMap::<_, usize>::new();
        for seed in 0..300 {
            let scene = any_scene(&mut Random::new(seed));
            assert!(is_sound(&scene), "{scene:?}");
            assert_eq!(scene, any_scene(&mut Random::new(seed)));
            for kind in ChangeKind::ALL {
                if let Some((change, changed)) = kind.draw(&scene, &mut Random::new(seed)) {
                    assert!(is_sound(&changed) && changed != scene);
                    assert_eq!(change.apply(&scene), changed);
                    *drawn.entry(kind).or_default() += 1;
                }
            }
        }
        assert!(ChangeKind::ALL.iter().all(|kind| drawn[kind] > 30), "{drawn:?}");
    }

    #[test]
    fn where_nothing_is_only_camera_and_ground_can_change() {
        let empty = scene(0, 0, &mut Random::new(1));
        assert!(empty.actors.is_empty() && empty.events.is_empty());
        for kind in ChangeKind::ALL {
            let drawn = kind.draw(&empty, &mut Random::new(1)).is_some();
            assert!(!drawn || matches!(kind, ChangeKind::Camera | ChangeKind::Ground), "{kind:?}");
        }
        assert!(ChangeKind::Ground.draw(&empty, &mut Random::new(1)).is_some());
    }

    #[test]
    fn scenes_one_could_not_read_are_refused() {
        let actor = |look, slot| Actor { look, count: 1, slot, offset: [0.0; 2], large: false };
        let star = Look::Shape(Shape::Star, Colour::Red, Texture::Plain);
        let circle = Look::Shape(Shape::Circle, Colour::Red, Texture::Plain);
        let ground = Ground { pattern: Pattern::Checks, tone: Tone::Ivory };
        let good = Scene {
            frames: 32,
            ground,
            actors: vec![actor(star, [0, 0]), actor(circle, [2, 1])],
            events: vec![Event { actor: 0, action: Action::Move(Direction::Right), span: [0.1, 0.9] }],
            camera: vec![CameraMove::PanLeft],
        };
        assert!(is_sound(&good));
        let bad: [fn(&mut Scene); 8] = [
            |scene| scene.actors[1].slot = [0, 0],
            |scene| scene.actors[1].slot = [1, 0],
            |scene| scene.actors[1].look = Look::Shape(Shape::Star, Colour::Red, Texture::Dotted),
            |scene| scene.events[0].action = Action::Move(Direction::Left),
            |scene| scene.events[0] = Event { actor: 1, action: Action::Spin, span: [0.1, 0.9] },
            |scene| scene.events[0].action = Action::Turn(Colour::White),
            |scene| scene.ground.pattern = Pattern::Plain,
            |scene| scene.camera.push(CameraMove::PanRight),
        ];
        for (number, spoil) in bad.iter().enumerate() {
            let mut scene = good.clone();
            spoil(&mut scene);
            assert!(!is_sound(&scene), "{number}");
        }
    }
}
