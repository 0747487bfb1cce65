use super::*;
use crate::random::Random;
use image::{Rgb, RgbImage};

const FPS: f64 = 8.0;
/// How far a boundary may be off, in seconds.
const NEAR: f64 = 0.25;
const SIZE: (u32, u32) = (64, 36);

/// A place with its own colour, light and forms, seen from a point in pixels.
fn scene(seed: u64, (left, top): (f64, f64)) -> RgbImage {
    let mut random = Random::derived(seed, &[1]);
    let tint: [f64; 3] = std::array::from_fn(|_| 40.0 + 120.0 * random.unit());
    let height =
        |x: i64, y: i64, octave: u64| Random::derived(seed, &[octave, x as u64, y as u64]).unit() - 0.5;
    // Noise between the points of a lattice.
    let noise = |x: f64, y: f64, octave: u64| {
        let (column, row) = (x.floor() as i64, y.floor() as i64);
        let (right, down) = (x - x.floor(), y - y.floor());
        let mix = |a: f64, b: f64, t: f64| a + (b - a) * t;
        let line = |row| mix(height(column, row, octave), height(column + 1, row, octave), right);
        mix(line(row), line(row + 1), down)
    };
    RgbImage::from_fn(SIZE.0, SIZE.1, |x, y| {
        let (x, y) = (f64::from(x) + left, f64::from(y) + top);
        let value = 140.0 * noise(x / 16.0, y / 16.0, 2) + 70.0 * noise(x / 5.0, y / 5.0, 3);
        Rgb(tint.map(|tint| (tint + value).clamp(0.0, 255.0) as u8))
    })
}

fn mixed(a: &RgbImage, b: &RgbImage, share: f64) -> RgbImage {
    let mut mixed = a.clone();
    for (a, b) in mixed.iter_mut().zip(b.iter()) {
        *a = (f64::from(*a) * (1.0 - share) + f64::from(*b) * share).round() as u8;
    }
    mixed
}

fn plain(value: u8) -> RgbImage {
    RgbImage::from_pixel(SIZE.0, SIZE.1, Rgb([value; 3]))
}

/// What is found in pictures `seconds` of time long.
fn detect(seconds: f64, picture: impl Fn(f64) -> RgbImage) -> Vec<(f64, Transition)> {
    let mut detector = ShotDetector::new(&ShotOptions::default());
    for index in 0..(seconds * FPS) as usize {
        let time = index as f64 / FPS;
        detector.push(&picture(time), time);
    }
    let shots = detector.finish(seconds);
    shots.boundaries.iter().map(|boundary| (boundary.seconds, boundary.transition)).collect()
}

fn assert_found(found: &[(f64, Transition)], expected: &[(f64, Transition)], what: &str) {
    let is_right = found.len() == expected.len()
        && found.iter().zip(expected).all(|(f, e)| (f.0 - e.0).abs() <= NEAR && f.1 == e.1);
    assert!(is_right, "{what}: found {found:?}, expected {expected:?}");
}

/// A camera that drifts.
fn drifting(seed: u64, seconds: f64) -> RgbImage {
    scene(seed, (6.0 * seconds, 2.0 * seconds))
}

#[test]
fn cuts_are_found_where_they_are() {
    let found = detect(9.0, |t| match t {
        _ if t < 3.0 => drifting(1, t),
        _ if t < 4.0 => drifting(2, t),
        _ if t < 4.5 => scene(3, (0.0, 0.0)),
        _ => drifting(1, t),
    });
    let cut = |seconds| (seconds, Transition::Cut);
    assert_eq!(found, [3.0, 4.0, 4.5].map(cut));
}

#[test]
fn twenty_scenes_have_nineteen_cuts() {
    for seed in 0..8 {
        let mut random = Random::new(seed);
        let mut cuts = vec![0.0];
        for _ in 0..20 {
            // On the grid of the pictures, for exactness.
            let length = 1.0 + (random.unit() * 3.0 * FPS).round() / FPS;
            cuts.push(cuts[cuts.len() - 1] + length);
        }
        let speeds: Vec<(f64, f64)> =
            (0..20).map(|_| (30.0 * random.unit() - 15.0, 10.0 * random.unit() - 5.0)).collect();
        let found = detect(cuts[20], |t| {
            let shot = cuts.partition_point(|cut| *cut <= t) - 1;
            scene(100 * seed + shot as u64, (speeds[shot].0 * t, speeds[shot].1 * t))
        });
        let expected: Vec<_> = cuts[1..20].iter().map(|cut| (*cut, Transition::Cut)).collect();
        assert_eq!(found, expected, "{seed}");
    }
}

/// What happens in one shot is no boundary.
#[test]
fn one_shot_stays_one() {
    let place = |seed, t: f64| move |speed: f64| scene(seed, (speed * t, 0.0));
    let noise = |t: f64, cell: u32| {
        let frame = (t * FPS) as u64;
        RgbImage::from_fn(SIZE.0, SIZE.1, |x, y| {
            let mut random = Random::derived(frame, &[u64::from(x / cell), u64::from(y / cell)]);
            Rgb([(); 3].map(|()| random.below(256) as u8))
        })
    };
    type Shot<'a> = &'a dyn Fn(f64, u64) -> RgbImage;
    let table: &[(&str, Shot)] = &[
        ("still", &|_, seed| scene(seed, (0.0, 0.0))),
        ("slow pan", &|t, seed| place(seed, t)(8.0)),
        ("pan", &|t, seed| place(seed, t)(32.0)),
        ("fast pan", &|t, seed| place(seed, t)(100.0)),
        ("pan that starts and stops", &|t, seed| place(seed, t.clamp(3.0, 5.0))(60.0)),
        ("shaking camera", &|t, seed| scene(seed, (6.0 * (t * 11.0).sin(), 4.0 * (t * 17.0).sin()))),
        ("fine noise", &|t, _| noise(t, 1)),
        ("coarse noise", &|t, _| noise(t, 8)),
        ("white flash of one picture", &|t, seed| if t == 4.0 { plain(255) } else { drifting(seed, t) }),
        ("bright flash of two pictures", &|t, seed| {
            mixed(&drifting(seed, t), &plain(255), if (4.0..4.2).contains(&t) { 0.7 } else { 0.0 })
        }),
        ("two flashes", &|t, seed| {
            mixed(&drifting(seed, t), &plain(255), if t == 4.0 || t == 4.5 { 0.8 } else { 0.0 })
        }),
        ("a dropped picture", &|t, seed| if t == 4.0 { plain(0) } else { drifting(seed, t) }),
        ("light switched on", &|t, seed| {
            mixed(&drifting(seed, t), &plain(0), if t < 4.0 { 0.6 } else { 0.0 })
        }),
        ("sunrise", &|t, seed| mixed(&drifting(seed, t), &plain(0), (0.8 - t / 5.0).max(0.0))),
        ("fade in and out", &|t, seed| mixed(&drifting(seed, t), &plain(0), 1.0 - t.min(8.0 - t).min(1.0))),
        ("something that passes", &|t, seed| {
            let mut picture = scene(seed, (0.0, 0.0));
            let left = (t * 40.0) as i64 - 140;
            for (x, y, pixel) in picture.enumerate_pixels_mut() {
                if (left..left + 24).contains(&i64::from(x)) && y > 8 {
                    *pixel = Rgb([230, 220, 40]);
                }
            }
            picture
        }),
    ];
    for (what, shot) in table {
        for seed in 0..6 {
            assert_found(&detect(8.0, |t| shot(t, seed)), &[], &format!("{what} {seed}"));
        }
    }
}

#[test]
fn fades_are_one_boundary_in_their_middle() {
    for (tone, length, hold) in [(0, 0.5, 0.0), (0, 1.0, 0.0), (0, 1.0, 2.0), (255, 0.5, 0.5), (0, 0.0, 1.5)]
    {
        for seed in 0..6 {
            // Down until 4 s, up from 4 s + hold.
            let found = detect(9.0 + hold, |t| {
                let (seed, off) = if t < 4.0 { (seed, 4.0 - t) } else { (seed + 50, t - 4.0 - hold) };
                let light = if length > 0.0 { (off / length).clamp(0.0, 1.0) } else { f64::from(off > 0.0) };
                mixed(&plain(tone), &drifting(seed, t), light)
            });
            let what = format!("{tone} {length} {hold} {seed}");
            assert_found(&found, &[(4.0 + hold / 2.0, Transition::Fade)], &what);
        }
    }
}

#[test]
fn a_long_black_stretch_parts_even_the_same_scene() {
    let found = detect(8.0, |t| if (3.0..4.0).contains(&t) { plain(4) } else { drifting(5, t) });
    assert_found(&found, &[(3.5, Transition::Fade)], "one second of black");
}

#[test]
fn dissolves_are_found_in_their_middle() {
    for length in [0.6, 1.0, 1.5, 2.0] {
        for seed in 0..8 {
            let found = detect(9.0, |t| {
                let share = ((t - 4.0) / length + 0.5).clamp(0.0, 1.0);
                let speed = 0.5 * (seed % 3) as f64;
                mixed(&drifting(seed, t * speed), &drifting(seed + 50, t * speed), share)
            });
            assert_found(&found, &[(4.0, Transition::Dissolve)], &format!("{length} {seed}"));
        }
    }
}

#[test]
fn pictures_of_any_kind_are_taken() {
    let options = ShotOptions::default();
    assert_eq!(ShotDetector::new(&options).finish(0.0), Shots::default());
    let mut detector = ShotDetector::new(&options);
    detector.push(&RgbImage::new(1, 1), 0.0);
    assert_eq!(detector.finish(0.04).ranges().collect::<Vec<_>>(), [TimeRange::between(0.0, 0.04)]);
    let mut detector = ShotDetector::new(&options);
    for (image, seconds) in [
        (plain(200), 0.0),
        (RgbImage::new(0, 36), 0.2),
        (RgbImage::new(1000, 1), f64::NAN),
        (RgbImage::from_pixel(7, 900, Rgb([200; 3])), 0.3),
        (RgbImage::from_pixel(1, 1, Rgb([80; 3])), 40.0),
        (plain(10), 20.0),
    ] {
        detector.push(&image, seconds);
    }
    let shots = detector.finish(41.0);
    let found: Vec<_> = shots.ranges().collect();
    assert_eq!(found, [TimeRange::between(0.0, 40.0), TimeRange::between(40.0, 41.0)]);
}

#[test]
fn memory_does_not_grow() {
    let pictures: Vec<_> = (0..16).map(|seed| scene(seed, (0.0, 0.0))).collect();
    let mut detector = ShotDetector::new(&ShotOptions::default());
    for index in 0..20_000 {
        detector.push(&pictures[index / 500 % 16], index as f64 / 240.0);
        assert!(detector.samples_at_hand() <= 132, "{index}");
    }
    let mut detector = ShotDetector::new(&ShotOptions::default());
    for index in 0..2_000 {
        detector.push(&pictures[index % 16], index as f64 * 10.0);
        assert!(detector.samples_at_hand() <= 4, "{index}");
    }
    assert_eq!(detector.finish(20_000.0).boundaries.len(), 1_999, "slides of 10 s");
}
