//! A held-out benchmark of 16 small data sets in the layout of UVRB, each asking for what its namesake asks
//! for.
//!
//! A corpus is made of groups of videos that differ in just what is asked about: the same things in other
//! places, the same events in another order, the same scene under another camera. What words or a clip are
//! relevant to is not taken from how the videos were made but judged against all of them, so that every
//! relevant video counts and no other one does. A frame or a composed query has one relevant video, which it
//! tells from the others of its group.

mod corpus;
mod sets;

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde_json::{Value, json};

use crate::embedder::CancelToken;
use crate::options::with_fields;
use crate::random::Random;
use crate::synth::SynthError;
use crate::synth::output_folder::OutputFolder;
use crate::video::VideoEncoding;

use super::folder;
use super::pairs::clip_span;
use super::scene::FPS;

use corpus::{Member, difference, members, telling_frame, words};
use sets::{Asks, SETS, Set};

/// What [`write_mini`] makes.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct MiniSettings {
    /// Where all randomness comes from.
    pub seed: u64,
    /// Videos of a corpus; three times as many where the first ten of a ranking count.
    pub videos: usize,
    /// How videos are stored.
    pub encoding: VideoEncoding,
}

impl MiniSettings {
    /// 102 videos of a corpus, stored small.
    pub fn new(seed: u64) -> Self {
        Self { seed, videos: 102, encoding: VideoEncoding::H264 { crf: 20 } }
    }
}

with_fields!(MiniSettings {
    with_videos(videos: usize),
    with_encoding(encoding: VideoEncoding),
});

/// A data set that [`write_mini`] made.
#[derive(Debug, Clone, PartialEq)]
pub struct MiniSet {
    /// Its name in UVRB.
    pub id: &'static str,
    /// Number of queries.
    pub queries: usize,
    /// Videos of the corpus.
    pub videos: usize,
    /// Share of queries that a random ranking would answer with its first document.
    pub chance: f64,
}

/// Seeds of the benchmark are apart from those of a world, whatever the seed.
const BENCHMARK: u64 = 0x7576_7262_6D69_6E69;
/// Candidates of a composed query.
const CANDIDATES: usize = 50;

/// Writes the 16 data sets under `root`, as `<root>/<NAME>/jsonl/{queries,corpus,instances}.jsonl` and the
/// media beside. Files that are there are not made again. `progress` is told how many more data sets are
/// there.
///
/// # Errors
/// [`SynthError`]; finished files are kept.
pub fn write_mini(
    root: &Path,
    settings: MiniSettings,
    cancel: &CancelToken,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<Vec<MiniSet>, SynthError> {
    let MiniSettings { seed, videos, encoding } = settings;
    folder::require_some(&[("videos", videos)])?;
    let description = json!({"kind": "uvrb-mini", "generator": folder::GENERATOR, "seed": seed, "videos": videos, "encoding": encoding});
    let output = OutputFolder::open(root, &description)?;
    let root = output.root();
    let mut made = Vec::new();
    for set in &SETS {
        let writer = Writer { set, directory: root.join(set.id), settings, cancel };
        made.push(writer.write()?);
        progress(1);
    }
    Ok(made)
}

struct Writer<'a> {
    set: &'a Set,
    directory: PathBuf,
    settings: MiniSettings,
    cancel: &'a CancelToken,
}

/// A query in its three files.
struct Query {
    line: Value,
    relevant: Vec<usize>,
    candidates: Option<Vec<usize>>,
}

impl Writer<'_> {
    fn write(&self) -> Result<MiniSet, SynthError> {
        for folder in ["jsonl", "videos", "images"] {
            folder::make_directory(&self.directory.join(folder))?;
        }
        let corpus = self.set.corpus;
        let seed = self.settings.seed ^ BENCHMARK;
        let members = members(corpus, corpus.times * self.settings.videos, seed, self.cancel)?;
        let each = (0..members.len()).into_par_iter().map(|own| {
            if self.cancel.is_cancelled() {
                return Err(SynthError::Cancelled);
            }
            let video = &members[own].video;
            let path = self.directory.join(self.document(own));
            folder::write_video(&path, video, 0..video.frames(), self.settings.encoding)?;
            let salt = SETS.iter().position(|set| set.id == self.set.id).unwrap_or_default();
            self.query(&members, own, &mut Random::derived(seed, &[corpus.number, salt as u64, own as u64]))
        });
        let queries: Vec<Option<Query>> = each.collect::<Result<_, _>>()?;
        let queries: Vec<(usize, Query)> =
            queries.into_iter().enumerate().filter_map(|(own, query)| Some((own, query?))).collect();
        self.write_index(members.len(), &queries)?;
        let chance = queries.iter().map(|(_, query)| {
            let among = query.candidates.as_ref().map_or(members.len(), Vec::len);
            query.relevant.len() as f64 / among as f64
        });
        Ok(MiniSet {
            id: self.set.id,
            queries: queries.len(),
            videos: members.len(),
            chance: chance.sum::<f64>() / queries.len().max(1) as f64,
        })
    }

    fn query(
        &self,
        members: &[Member],
        own: usize,
        random: &mut Random,
    ) -> Result<Option<Query>, SynthError> {
        let first = own - own % self.set.corpus.group;
        let group = &members[first..members.len().min(first + self.set.corpus.group)];
        let id = format!("q{own:04}");
        let mut line = json!({"id": id});
        let (mut relevant, mut candidates) = (vec![own], None);
        match self.set.asks {
            Asks::Words(style) => {
                let Some((caption, fitting)) = words(members, own, style, random) else { return Ok(None) };
                line["text"] = json!(caption.text);
                relevant = fitting;
            }
            Asks::Frame => {
                let Some(frame) = telling_frame(group, own - first, random) else { return Ok(None) };
                line["image"] = json!(self.frame(&members[own], &id, frame)?);
            }
            Asks::Clip => {
                let scene = &members[own].video.scenes[members[own].scene];
                relevant = (0..members.len()).filter(|&m| members[m].video.scenes.contains(scene)).collect();
                line["video"] = json!(self.clip(&members[own], &id, random)?);
            }
            Asks::FrameAndWords | Asks::ClipAndWords => {
                let Some(text) = difference(group, own - first, random) else { return Ok(None) };
                line["text"] = json!(text);
                if matches!(self.set.asks, Asks::FrameAndWords) {
                    let frame = random.below(group[0].video.frames());
                    line["image"] = json!(self.frame(&group[0], &id, frame)?);
                } else {
                    line["video"] = json!(self.clip(&group[0], &id, random)?);
                }
                candidates = Some(candidates_of(first..first + group.len(), members.len(), random));
            }
        }
        Ok(Some(Query { line, relevant, candidates }))
    }

    fn write_index(&self, videos: usize, queries: &[(usize, Query)]) -> Result<(), SynthError> {
        let ids = |documents: &[usize]| documents.iter().map(|&own| document_id(own)).collect::<Vec<_>>();
        let corpus = (0..videos).map(|own| json!({"id": document_id(own), "video": self.document(own)}));
        let instances = queries.iter().map(|(_, query)| {
            let mut line = json!({"qid": query.line["id"], "pos": ids(&query.relevant)});
            if let Some(candidates) = &query.candidates {
                line["candidates"] = json!(ids(candidates));
            }
            line
        });
        let files: [(&str, Vec<Value>); 3] = [
            ("queries", queries.iter().map(|(_, query)| query.line.clone()).collect()),
            ("corpus", corpus.collect()),
            ("instances", instances.collect()),
        ];
        for (name, lines) in files {
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            folder::write_text(&self.directory.join(format!("jsonl/{name}.jsonl")), &text)?;
        }
        Ok(())
    }

    /// Path of a document in the data set.
    fn document(&self, own: usize) -> String {
        format!("videos/{}.{}", document_id(own), self.settings.encoding.extension())
    }

    fn frame(&self, member: &Member, id: &str, frame: usize) -> Result<String, SynthError> {
        let name = format!("images/{id}.png");
        if let Some(picture) = member.video.draw(frame) {
            folder::write_image(&self.directory.join(&name), &picture)?;
        }
        Ok(name)
    }

    /// A part of the scene that tells the video from its near misses, as a file of its own.
    fn clip(&self, member: &Member, id: &str, random: &mut Random) -> Result<String, SynthError> {
        let name = format!("videos/{id}.{}", self.settings.encoding.extension());
        let [first, last] = clip_span(&member.video, member.scene, random)
            .map(|seconds| (seconds * f64::from(FPS)).round() as usize);
        folder::write_video(
            &self.directory.join(&name),
            &member.video,
            first..last + 1,
            self.settings.encoding,
        )?;
        Ok(name)
    }
}

fn document_id(own: usize) -> String {
    format!("v{own:04}")
}

/// The documents of a group and others, [`CANDIDATES`] in all.
fn candidates_of(group: std::ops::Range<usize>, documents: usize, random: &mut Random) -> Vec<usize> {
    let others: Vec<usize> = (0..documents).filter(|own| !group.contains(own)).collect();
    let wanted = CANDIDATES.saturating_sub(group.len());
    let mut candidates: Vec<usize> = group.collect();
    candidates.extend(random.sample(others.len(), wanted).into_iter().map(|place| others[place]));
    candidates.sort_unstable();
    candidates
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_hold_the_group_and_are_as_many_as_there_are_up_to_50() {
        for (documents, expected) in [(6, 6), (50, 50), (51, 50), (306, 50)] {
            for first in (0..documents - 4).step_by(7) {
                let group = first..first + 4;
                let candidates = candidates_of(group.clone(), documents, &mut Random::new(first as u64));
                assert_eq!(candidates.len(), expected, "of {documents}");
                assert!(candidates.windows(2).all(|pair| pair[0] < pair[1]), "each once: {candidates:?}");
                assert!(candidates.iter().all(|&own| own < documents));
                assert!(group.clone().all(|own| candidates.contains(&own)), "{group:?} of {documents}");
            }
        }
    }
}
