//! A scene as it is: things, what happens to them, and the camera, all as functions of time.
//!
//! Places are in pixels of a picture whose camera rests; x grows to the right, y downwards. Time within a
//! scene runs from 0 to 1.

use super::vocabulary::{CameraMove, Colour, Direction, Pattern, Shape, Texture, Tone};

/// Pixels of a picture, from left to right.
pub const WIDTH: u32 = 224;
/// Pixels of a picture, from top to bottom.
pub const HEIGHT: u32 = 168;
/// Pictures in a second.
pub const FPS: u32 = 8;
/// Places of things, from left to right and from top to bottom.
pub(super) const SLOTS: [usize; 2] = [3, 2];

/// One uncut take.
#[derive(Debug, Clone, PartialEq)]
pub struct Scene {
    /// Number of pictures.
    pub frames: usize,
    /// What lies behind the things.
    pub ground: Ground,
    /// The things; no two look alike.
    pub actors: Vec<Actor>,
    /// What happens, in order of time; an actor has one event at most.
    pub events: Vec<Event>,
    /// What the camera does, each movement in an equal share of the time; empty where it rests.
    pub camera: Vec<CameraMove>,
}

/// What lies behind the things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ground {
    /// Its drawing.
    pub pattern: Pattern,
    /// Its colours.
    pub tone: Tone,
}

/// One thing, or several of its kind close together.
#[derive(Debug, Clone, PartialEq)]
pub struct Actor {
    /// What it is.
    pub look: Look,
    /// How many of it there are, 1 to 4.
    pub count: usize,
    /// Where it stands at first: column and row.
    pub slot: [usize; 2],
    /// How far from the middle of its place it stands, in pixels.
    pub offset: [f32; 2],
    /// Whether it is bigger than usual. Only single things are.
    pub large: bool,
}

/// What a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Look {
    /// A figure in a colour.
    Shape(Shape, Colour, Texture),
    /// A picture of the sheet, by number; nothing to be seen where the sheet has none of this number.
    Sprite(usize),
}

/// Something that happens to an actor.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Place of the actor in [`Scene::actors`].
    pub actor: usize,
    /// What it does.
    pub action: Action,
    /// When it begins and ends.
    pub span: [f32; 2],
}

/// What an actor can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Goes to the next place in a direction.
    Move(Direction),
    /// Turns around itself once.
    Spin,
    /// Becomes half as large again.
    Grow,
    /// Becomes half as large.
    Shrink,
    /// Was not there before.
    Appear,
    /// Is not there afterwards.
    Vanish,
    /// Takes another colour. Only shapes do.
    Turn(Colour),
    /// Goes up and comes down again, twice.
    Jump,
}

/// An actor at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pose {
    /// Middle of the actor.
    pub centre: [f32; 2],
    /// Size as a multiple of what it was at first.
    pub scale: f32,
    /// Turn in radians, clockwise.
    pub angle: f32,
    /// From 0, not there, to 1.
    pub opacity: f32,
    /// The colour it is turning to, and how far it got, from 0 to 1.
    pub colour: Option<(Colour, f32)>,
}

/// Where the camera looks at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct View {
    /// Where the middle of the picture lies, as a distance from where it lies at rest.
    pub offset: [f32; 2],
    /// Magnification.
    pub zoom: f32,
    /// Turn of the camera in radians, clockwise.
    pub angle: f32,
}

const CENTRE: [f32; 2] = [WIDTH as f32 / 2.0, HEIGHT as f32 / 2.0];
/// Distance of two places.
const PITCH: [f32; 2] = [74.0, 80.0];
/// How far a pan or tilt goes, in pixels.
const PAN_PIXELS: f32 = 40.0;
const ZOOM: f32 = 1.45;
const ROLL_RADIANS: f32 = 0.5;
const JUMP_PIXELS: f32 = 22.0;

impl Scene {
    /// The time of picture `frame`.
    pub fn time(&self, frame: usize) -> f32 {
        frame as f32 / (self.frames.max(2) - 1) as f32
    }

    /// The event of an actor, if it has one.
    pub fn event_of(&self, actor: usize) -> Option<&Event> {
        self.events.iter().find(|event| event.actor == actor)
    }

    /// Actor number `actor` at `time`.
    pub fn pose(&self, actor: usize, time: f32) -> Pose {
        let thing = &self.actors[actor];
        let mut pose = Pose {
            centre: [0, 1].map(|axis| place(thing.slot, axis) + thing.offset[axis]),
            scale: 1.0,
            angle: 0.0,
            opacity: 1.0,
            colour: None,
        };
        if let Some(event) = self.event_of(actor) {
            event.action.apply(&mut pose, event.progress(time));
        }
        pose
    }

    /// The camera at `time`.
    pub fn view(&self, time: f32) -> View {
        let mut view = View { offset: [0.0; 2], zoom: 1.0, angle: 0.0 };
        let share = 1.0 / self.camera.len().max(1) as f32;
        for (number, movement) in self.camera.iter().enumerate() {
            let progress = ((time - number as f32 * share) / share).clamp(0.0, 1.0);
            match movement {
                CameraMove::PanLeft => view.offset[0] -= PAN_PIXELS * progress,
                CameraMove::PanRight => view.offset[0] += PAN_PIXELS * progress,
                CameraMove::TiltUp => view.offset[1] -= PAN_PIXELS * progress,
                CameraMove::TiltDown => view.offset[1] += PAN_PIXELS * progress,
                CameraMove::ZoomIn => view.zoom *= ZOOM.powf(progress),
                CameraMove::ZoomOut => view.zoom /= ZOOM.powf(progress),
                CameraMove::RollClockwise => view.angle += ROLL_RADIANS * progress,
                CameraMove::RollCounterclockwise => view.angle -= ROLL_RADIANS * progress,
            }
        }
        view
    }

    /// Where actor number `actor` is in the picture at `time`.
    pub fn on_screen(&self, actor: usize, time: f32) -> [f32; 2] {
        self.view(time).to_screen(self.pose(actor, time).centre)
    }
}

impl Actor {
    /// Where the single things stand around the actor's middle.
    pub(super) fn arrangement(&self) -> &'static [[f32; 2]] {
        match self.count {
            0 | 1 => &[[0.0, 0.0]],
            2 => &[[-17.0, 0.0], [17.0, 0.0]],
            3 => &[[-17.0, 14.0], [17.0, 14.0], [0.0, -16.0]],
            _ => &[[-17.0, -16.0], [17.0, -16.0], [-17.0, 16.0], [17.0, 16.0]],
        }
    }

    /// Width of a single thing, in pixels.
    pub(super) fn pixels(&self) -> f32 {
        match (self.count, self.large) {
            (0 | 1, true) => 68.0,
            (0 | 1, false) => 48.0,
            _ => 32.0,
        }
    }
}

impl Event {
    /// How much of the event is over at `time`, from 0 to 1.
    pub fn progress(&self, time: f32) -> f32 {
        ((time - self.span[0]) / (self.span[1] - self.span[0])).clamp(0.0, 1.0)
    }
}

impl Action {
    fn apply(self, pose: &mut Pose, progress: f32) {
        match self {
            Self::Move(direction) => {
                let step = direction.step();
                for axis in 0..2 {
                    pose.centre[axis] += step[axis] * PITCH[axis] * progress;
                }
            }
            Self::Spin => pose.angle = std::f32::consts::TAU * progress,
            Self::Grow => pose.scale = 1.0 + 0.5 * progress,
            Self::Shrink => pose.scale = 1.0 - 0.5 * progress,
            Self::Appear => pose.opacity = progress,
            Self::Vanish => pose.opacity = 1.0 - progress,
            Self::Turn(colour) => pose.colour = Some((colour, progress)),
            Self::Jump => pose.centre[1] -= JUMP_PIXELS * (std::f32::consts::TAU * progress).sin().abs(),
        }
    }
}

impl View {
    /// The place in the picture of a place in the world.
    pub fn to_screen(self, world: [f32; 2]) -> [f32; 2] {
        let (sin, cos) = (-self.angle).sin_cos();
        let [x, y] = [0, 1].map(|axis| (world[axis] - CENTRE[axis] - self.offset[axis]) * self.zoom);
        [CENTRE[0] + x * cos - y * sin, CENTRE[1] + x * sin + y * cos]
    }

    /// From places in the picture to places in the world.
    pub fn to_world(self) -> Affine {
        let (sin, cos) = self.angle.sin_cos();
        let [a, b] = [cos, sin].map(|value| value / self.zoom);
        let rows = [[a, -b], [b, a]];
        let shift = [0, 1].map(|axis| {
            CENTRE[axis] + self.offset[axis] - rows[axis][0] * CENTRE[0] - rows[axis][1] * CENTRE[1]
        });
        Affine { rows, shift }
    }
}

/// A map of the plane: turned, magnified and shifted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Affine {
    rows: [[f32; 2]; 2],
    shift: [f32; 2],
}

impl Affine {
    /// Where a place is taken to.
    pub fn apply(&self, [x, y]: [f32; 2]) -> [f32; 2] {
        [0, 1].map(|axis| self.rows[axis][0] * x + self.rows[axis][1] * y + self.shift[axis])
    }
}

/// The middle of a place along an axis.
fn place(slot: [usize; 2], axis: usize) -> f32 {
    CENTRE[axis] + (slot[axis] as f32 - (SLOTS[axis] - 1) as f32 / 2.0) * PITCH[axis]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_there_and_back_again() {
        let view = View { offset: [12.0, -7.0], zoom: 1.3, angle: 0.4 };
        let [x, y] = view.to_screen(view.to_world().apply([31.0, 140.0]));
        assert!((x - 31.0).abs() < 1e-3 && (y - 140.0).abs() < 1e-3);
    }

    #[test]
    fn things_go_against_the_camera() {
        let seen = |movement, world: [f32; 2]| {
            let ground = Ground { pattern: Pattern::Checks, tone: Tone::Grey };
            let scene = Scene { frames: 8, ground, actors: vec![], events: vec![], camera: vec![movement] };
            let [x, y] = scene.view(1.0).to_screen(world);
            [x - world[0], y - world[1]]
        };
        assert_eq!(seen(CameraMove::PanRight, [112.0, 84.0]), [-40.0, 0.0]);
        assert_eq!(seen(CameraMove::TiltUp, [112.0, 84.0]), [0.0, 40.0]);
        assert!(seen(CameraMove::ZoomIn, [150.0, 84.0])[0] > 10.0);
        // A camera that rolls clockwise sees the right edge rise.
        assert!(seen(CameraMove::RollClockwise, [200.0, 84.0])[1] < -30.0);
    }
}
