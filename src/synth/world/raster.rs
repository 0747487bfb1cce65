//! Draws a scene.
//!
//! Every pixel asks for the colour of its place in the world: the ground's first, then that of the things
//! above it. Edges are softened by the distance to them, so that slow movements are smooth.

use image::{Rgb, RgbImage};

use super::scene::{Actor, HEIGHT, Look, Pose, Scene, View, WIDTH};
use super::sprites;
use super::vocabulary::{Colour, Pattern, Shape, Texture};

type Colour3 = [f32; 3];

/// Picture number `frame` of the scene, [`WIDTH`] x [`HEIGHT`].
pub fn draw(scene: &Scene, frame: usize) -> RgbImage {
    let time = scene.time(frame);
    let view = scene.view(time);
    let to_world = view.to_world();
    let mut picture = RgbImage::from_fn(WIDTH, HEIGHT, |x, y| {
        Rgb(ground(scene, to_world.apply([x as f32 + 0.5, y as f32 + 0.5])))
    });
    for (number, actor) in scene.actors.iter().enumerate() {
        draw_actor(&mut picture, actor, scene.pose(number, time), view);
    }
    picture
}

fn draw_actor(picture: &mut RgbImage, actor: &Actor, pose: Pose, view: View) {
    if pose.opacity <= 0.0 {
        return;
    }
    let radius = actor.pixels() / 2.0 * pose.scale;
    let (sin, cos) = pose.angle.sin_cos();
    // One pixel of the picture, in the unit of the thing's own coordinates.
    let pixel = 1.0 / (radius * view.zoom);
    let to_world = view.to_world();
    for place in actor.arrangement() {
        let centre = [0, 1].map(|axis| pose.centre[axis] + place[axis] * pose.scale);
        let [left, right, top, bottom] = bounds(view.to_screen(centre), radius * view.zoom);
        for y in top..bottom {
            for x in left..right {
                let world = to_world.apply([x as f32 + 0.5, y as f32 + 0.5]);
                let [u, v] = [0, 1].map(|axis| (world[axis] - centre[axis]) / radius);
                let own = [u * cos + v * sin, v * cos - u * sin];
                let (colour, cover) = surface(actor.look, pose, own, pixel);
                let cover = cover * pose.opacity;
                if cover > 0.0 {
                    let Rgb(under) = picture.get_pixel_mut(x, y);
                    *under = [0, 1, 2].map(|c| mix(f32::from(under[c]), colour[c], cover).round() as u8);
                }
            }
        }
    }
}

/// The pixels a thing of `radius` may cover, turned any way: from left to right and from top to bottom.
fn bounds(centre: [f32; 2], radius: f32) -> [u32; 4] {
    let reach = radius * std::f32::consts::SQRT_2 + 1.0;
    let clip = |value: f32, limit: u32| value.clamp(0.0, limit as f32) as u32;
    [
        clip(centre[0] - reach, WIDTH),
        clip(centre[0] + reach + 1.0, WIDTH),
        clip(centre[1] - reach, HEIGHT),
        clip(centre[1] + reach + 1.0, HEIGHT),
    ]
}

/// Colour of a thing at a place, and how much of it is there. The thing reaches from -1 to 1.
fn surface(look: Look, pose: Pose, at: [f32; 2], pixel: f32) -> (Colour3, f32) {
    match look {
        Look::Sprite(number) => sprites::sample(number, at),
        Look::Shape(shape, own, texture) => {
            let cover = (0.5 - distance(shape, at) / pixel).clamp(0.0, 1.0);
            let colour = pose.colour.map_or(floats(own.rgb()), |(other, progress)| {
                let (from, to) = (floats(own.rgb()), floats(other.rgb()));
                [0, 1, 2].map(|c| mix(from[c], to[c], progress))
            });
            (textured(colour, own, texture, at), cover)
        }
    }
}

fn textured(colour: Colour3, own: Colour, texture: Texture, [x, y]: [f32; 2]) -> Colour3 {
    let marked = match texture {
        Texture::Plain => false,
        Texture::Striped => (x * 2.2 + 0.25).rem_euclid(1.0) < 0.5,
        Texture::Dotted => ((x * 2.2).rem_euclid(1.0) - 0.5).hypot((y * 2.2).rem_euclid(1.0) - 0.5) < 0.28,
        Texture::Checked => ((x * 1.6).floor() + (y * 1.6).floor()).rem_euclid(2.0) < 1.0,
    };
    // Marks are lighter on dark colours and darker on light ones.
    let towards = if matches!(own, Colour::White | Colour::Yellow | Colour::Pink | Colour::Orange) {
        40.0
    } else {
        255.0
    };
    if marked { colour.map(|channel| mix(channel, towards, 0.6)) } else { colour }
}

/// Distance to the edge of a shape that reaches about from -1 to 1; negative inside of it.
fn distance(shape: Shape, [x, y]: [f32; 2]) -> f32 {
    let round = x.hypot(y);
    match shape {
        Shape::Circle => round - 0.95,
        Shape::Square => x.abs().max(y.abs()) - 0.82,
        Shape::Ring => (round - 0.7).abs() - 0.24,
        Shape::Cross => {
            let (long, short) = (x.abs().max(y.abs()), x.abs().min(y.abs()));
            (long - 0.92).max(short - 0.3)
        }
        Shape::Diamond => (x.abs() * 1.25 + y.abs() * 0.9) / 1.54 - 0.56,
        Shape::Crescent => {
            // Most of it lies to the left of its circle's middle.
            let x = x - 0.32;
            (x.hypot(y) - 0.88).max(0.7 - (x - 0.42).hypot(y))
        }
        Shape::Hexagon => regular(6, [x, y], 0.82),
        Shape::Triangle => regular(3, [x, y - 0.2], 0.52),
        Shape::Star => {
            // A tenth of the star, as a half plane.
            let sector = std::f32::consts::TAU / 5.0;
            let angle = ((x.atan2(-y) + sector / 2.0).rem_euclid(sector) - sector / 2.0).abs();
            let (along, across) = (round * angle.cos(), round * angle.sin());
            across * 0.95 + along * 0.312 - 0.306
        }
        Shape::Heart => {
            let (x, y) = (x.abs(), y + 0.1);
            if y < 0.0 { (x - 0.44).hypot(y + 0.12) - 0.48 } else { (x * 1.08 + y * 0.92) / 1.42 - 0.63 }
        }
    }
}

/// Distance to a regular polygon with an edge at the bottom and `inner` as the distance of edges from the
/// middle.
fn regular(corners: usize, [x, y]: [f32; 2], inner: f32) -> f32 {
    (0..corners)
        .map(|corner| {
            let (sin, cos) = (std::f32::consts::TAU * corner as f32 / corners as f32).sin_cos();
            x * sin + y * cos - inner
        })
        .fold(f32::MIN, f32::max)
}

fn ground(scene: &Scene, [x, y]: [f32; 2]) -> [u8; 3] {
    let [first, second] = scene.ground.tone.rgb();
    let cell = |size: f32| [(x / size).floor(), (y / size).floor()];
    let share = match scene.ground.pattern {
        Pattern::Plain => 0.0,
        Pattern::Gradient => (y / HEIGHT as f32).clamp(0.0, 1.0),
        Pattern::Stripes => f32::from((y / 21.0).rem_euclid(2.0) < 1.0),
        Pattern::Checks => f32::from(cell(28.0).iter().sum::<f32>().rem_euclid(2.0) < 1.0),
        Pattern::Dots => {
            let [u, v] = [x, y].map(|coordinate| coordinate.rem_euclid(32.0) - 16.0);
            (9.5 - u.hypot(v)).clamp(0.0, 1.0)
        }
        Pattern::Grid => {
            let line = [x, y].map(|coordinate| (coordinate.rem_euclid(36.0) - 18.0).abs());
            (3.0 - line[0].min(line[1])).clamp(0.0, 1.0)
        }
        Pattern::Patches => clouds([x, y]),
    };
    [0, 1, 2].map(|c| mix(f32::from(first[c]), f32::from(second[c]), share).round() as u8)
}

/// Irregular patches, from 0 to 1: waves in three directions, added up.
fn clouds([x, y]: [f32; 2]) -> f32 {
    let waves = (x * 0.071 + y * 0.043).sin()
        + (x * 0.029 - y * 0.083 + 1.7).sin()
        + (y * 0.037 + x * 0.097 + 4.1).sin();
    (waves * 1.2 + 0.5).clamp(0.0, 1.0)
}

fn floats(colour: [u8; 3]) -> Colour3 {
    colour.map(f32::from)
}

fn mix(from: f32, to: f32, share: f32) -> f32 {
    from + (to - from) * share
}

#[cfg(test)]
mod tests {
    use super::super::scene::{Event, Ground};
    use super::super::vocabulary::{CameraMove, Direction, Tone};
    use super::*;
    use crate::synth::world::Action;

    fn scene(look: Look) -> Scene {
        Scene {
            frames: 9,
            ground: Ground { pattern: Pattern::Plain, tone: Tone::Ivory },
            actors: vec![Actor { look, count: 1, slot: [0, 0], offset: [0.0; 2], large: false }],
            events: vec![],
            camera: vec![],
        }
    }

    /// The middle of what is not ground, and how many pixels of it there are.
    fn thing(picture: &RgbImage) -> ([f32; 2], usize) {
        let ground = *picture.get_pixel(WIDTH - 1, HEIGHT - 1);
        let pixels: Vec<_> =
            picture.enumerate_pixels().filter(|(_, _, p)| **p != ground).map(|(x, y, _)| [x, y]).collect();
        let mean =
            [0, 1].map(|a| pixels.iter().map(|p| p[a] as f32).sum::<f32>() / pixels.len().max(1) as f32);
        (mean, pixels.len())
    }

    #[test]
    fn a_thing_is_where_its_pose_says_in_every_shape() {
        for &shape in Shape::ALL {
            let scene = scene(Look::Shape(shape, Colour::Red, Texture::Plain));
            let (middle, area) = thing(&draw(&scene, 0));
            let expected = scene.on_screen(0, 0.0);
            assert!(
                (0..2).all(|a| (middle[a] - expected[a]).abs() < 8.0),
                "{shape:?}: {middle:?} {expected:?}"
            );
            assert!((450..2400).contains(&area), "{shape:?}: {area}");
        }
    }

    #[test]
    fn pictures_follow_events_and_camera() {
        let mut scene = scene(Look::Shape(Shape::Square, Colour::Blue, Texture::Plain));
        let (before, area) = thing(&draw(&scene, 0));
        scene.events = vec![Event { actor: 0, action: Action::Move(Direction::Right), span: [0.0, 1.0] }];
        let (after, _) = thing(&draw(&scene, 8));
        assert!((after[0] - before[0] - 74.0).abs() < 1.0 && (after[1] - before[1]).abs() < 1.0);
        scene.events[0].action = Action::Grow;
        assert!(thing(&draw(&scene, 8)).1 as f32 > 2.0 * area as f32);
        scene.events[0].action = Action::Vanish;
        assert_eq!(thing(&draw(&scene, 8)).1, 0);
        scene.events.clear();
        scene.camera = vec![CameraMove::TiltUp];
        assert!((thing(&draw(&scene, 8)).0[1] - before[1] - 40.0).abs() < 1.0);
    }
}
