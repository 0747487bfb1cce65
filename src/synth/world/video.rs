//! Videos of one scene or several, and families of videos that differ in a single respect.

use image::RgbImage;

use crate::random::Random;

use super::caption::{Caption, describe};
use super::claim::Claim;
use super::director::{Change, ChangeKind};
use super::raster;
use super::scene::{FPS, Scene};
use super::style::Style;

/// Scenes, one cut behind the other.
#[derive(Debug, Clone, PartialEq)]
pub struct Video {
    /// At least one.
    pub scenes: Vec<Scene>,
}

/// What is said of a video, scene by scene.
#[derive(Debug, Clone, PartialEq)]
pub struct VideoCaption {
    /// In words.
    pub text: String,
    /// What the words say, each of the scene with that number.
    pub claims: Vec<(usize, Claim)>,
}

/// A video and others that differ from it in one respect each.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// The first is what the others were made from.
    pub videos: Vec<Video>,
    /// What was changed to make the videos behind the first, and in which of its scenes. Nothing where its
    /// scenes were put in another order.
    pub changes: Vec<Option<(usize, Change)>>,
}

impl Video {
    /// A video of one scene.
    pub fn of(scene: Scene) -> Self {
        Self { scenes: vec![scene] }
    }

    /// Number of pictures.
    pub fn frames(&self) -> usize {
        self.scenes.iter().map(|scene| scene.frames).sum()
    }

    /// Picture number `frame`.
    pub fn draw(&self, frame: usize) -> Option<RgbImage> {
        let mut frame = frame;
        for scene in &self.scenes {
            if frame < scene.frames {
                return Some(raster::draw(scene, frame));
            }
            frame -= scene.frames;
        }
        None
    }

    /// When scene number `scene` begins and ends, in seconds.
    pub fn span(&self, scene: usize) -> [f64; 2] {
        let before: usize = self.scenes[..scene].iter().map(|scene| scene.frames).sum();
        [before, before + self.scenes[scene].frames].map(|frame| frame as f64 / f64::from(FPS))
    }

    /// A description of all scenes in a style; nothing where one has nothing of the kind to tell.
    pub fn describe(&self, style: Style, random: &mut Random) -> Option<VideoCaption> {
        let captions: Vec<Caption> =
            self.scenes.iter().map(|scene| describe(scene, style, random)).collect::<Option<_>>()?;
        let text: Vec<String> = captions.iter().map(|caption| caption.text.clone()).collect();
        let joint = if style == Style::Keywords { "; " } else { " Then: " };
        let claims = captions.into_iter().enumerate();
        let claims =
            claims.flat_map(|(number, caption)| caption.claims.into_iter().map(move |c| (number, c)));
        Some(VideoCaption { text: text.join(joint), claims: claims.collect() })
    }
}

impl VideoCaption {
    /// Whether all it says is so of `video`.
    pub fn holds(&self, video: &Video) -> bool {
        self.claims
            .iter()
            .all(|(scene, claim)| video.scenes.get(*scene).is_some_and(|scene| claim.holds(scene)))
    }
}

impl Family {
    /// A video that nothing is close to.
    pub fn of(video: Video) -> Self {
        Self { videos: vec![video], changes: vec![] }
    }

    /// Adds up to `most` videos that differ from the first in one of its scenes: one in the first of `kinds`
    /// that is possible, one in the next, and so on.
    pub fn varied(mut self, kinds: &[ChangeKind], most: usize, random: &mut Random) -> Self {
        let full = self.videos.len() + most;
        for &kind in kinds {
            if self.videos.len() == full {
                break;
            }
            let base = &self.videos[0];
            let number = random.below(base.scenes.len());
            if let Some((change, scene)) = kind.draw(&base.scenes[number], random) {
                let mut video = base.clone();
                video.scenes[number] = scene;
                if !self.videos.contains(&video) {
                    self.videos.push(video);
                    self.changes.push(Some((number, change)));
                }
            }
        }
        self
    }

    /// Adds a video with the scenes of the first in another order, where it has several.
    pub fn reordered(mut self, random: &mut Random) -> Self {
        let scenes = &self.videos[0].scenes;
        if scenes.len() > 1 {
            // A turn by at least one: no scene stays in its place.
            let turn = 1 + random.below(scenes.len() - 1);
            let mut turned = scenes.clone();
            turned.rotate_left(turn);
            self.videos.push(Video { scenes: turned });
            self.changes.push(None);
        }
        self
    }
}
