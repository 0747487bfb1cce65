use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::embedder::{Input, Part, VideoPart};
use crate::media::TimeRange;
use crate::random::Random;

/// A stretch of a video: what captions are about and queries lead to.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Clip {
    /// Number of the video, and of the clip in it.
    pub(super) place: (usize, usize),
    /// The video.
    pub(super) path: Arc<Path>,
    /// Where the clip lies in it. Both ends are open where the clip is the whole video.
    pub(super) range: TimeRange,
    /// Its length.
    pub(super) seconds: f64,
    /// The frame that was taken from it.
    pub(super) frame: PathBuf,
}

/// What is drawn at random. Each has numbers of its own, so that none depends on how many another took.
#[derive(Debug, Clone, Copy)]
pub(super) enum Draw {
    Clips,
    Frame,
    Profile,
    Crop,
    Captions,
    Partners,
}

impl Draw {
    /// The generator for the clip or video at `place`.
    pub(super) fn random(self, seed: u64, (video, clip): (usize, usize)) -> Random {
        Random::derived(seed, &[self as u64, video as u64, clip as u64])
    }
}

impl Clip {
    /// The name of the clip at `place`.
    pub(super) fn id((video, clip): (usize, usize)) -> String {
        format!("v{video:05}-c{clip:03}")
    }

    /// The clip as an input.
    pub(super) fn input(&self) -> Input {
        video(&self.path, self.range)
    }

    /// A piece of the clip, a quarter to a half of its length, as an input.
    pub(super) fn crop(&self, random: &mut Random) -> Input {
        let length = self.seconds * (0.25 + 0.25 * random.unit());
        let start = self.range.start_seconds.unwrap_or(0.0) + (self.seconds - length) * random.unit();
        let (start, end) = (milliseconds(start), milliseconds(start + length));
        video(&self.path, TimeRange { start_seconds: Some(start), end_seconds: Some(end) })
    }
}

fn video(path: &Path, range: TimeRange) -> Input {
    Input::default().and_part(Part::Video(VideoPart::new(path).with_range(range)))
}

/// The clips of a video of `seconds`: the ranges that captions name, as far as the video reaches, or else
/// pieces of equal length, at most `clip_seconds` long, of which `most` are drawn.
pub(super) fn cut(
    seconds: f64,
    named: &[TimeRange],
    clip_seconds: f64,
    most: usize,
    random: &mut Random,
) -> Vec<TimeRange> {
    if !named.is_empty() {
        let within = |range: &&TimeRange| range.start_seconds.unwrap_or(0.0) < seconds;
        return named.iter().filter(within).copied().collect();
    }
    let pieces = (seconds / clip_seconds).ceil().max(1.0) as usize;
    let border = |i: usize| {
        let open = i == 0 || i == pieces;
        (!open).then(|| milliseconds(seconds * i as f64 / pieces as f64))
    };
    let range = |i| TimeRange { start_seconds: border(i), end_seconds: border(i + 1) };
    random.sample(pieces, most).into_iter().map(range).collect()
}

/// Seconds of `range` in a video of `seconds`.
pub(super) fn length(range: TimeRange, seconds: f64) -> f64 {
    range.end_seconds.unwrap_or(seconds).min(seconds) - range.start_seconds.unwrap_or(0.0)
}

/// Finer times would tell nothing and be long to read.
fn milliseconds(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start_seconds: Option<f64>, end_seconds: Option<f64>) -> TimeRange {
        TimeRange { start_seconds, end_seconds }
    }

    #[test]
    fn videos_are_cut_evenly_or_where_captions_say() {
        let cut = |seconds, named: &[TimeRange], most| cut(seconds, named, 4.0, most, &mut Random::new(1));
        assert_eq!(cut(3.9, &[], 9), [range(None, None)]);
        assert_eq!(cut(0.0, &[], 9), [range(None, None)]);
        let thirds = [range(None, Some(3.333)), range(Some(3.333), Some(6.667)), range(Some(6.667), None)];
        assert_eq!(cut(10.0, &[], 9), thirds);
        let drawn = cut(10.0, &[], 2);
        assert!(drawn.len() == 2 && drawn.iter().all(|range| thirds.contains(range)));
        let named = [range(Some(1.0), Some(2.0)), range(None, None), range(Some(10.0), None)];
        assert_eq!(cut(10.0, &named, 1), named[..2]);
    }

    #[test]
    fn a_crop_lies_in_its_clip() {
        for (range, seconds) in [(range(None, None), 6.0), (range(Some(5.0), Some(9.0)), 4.0)] {
            let clip = Clip {
                place: (0, 0),
                path: Path::new("a.mp4").into(),
                range,
                seconds,
                frame: PathBuf::new(),
            };
            let mut random = Random::new(9);
            for _ in 0..100 {
                let Part::Video(crop) = &clip.crop(&mut random).parts[0] else { panic!("not a video") };
                let (start, end) = (crop.range.start_seconds.unwrap(), crop.range.end_seconds.unwrap());
                let first = range.start_seconds.unwrap_or(0.0);
                assert!(start >= first && end <= first + seconds, "{start} {end}");
                assert!((0.249..0.501).contains(&((end - start) / seconds)), "{start} {end}");
            }
        }
    }

    #[test]
    fn draws_are_of_seed_purpose_and_place() {
        let first = |draw: Draw, seed, place| draw.random(seed, place).next_u64();
        let all = [
            first(Draw::Crop, 1, (0, 0)),
            first(Draw::Frame, 1, (0, 0)),
            first(Draw::Crop, 2, (0, 0)),
            first(Draw::Crop, 1, (1, 0)),
            first(Draw::Crop, 1, (0, 1)),
        ];
        assert_eq!(all.iter().collect::<std::collections::HashSet<_>>().len(), all.len());
        assert_eq!(all[0], first(Draw::Crop, 1, (0, 0)));
    }
}
