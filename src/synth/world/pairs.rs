//! The seven kinds of training pairs of a family of videos.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::embedder::{Input, Part, VideoPart};
use crate::media::TimeRange;
use crate::pairs::{Pair, Task};
use crate::random::Random;

use super::caption::describe_change;
use super::director::pick;
use super::instructions;
use super::scene::{Action, FPS, Scene};
use super::style::{Aspect, Style};
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

impl Files<'_> {
    pub(super) fn video(&self, video: usize) -> PathBuf {
        self.root.join(format!("videos/{:06}-{video}.{}", self.family, self.extension))
    }

    pub(super) fn still(&self, (video, frame): Still) -> PathBuf {
        self.root.join(format!("images/{:06}-{video}-{frame:03}.png", self.family))
    }
}

/// All pairs of `family`; with `near_misses`, of captions only those that tell members apart.
pub(super) fn pairs(family: &Family, files: &Files, near_misses: bool, random: &mut Random) -> Pairs {
    let mut maker = Maker { family, files, near_misses, random, made: Pairs::default() };
    maker.text_to_video();
    maker.text_to_image();
    for video in 0..family.videos.len() {
        maker.text_to_text(video);
    }
    // One of each is enough: a picture is easily found in its video, and embedding two videos is expensive.
    for pairs in [Maker::image_to_video, Maker::clip_to_video] {
        let video = maker.random.below(family.videos.len());
        pairs(&mut maker, video);
    }
    for (number, change) in family.changes.iter().enumerate() {
        if change.is_some() {
            maker.composed(number + 1);
        }
    }
    maker.made
}

/// The same of a family of which there are pictures alone.
pub(super) fn picture_pairs(family: &Family, files: &Files, near_misses: bool, random: &mut Random) -> Pairs {
    let mut maker = Maker { family, files, near_misses, random, made: Pairs::default() };
    maker.text_to_image();
    maker.made
}

struct Maker<'a> {
    family: &'a Family,
    files: &'a Files<'a>,
    /// Whether a caption is left out that none of another member stands beside: it may be true of all of them.
    near_misses: bool,
    random: &'a mut Random,
    made: Pairs,
}

impl Maker<'_> {
    fn text_to_video(&mut self) {
        let videos: Vec<Option<Video>> = self.family.videos.iter().cloned().map(Some).collect();
        for (group, video, style, caption) in self.told_apart(&videos, &Style::ALL) {
            let query =
                self.introduced(Input::text(caption.text), instruction(&self.family.videos[video], style));
            self.push("t2v", Some(group), query, self.video(video), vec![]);
        }
    }

    fn text_to_image(&mut self) {
        let openings = self.family.videos.iter().map(|video| video.scenes[0].opening().map(Video::of));
        let styles = [Style::Summary, Style::Partial(Aspect::Objects), Style::Partial(Aspect::Spatial)];
        for (group, video, _, caption) in self.told_apart(&openings.collect::<Vec<_>>(), &styles) {
            let positive = self.still((video, 0));
            self.push("t2i", Some(group), Input::text(caption.text), positive, vec![]);
        }
    }

    /// Captions of `views` in each of `styles`: in every style of as many of them as it tells apart, each
    /// caption being wrong of the other views of its group. With the name of the group, and the group's
    /// captions one behind the other.
    fn told_apart(
        &mut self,
        views: &[Option<Video>],
        styles: &[Style],
    ) -> Vec<(String, usize, Style, VideoCaption)> {
        let mut groups = BTreeMap::<Vec<usize>, Vec<_>>::new();
        for &style in styles {
            let mut apart: Vec<(usize, VideoCaption)> = Vec::new();
            for number in self.random.permutation(views.len()) {
                let Some(view) = &views[number] else { continue };
                let caption = is_asked(view, style).then(|| view.describe(style, self.random)).flatten();
                let is_apart = |caption: &VideoCaption| {
                    apart.iter().all(|(other, theirs)| {
                        !theirs.holds(view)
                            && views[*other].as_ref().is_none_or(|other| !caption.holds(other))
                    })
                };
                if let Some(caption) = caption.filter(is_apart) {
                    apart.push((number, caption));
                }
            }
            let mut members: Vec<usize> = apart.iter().map(|(number, _)| *number).collect();
            members.sort_unstable();
            let captions = apart.into_iter().map(|(number, caption)| (number, style, caption));
            groups.entry(members).or_default().extend(captions);
        }
        let least = if self.near_misses { 2 } else { 1 };
        let groups = groups.into_iter().filter(|(members, _)| members.len() >= least);
        let named = groups.flat_map(|(members, captions)| {
            let members: String = members.iter().map(usize::to_string).collect();
            let name = format!("{:06}-{members}", self.files.family);
            captions.into_iter().map(move |(number, style, caption)| (name.clone(), number, style, caption))
        });
        named.collect()
    }

    fn text_to_text(&mut self, video: usize) {
        let captions = self.captions(video);
        let [(_, query), (style, positive)] = &captions[..] else { return };
        let own = &self.family.videos[video];
        let mut negatives = Vec::new();
        for other in self.others(query) {
            let near = self.family.videos[other].describe(*style, self.random);
            negatives.extend(near.filter(|near| !near.holds(own)).map(|near| Input::text(near.text)));
        }
        let (query, positive) = (Input::text(&query.text), Input::text(&positive.text));
        self.push("t2t", None, query, positive, negatives);
    }

    fn image_to_video(&mut self, video: usize) {
        let frame = self.random.below(self.family.videos[video].frames());
        let query = self.still((video, frame));
        let query = self.introduced(query, instructions::IMAGE);
        self.push("i2v", None, query, self.video(video), vec![]);
    }

    fn clip_to_video(&mut self, video: usize) {
        let of = &self.family.videos[video];
        let scene = self.random.below(of.scenes.len());
        let clip = self.clip(video, scene);
        let query = self.introduced(clip, instructions::CLIP);
        let lacks = |other: &Video| !other.scenes.contains(&of.scenes[scene]);
        let negatives = if of.scenes.len() > 1 { self.videos(lacks) } else { vec![] };
        self.push("v2v", None, query, self.video(video), negatives);
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
        let group = Some(format!("{:06}", self.files.family));
        let query = self.still((0, frame)).and_text(&text);
        let query = self.introduced(query, instructions::TEXT_AND_IMAGE);
        self.push("ti2v", group.clone(), query, self.video(target), negatives.clone());
        let query = self.clip(0, *number).and_text(&text);
        let query = self.introduced(query, instructions::TEXT_AND_CLIP);
        self.push("tv2v", group, query, self.video(target), negatives);
    }

    /// Captions of a video in two styles, if there are as many.
    fn captions(&mut self, video: usize) -> Vec<(Style, VideoCaption)> {
        let video = &self.family.videos[video];
        let mut captions = Vec::new();
        for style in self.random.permutation(Style::ALL.len()).into_iter().map(|number| Style::ALL[number]) {
            if captions.len() < 2 && is_asked(video, style) {
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
        Input::default().and_part(Part::Video(VideoPart::new(self.files.video(video)).with_range(range)))
    }

    /// Half of the queries come with an instruction, so that a model needs none and does not stumble over
    /// one.
    fn introduced(&mut self, input: Input, instruction: &str) -> Input {
        if pick(self.random, &[true, false]) { input.with_instruction(instruction) } else { input }
    }

    fn push(
        &mut self,
        task: &str,
        group: Option<String>,
        query: Input,
        positive: Input,
        negatives: Vec<Input>,
    ) {
        // The names of tasks are those above, which a test reads back.
        if let Ok(task) = task.parse::<Task>() {
            self.made.pairs.push(Pair {
                task,
                source: Some("procedural world".into()),
                group,
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

/// Whether one would ask for a video in this style: a part of each of several scenes is no part.
fn is_asked(video: &Video, style: Style) -> bool {
    video.scenes.len() == 1 || !matches!(style, Style::Partial(_))
}

fn instruction(video: &Video, style: Style) -> &'static str {
    match (video.scenes.len(), style) {
        (2.., Style::Detailed) => instructions::LONG,
        (2.., Style::Summary) => instructions::SCENES,
        _ => instructions::of(style),
    }
}

impl Scene {
    /// The scene as its first frame shows it, without what happens later; nothing where that is an empty
    /// picture.
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

#[cfg(test)]
mod tests {
    use super::super::director::{ChangeKind, any_scene};
    use super::*;

    #[test]
    fn captions_of_a_group_fit_one_video_each() {
        let (mut captions, mut of_several) = (0, 0);
        for seed in 0..60 {
            let random = &mut Random::new(seed);
            let family = Family::of(Video::of(any_scene(random))).varied(
                &ChangeKind::ALL,
                ChangeKind::ALL.len(),
                random,
            );
            let files = Files { root: Path::new(""), family: 0, extension: "mp4" };
            let mut maker =
                Maker { family: &family, files: &files, near_misses: false, random, made: Pairs::default() };
            let views: Vec<_> = family.videos.iter().cloned().map(Some).collect();
            let mut groups = BTreeMap::<String, Vec<(usize, VideoCaption)>>::new();
            for (group, video, _, caption) in maker.told_apart(&views, &Style::ALL) {
                groups.entry(group).or_default().push((video, caption));
            }
            for members in groups.values() {
                let videos: std::collections::BTreeSet<usize> =
                    members.iter().map(|(video, _)| *video).collect();
                of_several += usize::from(videos.len() > 1);
                for (own, caption) in members {
                    captions += 1;
                    for &video in &videos {
                        assert_eq!(caption.holds(&family.videos[video]), video == *own, "{}", caption.text);
                    }
                }
            }
        }
        assert!(
            captions > 1000 && of_several > 60,
            "{captions} captions, {of_several} groups of several videos"
        );
    }
}
