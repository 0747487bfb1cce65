//! A world in a directory: videos, captions and training pairs.

use std::collections::BTreeMap;
use std::path::Path;

use rayon::prelude::*;
use serde_json::{Value, json};

use crate::embedder::CancelToken;
use crate::options::with_fields;
use crate::random::Random;
use crate::synth::SynthError;
use crate::synth::output_folder::OutputFolder;
use crate::video::VideoEncoding;

use super::director::{ChangeKind, MOST_THINGS, pick, scene_of_at_most};
use super::folder;
use super::pairs::{Files, Pairs, pairs, picture_pairs};
use super::style::Style;
use super::video::{Family, Video};

/// What [`write_world`] makes.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WorldSettings {
    /// Where all randomness comes from.
    pub seed: u64,
    /// How many videos; a few more where the last family has them. None where pictures are enough.
    pub videos: usize,
    /// How many scenes beyond those of the videos there are a picture and words of; a few more where the last
    /// family has them.
    pub pictures: usize,
    /// Most things in a scene, from one to [`MOST_THINGS`].
    pub things: usize,
    /// Most videos of a family, from two to [`LARGEST_FAMILY`]: one, and others that differ from it in a
    /// single respect.
    pub family: usize,
    /// In what they may differ. All of a family differ in the same of these, drawn for each, and `t2v` and `t2i`
    /// have captions alone that tell them apart. With none given, each differs in a respect of its own.
    pub differ: Vec<ChangeKind>,
    /// How videos are stored.
    pub encoding: VideoEncoding,
}

/// Most videos of a family.
pub const LARGEST_FAMILY: usize = 1 + ChangeKind::ALL.len();
/// Most videos of a family where nothing else is asked for.
pub const USUAL_FAMILY: usize = 3;

impl WorldSettings {
    /// Nothing yet, of scenes with up to [`MOST_THINGS`] things, in families of up to [`USUAL_FAMILY`]; videos
    /// would be small.
    pub fn new(seed: u64) -> Self {
        let encoding = VideoEncoding::H264 { crf: 20 };
        let (things, family) = (MOST_THINGS, USUAL_FAMILY);
        Self { seed, videos: 0, pictures: 0, things, family, differ: Vec::new(), encoding }
    }

    fn check(&self) -> Result<(), SynthError> {
        folder::require_some(&[("videos", self.videos), ("pictures", self.pictures)])?;
        let takes_two = |kind: &ChangeKind| matches!(kind, ChangeKind::Swap | ChangeKind::Reorder);
        let things = match self.differ.iter().any(takes_two) {
            true => {
                ("things", self.things, 2..=MOST_THINGS, "2 or 3 where families differ in swap or reorder")
            }
            false => ("things", self.things, 1..=MOST_THINGS, "1 to 3"),
        };
        let limits = [things, ("family", self.family, 2..=LARGEST_FAMILY, "2 to 10")];
        match limits.into_iter().find(|(_, got, allowed, _)| !allowed.contains(got)) {
            Some((setting, got, _, expected)) => {
                Err(SynthError::Setting { setting, expected, got: got.to_string() })
            }
            None => Ok(()),
        }
    }

    /// What tells one world from another, in `run.json`. What came later is left out where it is as before.
    fn description(&self) -> Value {
        let mut description = json!({
            "kind": "world", "generator": folder::GENERATOR, "seed": self.seed, "videos": self.videos,
            "pictures": self.pictures, "things": self.things, "encoding": self.encoding
        });
        if self.family != USUAL_FAMILY {
            description["family"] = json!(self.family);
        }
        if !self.differ.is_empty() {
            description["differ"] = self.differ.iter().map(|kind| kind.name()).collect();
        }
        description
    }
}

with_fields!(WorldSettings {
    with_videos(videos: usize),
    with_pictures(pictures: usize),
    with_things(things: usize),
    with_family(family: usize),
    with_differ(differ: Vec<ChangeKind>),
    with_encoding(encoding: VideoEncoding),
});

/// What [`write_world`] made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorldSummary {
    /// Videos.
    pub videos: usize,
    /// Pictures out of videos.
    pub images: usize,
    /// Captions, in all styles.
    pub captions: usize,
    /// Pairs of each task.
    pub pairs: BTreeMap<String, usize>,
}

/// Seeds of families are apart from those of anything else.
const FAMILIES: u64 = 0x776F_726C_6400;
/// Families of which there are pictures alone are apart from the others.
const PICTURES: u64 = 0x7069_6374_7572_6573;
/// How often another video is tried for that differs in a respect, which may be one that is there already.
const TRIES: usize = 2;
/// How many scenes are tried where one cannot differ in a respect.
const SCENES: usize = 64;
/// Families of which pictures are drawn before anybody is asked again.
const BLOCK: usize = 16;

/// Writes videos and what is said of them under `root`:
///
/// - `videos/` and `images/`, the latter frames out of the former,
/// - `captions.jsonl`: one caption of each video in each of the styles, `{"video", "style", "text"}`,
/// - `pairs_<task>.jsonl`: pairs for [`Trainer`](crate::train::Trainer), of the seven kinds,
/// - `run.json`: what was asked for.
///
/// Files that are there are not made again, so that a run that was stopped goes on. `progress` is told how
/// many more videos and scenes of pictures are there.
///
/// # Errors
/// [`SynthError`]; finished files are kept.
pub fn write_world(
    root: &Path,
    settings: WorldSettings,
    cancel: &CancelToken,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<WorldSummary, SynthError> {
    settings.check()?;
    let settings = &settings;
    let (seed, encoding) = (settings.seed, settings.encoding);
    let near_misses = !settings.differ.is_empty();
    let output = OutputFolder::open(root, &settings.description())?;
    let root = output.root();
    for directory in ["videos", "images"] {
        folder::make_directory(&root.join(directory))?;
    }
    let of_pictures =
        families(seed ^ PICTURES, settings.pictures, cancel, |random| of_one_scene(settings, random))?;
    let families = families(seed, settings.videos, cancel, |random| family(settings, random))?;
    let mut made: Vec<Pairs> = Vec::with_capacity(families.len() + of_pictures.len());
    let all: Vec<&Family> = families.iter().chain(&of_pictures).collect();
    for (block, members) in all.chunks(BLOCK).enumerate() {
        let drawn = members.par_iter().enumerate().map(|(place, family)| {
            if cancel.is_cancelled() {
                return Err(SynthError::Cancelled);
            }
            let number = block * BLOCK + place;
            let files = Files { root, family: number, extension: encoding.extension() };
            let random = &mut Random::derived(seed, &[FAMILIES, number as u64, 1]);
            let made = if number < families.len() {
                draw_videos(family, &files, encoding)?;
                pairs(family, &files, near_misses, random)
            } else {
                picture_pairs(family, &files, near_misses, random)
            };
            draw_pictures(family, &files, &made)?;
            progress(family.videos.len());
            Ok(made)
        });
        made.extend(drawn.collect::<Result<Vec<_>, SynthError>>()?);
    }
    let captions = write_captions(root, &families, settings)?;
    Ok(WorldSummary {
        videos: families.iter().map(|family| family.videos.len()).sum(),
        images: made
            .iter()
            .map(|made| made.stills.iter().collect::<std::collections::BTreeSet<_>>().len())
            .sum(),
        captions,
        pairs: write_pairs(root, &made)?,
    })
}

fn families(
    seed: u64,
    videos: usize,
    cancel: &CancelToken,
    family: impl Fn(&mut Random) -> Family,
) -> Result<Vec<Family>, SynthError> {
    let mut families = Vec::new();
    let mut count = 0;
    while count < videos {
        if cancel.is_cancelled() {
            return Err(SynthError::Cancelled);
        }
        let family = family(&mut Random::derived(seed, &[FAMILIES, families.len() as u64, 0]));
        count += family.videos.len();
        families.push(family);
    }
    Ok(families)
}

/// A video of one scene, in one of three cases of several, and others close to it.
fn family(settings: &WorldSettings, random: &mut Random) -> Family {
    if random.below(3) != 0 {
        return of_one_scene(settings, random);
    }
    let scenes = (0..2 + random.below(4)).map(|_| scene_of_at_most(settings.things, random)).collect();
    let others = settings.family - 2;
    let kinds = match &settings.differ[..] {
        [] => vec![pick(random, &ChangeKind::ALL); others],
        kinds => vec![pick(random, kinds); others * TRIES],
    };
    Family::of(Video { scenes }).varied(&kinds, others, random).reordered(random)
}

/// A video of one scene, and others close to it.
fn of_one_scene(settings: &WorldSettings, random: &mut Random) -> Family {
    let others = settings.family - 1;
    if settings.differ.is_empty() {
        let kinds = random.permutation(ChangeKind::ALL.len());
        let mut kinds: Vec<ChangeKind> = kinds.into_iter().map(|number| ChangeKind::ALL[number]).collect();
        // A thing alone stands elsewhere in the first of them: such worlds are there to teach places.
        kinds.sort_by_key(|&kind| settings.things > 1 || kind != ChangeKind::Move);
        return Family::of(Video::of(scene_of_at_most(settings.things, random)))
            .varied(&kinds, others, random);
    }
    let kinds = vec![pick(random, &settings.differ); others * TRIES];
    let mut family =
        || Family::of(Video::of(scene_of_at_most(settings.things, random))).varied(&kinds, others, random);
    // Not every scene can differ in every respect: a thing alone has nobody to swap places with.
    let varied = (0..SCENES).map(|_| family()).find(|family| family.videos.len() > 1);
    varied.unwrap_or_else(family)
}

fn draw_videos(family: &Family, files: &Files, encoding: VideoEncoding) -> Result<(), SynthError> {
    for (number, video) in family.videos.iter().enumerate() {
        folder::write_video(&files.video(number), video, 0..video.frames(), encoding)?;
    }
    Ok(())
}

fn draw_pictures(family: &Family, files: &Files, made: &Pairs) -> Result<(), SynthError> {
    for &(number, frame) in &made.stills {
        if let Some(picture) = family.videos[number].draw(frame) {
            folder::write_image(&files.still((number, frame)), &picture)?;
        }
    }
    Ok(())
}

fn write_captions(root: &Path, families: &[Family], settings: &WorldSettings) -> Result<usize, SynthError> {
    let mut lines = String::new();
    for (number, family) in families.iter().enumerate() {
        let files = Files { root: Path::new(""), family: number, extension: settings.encoding.extension() };
        let random = &mut Random::derived(settings.seed, &[FAMILIES, number as u64, 2]);
        for (place, video) in family.videos.iter().enumerate() {
            for style in Style::ALL {
                if let Some(caption) = video.describe(style, random) {
                    let line =
                        json!({"video": files.video(place), "style": style.name(), "text": caption.text});
                    lines.push_str(&format!("{line}\n"));
                }
            }
        }
    }
    folder::write_text(&root.join("captions.jsonl"), &lines)?;
    Ok(lines.lines().count())
}

fn write_pairs(root: &Path, made: &[Pairs]) -> Result<BTreeMap<String, usize>, SynthError> {
    let mut files = BTreeMap::<String, String>::new();
    let mut counts = BTreeMap::new();
    let path = |task: &str| root.join(format!("pairs_{task}.jsonl"));
    for pair in made.iter().flat_map(|made| &made.pairs) {
        let task = pair.task.to_string();
        let count: &mut usize = counts.entry(task.clone()).or_default();
        *count += 1;
        let fault = |reason| SynthError::Content { path: path(&task), line: *count, reason };
        let line = pair.to_json(root).map_err(fault)?;
        let lines = files.entry(task).or_default();
        lines.push_str(&line);
        lines.push('\n');
    }
    for (task, lines) in files {
        folder::write_text(&path(&task), &lines)?;
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A seed means the same world in every release, unless [`folder::GENERATOR`] says otherwise.
    #[test]
    fn seeds_mean_what_they_meant() {
        let (mut videos, mut letters) = (0, 0);
        for number in 0..600 {
            let random = &mut Random::derived(1, &[FAMILIES, number, 0]);
            let family = family(&WorldSettings::new(1), random);
            let random = &mut Random::derived(1, &[FAMILIES, number, 2]);
            videos += family.videos.len();
            for video in &family.videos {
                let captions = Style::ALL.into_iter().filter_map(|style| video.describe(style, random));
                letters += captions.map(|caption| caption.text.len()).sum::<usize>();
            }
        }
        assert_eq!((videos, letters), (1762, 2_371_289));
    }
}
