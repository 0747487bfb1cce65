//! The seven kinds of training pairs of a family of videos.

use std::path::{Path, PathBuf};

use crate::Random;
use crate::embedder::{Input, Part, VideoPart};
use crate::train::{Pair, Task};
use crate::video::TimeRange;

use super::caption::{Aspect, Style, describe_change};
use super::director::pick;
use super::instructions;
use super::scene::{Action, FPS, Scene};
use super::video::{Family, Video, VideoCaption};

/// Where the files of a family lie.
#[derive(Debug, Clone)]
pub(super) struct Files<'a> {
    /// Directory of the world.
    pub(super) root: &'a Path,
    /// Number of the family.
    pub(super) family: usize,
    /// Suffix of videos.
    pub(super) extension: &'static str,
}

/// A picture out of a video: which video of the family, and which frame.
pub(super) type Still = (usize, usize);

/// Pairs, and the pictures they name.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    pub(super) pairs: Vec<Pair>,
    pub(super) stills: Vec<Still>,
}

/// Queries in words per video.
const TEXTS: usize = 3;

impl Files<'_> {
    pub(super) fn video(&self, video: usize) -> PathBuf {
        self.root.join(format!("videos/{:06}-{video}.{}", self.family, self.extension))
    }

    pub(super) fn still(&self, (video, frame): Still) -> PathBuf {
        self.root.join(format!("images/{:06}-{video}-{frame:03}.png", self.family))
    }
}

/// All pairs of `family`.
pub(super) fn pairs(family: &Family, files: &Files, random: &mut Random) -> Pairs {
    let mut maker = Maker { family, files, random, made: Pairs::default() };
    for video in 0..family.videos.len() {
        maker.text_to_video(video);
        maker.text_to_text(video);
        maker.text_to_image(video);
        maker.image_to_video(video);
        maker.clip_to_video(video);
    }
    for (number, change) in family.changes.iter().enumerate() {
        if change.is_some() {
            maker.composed(number + 1);
        }
    }
    maker.made
}

struct Maker<'a> {
    family: &'a Family,
    files: &'a Files<'a>,
    random: &'a mut Random,
    made: Pairs,
}

impl Maker<'_> {
    fn text_to_video(&mut self, video: usize) {
        for (style, caption) in self.captions(video, TEXTS) {
            let negatives = self.others(&caption).map(|other| self.video(other)).collect();
            let query =
                self.introduced(Input::text(caption.text), instruction(&self.family.videos[video], style));
            self.push("t2v", query, self.video(video), negatives);
        }
    }

    fn text_to_text(&mut self, video: usize) {
        let captions = self.captions(video, 2);
        let [(_, query), (style, positive)] = &captions[..] else { return };
        let own = &self.family.videos[video];
        let mut negatives = Vec::new();
        for other in self.others(query) {
            let near = self.family.videos[other].describe(*style, self.random);
            negatives.extend(near.filter(|near| !near.holds(own)).map(|near| Input::text(near.text)));
        }
        let (query, positive) = (Input::text(&query.text), Input::text(&positive.text));
        self.push("t2t", query, positive, negatives);
    }

    fn text_to_image(&mut self, video: usize) {
        let openings: Vec<Option<Video>> =
            self.family.videos.iter().map(|video| video.scenes[0].opening().map(Video::of)).collect();
        let Some(opening) = &openings[video] else { return };
        let aspect = if self.random.below(2) == 0 { Aspect::Objects } else { Aspect::Spatial };
        let Some(caption) = opening.describe(Style::Partial(aspect), self.random) else { return };
        let other = |opening: &Option<Video>| opening.as_ref().is_some_and(|opening| !caption.holds(opening));
        let negatives: Vec<usize> = (0..openings.len()).filter(|&number| other(&openings[number])).collect();
        let negatives = negatives.into_iter().map(|number| self.still((number, 0))).collect();
        let positive = self.still((video, 0));
        self.push("t2i", Input::text(caption.text), positive, negatives);
    }

    fn image_to_video(&mut self, video: usize) {
        let frame = self.random.below(self.family.videos[video].frames());
        let query = self.still((video, frame));
        let query = self.introduced(query, instructions::IMAGE);
        self.push("i2v", query, self.video(video), vec![]);
    }

    fn clip_to_video(&mut self, video: usize) {
        let of = &self.family.videos[video];
        let scene = self.random.below(of.scenes.len());
        let clip = self.clip(video, scene);
        let query = self.introduced(clip, instructions::CLIP);
        let lacks = |other: &Video| !other.scenes.contains(&of.scenes[scene]);
        let negatives = if of.scenes.len() > 1 { self.videos(lacks) } else { vec![] };
        self.push("v2v", query, self.video(video), negatives);
    }

    /// Queries of the first video and words on what is different.
    fn composed(&mut self, target: usize) {
        let Some((number, change)) = &self.family.changes[target - 1] else { return };
        let scenes = [0, target].map(|video| &self.family.videos[video].scenes[*number]);
        let text = describe_change(scenes[0], change, scenes[1], self.random).text;
        let [start, end] =
            self.family.videos[0].span(*number).map(|seconds| (seconds * f64::from(FPS)) as usize);
        let frame = start + self.random.below(end - start);
        let negatives = vec![self.video(0)];
        let query = self.still((0, frame)).and_text(&text);
        let query = self.introduced(query, instructions::TEXT_AND_IMAGE);
        self.push("ti2v", query, self.video(target), negatives.clone());
        let query = self.clip(0, *number).and_text(&text);
        let query = self.introduced(query, instructions::TEXT_AND_CLIP);
        self.push("tv2v", query, self.video(target), negatives);
    }

    /// Captions of a video in up to `count` styles.
    fn captions(&mut self, video: usize, count: usize) -> Vec<(Style, VideoCaption)> {
        let video = &self.family.videos[video];
        let mut captions = Vec::new();
        for style in self.random.permutation(Style::ALL.len()).into_iter().map(|number| Style::ALL[number]) {
            // A part of each of several scenes is no part one would ask for.
            let asked = video.scenes.len() == 1 || !matches!(style, Style::Partial(_));
            if captions.len() < count && asked {
                captions.extend(video.describe(style, self.random).map(|caption| (style, caption)));
            }
        }
        captions
    }

    /// Videos of the family of which a caption does not hold.
    fn others(&self, caption: &VideoCaption) -> impl Iterator<Item = usize> + use<> {
        let others: Vec<usize> = (0..self.family.videos.len())
            .filter(|&other| !caption.holds(&self.family.videos[other]))
            .collect();
        others.into_iter()
    }

    fn videos(&self, which: impl Fn(&Video) -> bool) -> Vec<Input> {
        let videos = self.family.videos.iter().enumerate().filter(|(_, video)| which(video));
        videos.map(|(number, _)| self.video(number)).collect()
    }

    fn video(&self, video: usize) -> Input {
        Input::video(self.files.video(video))
    }

    fn still(&mut self, still: Still) -> Input {
        self.made.stills.push(still);
        Input::image(self.files.still(still))
    }

    /// Half of a scene or more.
    fn clip(&mut self, video: usize, scene: usize) -> Input {
        let [start, end] = clip_span(&self.family.videos[video], scene, self.random);
        let range = TimeRange { start_seconds: Some(start), end_seconds: Some(end) };
        let part =
            VideoPart { path: self.files.video(video), sampling: None, range, pixels: Default::default() };
        Input { parts: vec![Part::Video(part)], instruction: None }
    }

    /// Half of the queries come with an instruction, so that a model needs none and does not stumble over one.
    fn introduced(&mut self, input: Input, instruction: &str) -> Input {
        if pick(self.random, &[true, false]) { input.with_instruction(instruction) } else { input }
    }

    fn push(&mut self, task: &str, query: Input, positive: Input, negatives: Vec<Input>) {
        // The names of tasks are those above, which a test reads back.
        if let Ok(task) = task.parse::<Task>() {
            self.made.pairs.push(Pair {
                task,
                source: Some("procedural world".into()),
                query,
                positive,
                negatives,
            });
        }
    }
}

/// The times of the first and the last frame of half a scene or more, in seconds.
pub(super) fn clip_span(video: &Video, scene: usize, random: &mut Random) -> [f64; 2] {
    let frames = video.scenes[scene].frames;
    let length = frames / 2 + random.below(frames / 4 + 1);
    let start = random.below(frames - length + 1);
    let [begin, _] = video.span(scene);
    [start, start + length - 1].map(|frame| begin + frame as f64 / f64::from(FPS))
}

fn instruction(video: &Video, style: Style) -> &'static str {
    match (video.scenes.len(), style) {
        (2.., Style::Detailed) => instructions::LONG,
        (2.., Style::Summary) => instructions::SCENES,
        _ => instructions::of(style),
    }
}

impl Scene {
    /// The scene as its first frame shows it, without what happens later; nothing where that is an empty picture.
    pub(super) fn opening(&self) -> Option<Self> {
        let hidden =
            |actor: usize| matches!(self.event_of(actor), Some(event) if event.action == Action::Appear);
        let actors: Vec<_> = (0..self.actors.len())
            .filter(|&actor| !hidden(actor))
            .map(|actor| self.actors[actor].clone())
            .collect();
        (!actors.is_empty()).then(|| Self { actors, events: vec![], camera: vec![], ..self.clone() })
    }
}
