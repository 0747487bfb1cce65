//! What a caption says of a scene, and whether it is so.
//!
//! Claims name things by their looks and are judged by what can be seen: where things are in the picture from
//! frame to frame, and how large and how visible. They know nothing of the script that moves the things.

use super::scene::{Action, Ground, HEIGHT, Look, Pose, Scene, WIDTH};
use super::sprites;
use super::vocabulary::{CameraMove, Direction};

/// Things of one look, and how many they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Thing {
    /// What they look like.
    pub look: Look,
    /// How many there are.
    pub count: usize,
}

/// Where one thing is as seen from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Relation {
    /// Nearer to the left edge of the picture.
    LeftOf,
    /// Nearer to the right edge.
    RightOf,
    /// Nearer to the upper edge.
    Above,
    /// Nearer to the lower edge.
    Below,
}

/// The part of a scene that a claim is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum When {
    /// From the first frame to the last.
    Throughout,
    /// In the first frame.
    Start,
    /// In the last frame.
    End,
}

/// Something that is said of a scene.
#[derive(Debug, Clone, PartialEq)]
pub enum Claim {
    /// So many of these are there.
    Shows(Thing),
    /// It is one of the large things.
    Large(Thing),
    /// One thing lies so from another.
    Related(Thing, Relation, Thing, When),
    /// A thing stays in a column (0 to 2, from the left) and row (0 or 1, from the top) of the picture.
    Stands(Thing, [usize; 2]),
    /// A thing does something.
    Does(Thing, Action),
    /// What one thing does is over when what the other does begins.
    Before(Thing, Thing),
    /// Nothing does anything.
    Quiet,
    /// So many things do something: none, one, or two and more.
    Active(usize),
    /// What lies behind.
    Ground(Ground),
    /// Whether what lies behind is dark.
    Dark(bool),
    /// The movements of the camera in their order; none where it rests.
    Camera(Vec<CameraMove>),
    /// So many things of a kind, such as animals, are there, singly or together.
    Kind(&'static str, usize),
}

/// Distance in pixels from which on one says left or right, above or below.
const APART_PIXELS: f32 = 24.0;
/// How far outside of the picture the middle of a thing may lie and still be seen.
const EDGE_PIXELS: f32 = 12.0;

impl Claim {
    /// Whether it is so.
    pub fn holds(&self, scene: &Scene) -> bool {
        match self {
            Self::Shows(thing) => find(scene, thing).is_some(),
            Self::Large(thing) => find(scene, thing).is_some_and(|actor| scene.actors[actor].pixels() > 60.0),
            Self::Related(a, relation, b, when) => match (find(scene, a), find(scene, b)) {
                (Some(a), Some(b)) => related(scene, a, *relation, b, *when),
                _ => false,
            },
            Self::Stands(thing, cell) => find(scene, thing).is_some_and(|actor| {
                let mut places = times(scene).map(|time| scene.on_screen(actor, time));
                places.all(|place| is_in_picture(place) && cell_of(place) == *cell)
            }),
            Self::Does(thing, action) => find(scene, thing).is_some_and(|actor| does(scene, actor, *action)),
            Self::Before(first, then) => {
                let activity = |thing| find(scene, thing).and_then(|actor| activity(scene, actor));
                matches!((activity(first), activity(then)), (Some((_, end)), Some((start, _))) if end <= start)
            }
            Self::Quiet => active(scene) == 0,
            Self::Active(count) => active(scene).min(2) == *count,
            Self::Ground(ground) => scene.ground == *ground,
            Self::Dark(dark) => {
                let [light, _] = scene.ground.tone.rgb();
                (light.iter().map(|&channel| u32::from(channel)).sum::<u32>() < 3 * 128) == *dark
            }
            Self::Camera(moves) => camera_moves(scene) == *moves,
            Self::Kind(kind, count) => {
                let of_kind = scene.actors.iter().filter(|actor| actor.look.kind() == *kind);
                of_kind.map(|actor| actor.count).sum::<usize>() == *count
            }
        }
    }
}

impl Look {
    /// What kind of thing it is, such as shape or animal.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Shape(..) => "shape",
            Self::Sprite(number) => sprites::category(number),
        }
    }
}

/// The relation of a to b that is plain to see in the picture at `time`, if one is.
pub(super) fn relation_at(scene: &Scene, a: usize, b: usize, time: f32) -> Option<Relation> {
    let is_seen =
        |actor| scene.pose(actor, time).opacity > 0.3 && is_in_picture(scene.on_screen(actor, time));
    let [x, y] = {
        let (a, b) = (scene.on_screen(a, time), scene.on_screen(b, time));
        [a[0] - b[0], a[1] - b[1]]
    };
    // Of things that lie askew one could say either; so nothing is said.
    let relation = if x.abs() > 1.4 * y.abs() && x.abs() > APART_PIXELS {
        if x < 0.0 { Relation::LeftOf } else { Relation::RightOf }
    } else if y.abs() > 1.4 * x.abs() && y.abs() > APART_PIXELS {
        if y < 0.0 { Relation::Above } else { Relation::Below }
    } else {
        return None;
    };
    (is_seen(a) && is_seen(b)).then_some(relation)
}

/// Whether a thing whose middle lies there is to be seen: a moving camera leaves some behind.
pub(super) fn is_in_picture([x, y]: [f32; 2]) -> bool {
    let within = |at: f32, size: u32| (-EDGE_PIXELS..size as f32 + EDGE_PIXELS).contains(&at);
    within(x, WIDTH) && within(y, HEIGHT)
}

fn related(scene: &Scene, a: usize, relation: Relation, b: usize, when: When) -> bool {
    let is = |time| relation_at(scene, a, b, time) == Some(relation);
    match when {
        When::Start => is(0.0),
        When::End => is(1.0),
        When::Throughout => times(scene).all(is),
    }
}

/// Column and row of the picture, of three and two.
pub(super) fn cell_of([x, y]: [f32; 2]) -> [usize; 2] {
    let cell = |at: f32, size: u32, cells: usize| {
        ((at / size as f32 * cells as f32).max(0.0) as usize).min(cells - 1)
    };
    [cell(x, WIDTH, 3), cell(y, HEIGHT, 2)]
}

fn does(scene: &Scene, actor: usize, action: Action) -> bool {
    let [first, last] = [0.0, 1.0].map(|time| scene.pose(actor, time));
    let way = [0, 1].map(|axis| last.centre[axis] - first.centre[axis]);
    let goes = |direction: Direction| {
        let step = direction.step();
        let along = way[0] * step[0] + way[1] * step[1];
        along > 40.0 && (way[0].abs() + way[1].abs() - along) < 1.0
    };
    match action {
        Action::Move(direction) => goes(direction),
        Action::Spin => times(scene).any(|time| scene.pose(actor, time).angle > 3.0) && last.angle > 6.0,
        Action::Grow => last.scale > 1.3 * first.scale,
        Action::Shrink => last.scale < 0.7 * first.scale,
        Action::Appear => first.opacity < 0.01 && last.opacity > 0.99,
        Action::Vanish => first.opacity > 0.99 && last.opacity < 0.01,
        Action::Turn(colour) => {
            let own = matches!(scene.actors[actor].look, Look::Shape(_, own, _) if own != colour);
            own && matches!(last.colour, Some((to, progress)) if to == colour && progress > 0.99)
        }
        Action::Jump => {
            let up = |time| first.centre[1] - scene.pose(actor, time).centre[1];
            times(scene).map(up).fold(0.0, f32::max) > 10.0 && way.iter().all(|w| w.abs() < 1.0)
        }
    }
}

/// When an actor begins and ends to change, if it does.
fn activity(scene: &Scene, actor: usize) -> Option<(f32, f32)> {
    let poses: Vec<(f32, Pose)> = times(scene).map(|time| (time, scene.pose(actor, time))).collect();
    let changes = || poses.windows(2).filter(|pair| pair[0].1 != pair[1].1);
    Some((changes().next()?[0].0, changes().next_back()?[1].0))
}

fn active(scene: &Scene) -> usize {
    (0..scene.actors.len()).filter(|&actor| activity(scene, actor).is_some()).count()
}

/// The movements of the camera, read from where it looks: at the beginning, half way and at the end.
fn camera_moves(scene: &Scene) -> Vec<CameraMove> {
    let moves: Vec<Option<CameraMove>> =
        [[0.0, 0.5], [0.5, 1.0]].map(|[from, to]| camera_move(scene, from, to)).into();
    match moves[..] {
        [Some(first), Some(second)] if first == second => vec![first],
        _ => moves.into_iter().flatten().collect(),
    }
}

fn camera_move(scene: &Scene, from: f32, to: f32) -> Option<CameraMove> {
    let (from, to) = (scene.view(from), scene.view(to));
    let [x, y] = [0, 1].map(|axis| to.offset[axis] - from.offset[axis]);
    let (zoom, roll) = (to.zoom / from.zoom, to.angle - from.angle);
    Some(match () {
        () if x < -10.0 => CameraMove::PanLeft,
        () if x > 10.0 => CameraMove::PanRight,
        () if y < -10.0 => CameraMove::TiltUp,
        () if y > 10.0 => CameraMove::TiltDown,
        () if zoom > 1.1 => CameraMove::ZoomIn,
        () if zoom < 0.9 => CameraMove::ZoomOut,
        () if roll > 0.1 => CameraMove::RollClockwise,
        () if roll < -0.1 => CameraMove::RollCounterclockwise,
        () => return None,
    })
}

fn find(scene: &Scene, thing: &Thing) -> Option<usize> {
    scene.actors.iter().position(|actor| actor.look == thing.look && actor.count == thing.count)
}

/// The time of every frame.
fn times(scene: &Scene) -> impl DoubleEndedIterator<Item = f32> {
    (0..scene.frames).map(|frame| scene.time(frame))
}
