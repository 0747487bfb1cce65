use std::path::{Path, PathBuf};

use image::RgbImage;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{grayscale, thumbnail};
use serde::{Deserialize, Serialize};

use super::clip::{Clip, Draw, cut, length};
use super::settings::FlowSettings;
use crate::media::TimeRange;
use crate::store::write_file;
use crate::synth::SynthError;
use crate::video::{FrameCount, Sampling, VideoError, VideoOptions, VideoReader, select};

/// Frames that motion is measured on, per clip.
const FRAMES: usize = 8;
/// Sides of the pictures that motion is measured on: noise and grain even out, people that move do not.
const MOTION_SIDE: u32 = 32;
/// Quality of frames that are kept.
const JPEG_QUALITY: u8 = 95;

/// What is known of a video that was decoded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct VideoFacts {
    pub(super) seconds: f64,
    pub(super) clips: Vec<ClipFacts>,
}

/// What is known of one of its clips.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ClipFacts {
    pub(super) start: Option<f64>,
    pub(super) end: Option<f64>,
    pub(super) motion: f64,
}

/// Why a video could not be measured.
#[derive(Debug, thiserror::Error)]
pub(super) enum MeasureError {
    /// The video's own fault.
    #[error(transparent)]
    Video(#[from] VideoError),
    /// A frame could not be written.
    #[error(transparent)]
    Synth(#[from] SynthError),
}

/// Cuts the video with this `number` into clips, measures each, and writes one frame of each into `frames`.
pub(super) fn measure(
    path: &Path,
    number: usize,
    named: &[TimeRange],
    settings: &FlowSettings,
    options: VideoOptions,
    frames: &Path,
) -> Result<VideoFacts, MeasureError> {
    let mut reader = VideoReader::open_with(path, options)?;
    let timing = reader.timing();
    let seconds = timing.total_frames() as f64 / timing.average_fps();
    let mut random = Draw::Clips.random(settings.seed, (number, 0));
    let ranges = cut(seconds, named, settings.clip_seconds, settings.clips_per_video, &mut random);
    let mut clips = Vec::with_capacity(ranges.len());
    for (clip, range) in ranges.into_iter().enumerate() {
        let sampling = Sampling::Uniform { frames: FRAMES };
        let selection = select(&timing, &sampling, range, FrameCount::Exact)?;
        let chosen = Draw::Frame.random(settings.seed, (number, clip)).below(selection.indices.len());
        let (mut lumas, mut kept) = (Vec::new(), None);
        for (i, frame) in reader.frames(&selection.indices).enumerate() {
            let image = frame?.image;
            lumas.push(luma(&image));
            if i == chosen {
                kept = Some(image);
            }
        }
        if let Some(image) = kept {
            write_jpeg(&image, &frame_path(frames, (number, clip)))?;
        }
        let (start, end) = (range.start_seconds, range.end_seconds);
        clips.push(ClipFacts { start, end, motion: motion(&lumas) });
    }
    Ok(VideoFacts { seconds, clips })
}

impl VideoFacts {
    /// Which clip has this range.
    pub(super) fn position(&self, range: TimeRange) -> Option<usize> {
        self.clips.iter().position(|clip| (clip.start, clip.end) == (range.start_seconds, range.end_seconds))
    }

    /// The clips of the video `path` with this `number`, each with its motion.
    pub(super) fn clips(&self, path: &Path, number: usize, frames: &Path) -> Vec<(Clip, f64)> {
        let path: std::sync::Arc<Path> = path.into();
        let clips = self.clips.iter().enumerate().map(|(i, facts)| {
            let range = TimeRange { start_seconds: facts.start, end_seconds: facts.end };
            let clip = Clip {
                place: (number, i),
                path: path.clone(),
                range,
                seconds: length(range, self.seconds),
                frame: frame_path(frames, (number, i)),
            };
            (clip, facts.motion)
        });
        clips.collect()
    }
}

fn frame_path(frames: &Path, place: (usize, usize)) -> PathBuf {
    frames.join(format!("{}.jpg", Clip::id(place)))
}

fn write_jpeg(image: &RgbImage, path: &Path) -> Result<(), SynthError> {
    Ok(write_file(path, |file| {
        JpegEncoder::new_with_quality(file, JPEG_QUALITY).encode_image(image).map_err(std::io::Error::other)
    })?)
}

fn luma(image: &RgbImage) -> Vec<u8> {
    grayscale(&thumbnail(image, MOTION_SIDE, MOTION_SIDE)).into_raw()
}

/// Mean absolute difference between neighbours, from 0 to 1; 0 where there are none.
fn motion(lumas: &[Vec<u8>]) -> f64 {
    let differences = lumas.windows(2).flat_map(|pair| pair[0].iter().zip(&pair[1]));
    let (sum, count) =
        differences.fold((0_u64, 0_u64), |(sum, count), (a, b)| (sum + u64::from(a.abs_diff(*b)), count + 1));
    if count == 0 { 0.0 } else { sum as f64 / count as f64 / 255.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn motion_is_the_mean_difference_of_neighbours() {
        let frame = |value: u8| vec![value; 4];
        for (frames, expected) in [
            (vec![], 0.0),
            (vec![frame(9)], 0.0),
            (vec![frame(9), frame(9), frame(9)], 0.0),
            (vec![frame(0), frame(255), frame(0)], 1.0),
            (vec![frame(0), frame(51), frame(51)], 0.1),
            (vec![vec![0, 0, 0, 255], vec![0, 0, 0, 0]], 0.25),
        ] {
            assert!((motion(&frames) - expected).abs() < 1e-12, "{frames:?}");
        }
    }

    #[test]
    fn clips_of_a_file_are_measured_and_a_frame_of_each_is_kept() {
        let media = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/media");
        let folder = tempfile::tempdir().unwrap();
        let settings = FlowSettings { clip_seconds: 0.5, clips_per_video: 2, ..FlowSettings::default() };
        let measure = |name: &str, number| {
            let path = media.join(name);
            measure(&path, number, &[], &settings, VideoOptions::default(), folder.path())
        };
        let facts = measure("testsrc.mp4", 3).unwrap();
        let clips = facts.clips(Path::new("testsrc.mp4"), 3, folder.path());
        assert_eq!(clips.len(), 2);
        for (clip, motion) in &clips {
            assert!((0.001..0.5).contains(motion), "{motion}");
            assert!(clip.seconds > 0.2 && clip.seconds <= 0.501, "{}", clip.seconds);
            assert!(image::open(&clip.frame).is_ok(), "{}", clip.frame.display());
        }
        assert_eq!(measure("testsrc.mp4", 3).unwrap(), facts, "by the seed");
        let error = measure("rabbit.png.mp4", 0).unwrap_err();
        assert!(error.to_string().contains("no such file"), "{error}");
    }
}
