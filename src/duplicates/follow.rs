//! From a place where two videos run together, as far as they do.

use super::align::{ALIKE, Aligned, Line, View};
use super::fingerprint::FPS;
use super::signature::Sum;
use crate::cancel::CancelToken;

/// What may be lost on the way, in pictures that are not alike at all times [`ALIKE`], before the end is
/// behind: 3 s.
const GIVE_UP: f32 = 6.0;
/// Another time is nearer only if it is by so much more alike, and moves the line by such a share of the way.
const NEARER: f32 = 0.02;
const DRIFT: f64 = 0.15;
/// How far the offset is sought around the one that was found, and how fine, in seconds.
const OFFSET_REACH: i32 = 6;
const OFFSET_STEP: f64 = 0.05;

/// Times of both videos at which they were compared, in order, and how alike they are; `None` where there is
/// nothing to see in both.
pub(super) type Course = Vec<(f64, f64, Option<f32>)>;

/// What the pictures of a course say together.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Evidence {
    /// Pairs of pictures in which there is something to see.
    pub(super) pictures: usize,
    /// Their mean correlation.
    pub(super) similarity: f32,
    /// The mean square of what changes, of 1.
    pub(super) change: f32,
    /// The correlation of what changes.
    pub(super) common_change: f32,
}

/// Follows both videos from the middle of where they are alike, both ways, until somebody asks to stop.
pub(super) fn follow(a: &mut View<'_>, b: &mut View<'_>, aligned: &Aligned, cancel: &CancelToken) -> Course {
    let line = settle(a, b, aligned);
    let middle = (f64::midpoint(aligned.from, aligned.to) * FPS).round() / FPS;
    let mut course = walk(a, b, line, middle - 1.0 / FPS, -1.0, cancel);
    course.reverse();
    course.extend(walk(a, b, line, middle, 1.0, cancel));
    course
}

/// The line with the offset that is best to a fraction of a picture.
fn settle(a: &mut View<'_>, b: &mut View<'_>, aligned: &Aligned) -> Line {
    let count = ((aligned.to - aligned.from) * FPS) as usize + 1;
    let mut total = |offset: f64| {
        let line = Line { offset, ..aligned.line };
        let times = (0..count).map(|step| aligned.from + step as f64 / FPS);
        times.filter_map(|time| alike(a, b, time, line.at(time))).sum::<f32>()
    };
    let offset_of = |step: i32| aligned.line.offset + f64::from(step) * OFFSET_STEP;
    let totals: Vec<(i32, f32)> =
        (-OFFSET_REACH..=OFFSET_REACH).map(|step| (step, total(offset_of(step)))).collect();
    let best = totals.iter().map(|(_, total)| *total).fold(f32::MIN, f32::max);
    // Pictures stay for a while: of the offsets that are as good, the middle.
    let good: Vec<i32> = totals.iter().filter(|(_, t)| *t >= best - 1e-4).map(|(step, _)| *step).collect();
    let middle = good.get(good.len() / 2).copied().unwrap_or(0);
    Line { offset: offset_of(middle), ..aligned.line }
}

/// Goes on from a time of the first video until the end of either, or the end of what they have in common.
fn walk(
    a: &mut View<'_>,
    b: &mut View<'_>,
    mut line: Line,
    from: f64,
    direction: f64,
    cancel: &CancelToken,
) -> Course {
    let (mut course, mut sum, mut best, mut length) = (Course::new(), 0.0, 0.0, 0);
    let ends = (a.fingerprint.duration_seconds, b.fingerprint.duration_seconds);
    let slack = 0.5 / FPS;
    for step in 0.. {
        let a_time = from + direction * f64::from(step) / FPS;
        let b_time = line.at(a_time);
        if a_time < 0.0 || a_time >= ends.0.max(slack) || b_time < -slack || b_time >= ends.1.max(slack) {
            break;
        }
        if cancel.is_cancelled() {
            break;
        }
        let mut found = (b_time, alike(a, b, a_time, b_time));
        if let Some(at_line) = found.1 {
            for beside in [-1.0 / FPS, 1.0 / FPS].map(|beside| b_time + beside * line.speed) {
                let there = alike(a, b, a_time, beside).filter(|there| *there > at_line + NEARER);
                if there > found.1 {
                    found = (beside, there);
                }
            }
            line.offset += DRIFT * (found.0 - b_time);
        }
        let is_seen = a.at(a_time).is_some() || b.at(b_time).is_some();
        sum += match found.1 {
            Some(alike) => alike - ALIKE,
            None if is_seen => -ALIKE,
            None => 0.0,
        };
        course.push((a_time, found.0, found.1));
        if sum > best {
            (best, length) = (sum, course.len());
        } else if sum < best - GIVE_UP {
            break;
        }
    }
    course.truncate(length);
    course
}

fn alike(a: &mut View<'_>, b: &mut View<'_>, a_time: f64, b_time: f64) -> Option<f32> {
    Some(a.at(a_time)?.dot(b.at(b_time)?))
}

/// The line through a course: least squares.
pub(super) fn line_through(course: &Course) -> Line {
    let count = course.len().max(1) as f64;
    let mean = |of: fn(&(f64, f64, Option<f32>)) -> f64| course.iter().map(of).sum::<f64>() / count;
    let (a_mean, b_mean) = (mean(|place| place.0), mean(|place| place.1));
    let along: f64 = course.iter().map(|place| (place.0 - a_mean).powi(2)).sum();
    let both: f64 = course.iter().map(|place| (place.0 - a_mean) * (place.1 - b_mean)).sum();
    let speed = if along > 0.0 { both / along } else { 1.0 };
    Line { speed, offset: b_mean - speed * a_mean }
}

pub(super) fn evidence(a: &mut View<'_>, b: &mut View<'_>, course: &Course) -> Evidence {
    let (mut a_sum, mut b_sum) = (Sum::default(), Sum::default());
    let (mut pictures, mut alike) = (0, 0.0);
    for &(a_time, b_time, _) in course {
        if let Some((a, b)) = a.at(a_time).zip(b.at(b_time)) {
            a_sum.add(a);
            b_sum.add(b);
            alike += f64::from(a.dot(b));
            pictures += 1;
        }
    }
    if pictures == 0 {
        return Evidence::default();
    }
    let count = f64::from(pictures as u32);
    // All signatures have a length of 1: what does not change is the length of their mean.
    let (similarity, fixed) = (alike / count, |a: &Sum, b: &Sum| a.dot(b) / (count * count));
    let (of_a, of_b) = ((1.0 - fixed(&a_sum, &a_sum)).max(0.0), (1.0 - fixed(&b_sum, &b_sum)).max(0.0));
    let energy = (of_a * of_b).sqrt();
    let common_change = if energy > 0.0 { (similarity - fixed(&a_sum, &b_sum)) / energy } else { 0.0 };
    Evidence {
        pictures,
        similarity: similarity as f32,
        change: of_a.min(of_b) as f32,
        common_change: common_change as f32,
    }
}
