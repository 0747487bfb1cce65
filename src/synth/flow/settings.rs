use serde::Serialize;

use crate::options::with_fields;
use crate::synth::SynthError;

/// What decides, beside videos, models and prompts, which pairs come out.
///
/// Stands in `run.json` but for what may change from run to run: thresholds that do no more than sort what is
/// written down, so that a better one costs no answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct FlowSettings {
    /// What profiles, clips, frames, styles and partners are drawn from.
    pub seed: u64,
    /// Videos are cut into clips of equal length, at most this long, in seconds.
    pub clip_seconds: f64,
    /// Clips taken of a video, at most.
    pub clips_per_video: usize,
    /// Clips that move less are dropped: mean difference of luma between sampled frames, from 0 to 1.
    pub min_motion: f64,
    /// Texts whose embedding has a lower cosine with that of their clip or frame are dropped.
    #[serde(skip)]
    pub min_cosine: f64,
    /// Texts with fewer words are dropped.
    #[serde(skip)]
    pub min_words: usize,
    /// Frames of a clip that the captioner is shown.
    pub frames: usize,
    /// Longest side of the pictures that the captioner is shown, in pixels.
    pub picture_side: u32,
}

with_fields!(FlowSettings {
    with_seed(seed: u64),
    with_clip_seconds(clip_seconds: f64),
    with_clips_per_video(clips_per_video: usize),
    with_min_motion(min_motion: f64),
    with_min_cosine(min_cosine: f64),
    with_min_words(min_words: usize),
    with_frames(frames: usize),
    with_picture_side(picture_side: u32),
});

impl Default for FlowSettings {
    fn default() -> Self {
        Self {
            seed: 42,
            clip_seconds: 10.0,
            clips_per_video: 4,
            min_motion: 0.005,
            min_cosine: 0.2,
            min_words: 3,
            frames: 8,
            picture_side: 512,
        }
    }
}

impl FlowSettings {
    /// # Errors
    /// [`SynthError::Setting`] for the first setting that makes no sense.
    pub(super) fn check(&self) -> Result<(), SynthError> {
        let positive = |value: f64| value.is_finite() && value > 0.0;
        let checks: [(&str, &str, String, bool); 6] = [
            (
                "the length of clips",
                "a positive number of seconds",
                self.clip_seconds.to_string(),
                positive(self.clip_seconds),
            ),
            ("clips per video", "at least 1", self.clips_per_video.to_string(), self.clips_per_video > 0),
            (
                "the least motion",
                "a number from 0 to 1",
                self.min_motion.to_string(),
                (0.0..=1.0).contains(&self.min_motion),
            ),
            (
                "the least cosine",
                "a number from -1 to 1",
                self.min_cosine.to_string(),
                (-1.0..=1.0).contains(&self.min_cosine),
            ),
            ("frames for the captioner", "1 to 64", self.frames.to_string(), (1..=64).contains(&self.frames)),
            (
                "the side of pictures",
                "28 to 4096 pixels",
                self.picture_side.to_string(),
                (28..=4096).contains(&self.picture_side),
            ),
        ];
        match checks.into_iter().find(|(.., good)| !good) {
            Some((setting, expected, got, _)) => Err(SynthError::Setting { setting, expected, got }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senseless_settings_are_named() {
        assert!(FlowSettings::default().check().is_ok());
        let with = |change: fn(&mut FlowSettings)| {
            let mut settings = FlowSettings::default();
            change(&mut settings);
            settings.check().unwrap_err().to_string()
        };
        assert_eq!(
            with(|s| s.clip_seconds = f64::NAN),
            "the length of clips is NaN, expected a positive number of seconds"
        );
        assert_eq!(with(|s| s.clips_per_video = 0), "clips per video is 0, expected at least 1");
        assert!(with(|s| s.min_motion = 2.0).contains("the least motion is 2"));
        assert!(with(|s| s.min_cosine = -1.5).contains("the least cosine is -1.5"));
        assert!(with(|s| s.frames = 0).contains("frames for the captioner is 0"));
        assert!(with(|s| s.picture_side = 8).contains("the side of pictures is 8"));
    }
}
