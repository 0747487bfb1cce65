//! V-SynFlow (arXiv 2510.27571): from videos to training pairs of seven kinds.
//!
//! ```text
//! videos -> clips -> good clips -> captions -> composed queries -> pairs
//!           quality control       enrichment   task extension
//! ```
//!
//! 1. *Quality control* cuts videos into clips, keeps a frame of each, and drops clips in which nothing
//!    moves. Captions that came with the videos are dropped if they describe nothing or, by the embedder,
//!    something else.
//! 2. *Enrichment* has a multimodal model behind a chat endpoint describe every clip in five styles under a
//!    random profile, and its frame. What it writes goes through the same filters.
//! 3. *Task extension* has it write queries that lead from a picture, or a clip, and a text to another clip,
//!    and writes the pairs: text to text, image and video, image to video, clip to video, and the two
//!    composed kinds.
//!
//! Whatever is expensive, a decoded video, an embedding, an answer of the captioner, is written down as soon
//! as it is there, and never made again. A stage is otherwise a function of settings, seed and what was
//! written down: a run that was stopped, or killed, is continued by running it again, and comes to the same
//! pairs.

mod answer;
mod caption_rules;
mod captioner;
mod clip;
mod embeddings;
mod enrichment;
mod extension;
mod folder;
mod interview;
mod journal;
mod measure;
mod pictures;
mod profile;
mod prompts;
mod quality;
mod reply;
mod report;
mod settings;
mod source_captions;
mod template;
mod texts;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use captioner::{Captioner, CaptionerSettings};
pub use prompts::{BUILT_IN_PROMPTS, Prompts};
pub use report::{Filter, Judgement, Stage, StageReport};
pub use settings::FlowSettings;
pub use source_captions::SourceCaptions;

use crate::embedder::{CancelToken, Embedder, Progress};
use crate::options::shown_by;
use crate::retrieval::{FileFingerprint, LibraryManifest};
use crate::synth::SynthError;
use folder::{RunFolder, RunManifest};
use interview::Interview;
use journal::Journal;
use texts::TextJudge;

/// Everything a run is made of.
pub struct FlowPlan {
    /// The videos, as absolute paths. Their order does not matter.
    pub videos: Vec<PathBuf>,
    /// Captions that came with them.
    pub captions: SourceCaptions,
    /// What decides which pairs come out.
    pub settings: FlowSettings,
    /// What the captioner is told and asked.
    pub prompts: Prompts,
    /// The multimodal model.
    pub captioner: Captioner,
    /// What finds out whether texts and clips belong together.
    pub embedder: Embedder,
    /// What the embedder is, as [`library_manifest`](crate::indexer::library_manifest) has it.
    pub library_manifest: LibraryManifest,
}

shown_by!(FlowPlan |it| { videos: it.videos.len(), settings: it.settings, captioner: it.captioner, embedder: it.embedder });

/// A run of V-SynFlow in an output folder.
pub struct Flow {
    plan: FlowPlan,
    folder: RunFolder,
    replies: RefCell<Journal<String>>,
    taken_out: RefCell<Journal<usize>>,
    outdated: Cell<usize>,
}

shown_by!(Flow |it| { plan: it.plan });

/// Something that happened in a run.
#[derive(Debug)]
#[non_exhaustive]
pub enum FlowEvent<'a> {
    /// How far a step has come.
    Progress(&'static str, Progress),
    /// Something went wrong with an item; everything else goes on.
    Failed(&'a Judgement),
    /// A stage is done.
    Report(&'a StageReport),
}

/// Who hears of events.
type OnEvent<'a> = &'a mut dyn FnMut(FlowEvent<'_>);

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FlowSummary {
    /// What each stage kept and dropped.
    pub reports: Vec<StageReport>,
    /// Pairs of each kind; empty if the last stage was not run.
    pub pairs: BTreeMap<String, usize>,
}

impl Flow {
    /// Opens the output folder `out` for this plan, which begins there or goes on. No video is decoded and
    /// nothing is asked yet.
    ///
    /// # Errors
    /// [`SynthError::OtherRun`] naming what differs from the run that began there; [`SynthError::Locked`];
    /// [`SynthError::Setting`]; [`SynthError::Content`] for a damaged journal; [`SynthError::Io`].
    pub fn open(mut plan: FlowPlan, out: &Path) -> Result<Self, SynthError> {
        plan.settings.check()?;
        plan.videos.sort();
        plan.videos.dedup();
        let mut videos = BTreeMap::new();
        for video in &plan.videos {
            let FileFingerprint { size_bytes, modified_nanoseconds } = FileFingerprint::of_file(video)?;
            let state = format!("{size_bytes} bytes of {modified_nanoseconds}");
            videos.insert(video.to_string_lossy().into_owned(), state);
        }
        let manifest = RunManifest {
            settings: &plan.settings,
            captioner_model: &plan.captioner.settings().model,
            embedder: &plan.library_manifest,
            prompts: plan.prompts.fingerprints(),
            captions: plan.captions.fingerprint(),
            videos,
        };
        let folder = RunFolder::open(out, &manifest)?;
        let replies = RefCell::new(Journal::open(&folder.journal("replies"))?);
        let taken_out = RefCell::new(Journal::open(&folder.journal("taken_out"))?);
        Ok(Self { plan, folder, replies, taken_out, outdated: Cell::new(0) })
    }

    /// Runs the stages up to `until`, passing over whatever was done before.
    ///
    /// # Errors
    /// [`SynthError::Captioner`] where the endpoint is of no use; [`SynthError::Cancelled`]; errors of the
    /// disk. What was finished is kept, and another run goes on from there. What goes wrong with a single
    /// item is no error but an [`FlowEvent::Failed`] and a line of the stage's report; another run tries it
    /// again.
    pub fn run(
        &self,
        until: Stage,
        cancel: &CancelToken,
        on_event: &mut dyn FnMut(FlowEvent<'_>),
    ) -> Result<FlowSummary, SynthError> {
        let mut summary = FlowSummary::default();
        let mut report = |stage, judgements: &[Judgement], on_event: OnEvent<'_>| {
            let report = StageReport::write(stage, judgements, &self.folder.report(stage))?;
            let failed = judgements.iter().filter(|j| j.filter.is_some_and(Filter::is_failure));
            failed.for_each(|judgement| on_event(FlowEvent::Failed(judgement)));
            on_event(FlowEvent::Report(&report));
            summary.reports.push(report);
            Ok::<_, SynthError>(())
        };
        let cosines = Journal::open(&self.folder.journal("cosines"))?;
        let mut judge = TextJudge::new(&self.plan.embedder, &self.plan.settings, cosines);
        let (clips, judgements) = self.control_quality(&mut judge, cancel, on_event)?;
        report(Stage::Quality, &judgements, on_event)?;
        if until == Stage::Quality {
            return Ok(summary);
        }
        let interview = Interview {
            captioner: &self.plan.captioner,
            prompts: &self.plan.prompts,
            settings: &self.plan.settings,
            video: self.video(),
            cancel,
            replies: &self.replies,
            taken_out: &self.taken_out,
            outdated: &self.outdated,
            has_spoken: Cell::new(self.replies.borrow().len() > 0),
        };
        let (described, judgements) = self.enrich(&clips, &interview, &mut judge, on_event)?;
        report(Stage::Enrichment, &judgements, on_event)?;
        if until == Stage::Enrichment {
            return Ok(summary);
        }
        let (pairs, judgements) = self.extend(&described, &interview, on_event)?;
        report(Stage::Extension, &judgements, on_event)?;
        summary.pairs = pairs;
        Ok(summary)
    }

    /// Usable answers of the captioner that are on disk.
    pub fn num_replies(&self) -> usize {
        self.replies.borrow().len()
    }

    /// How many of them were taken out of answers with something else in them: a fence, thoughts, a sentence.
    pub fn num_replies_taken_out(&self) -> usize {
        self.taken_out.borrow().len()
    }

    /// Replies that were on disk and did not fit what is asked for, so that they were asked for again.
    pub fn num_replies_outdated(&self) -> usize {
        self.outdated.get()
    }

    /// The file of pairs, which is there when all stages are done.
    pub fn pairs_path(&self) -> PathBuf {
        self.folder.pairs()
    }
}

/// Passes the progress of the step `what` on.
fn telling<'a>(on_event: &'a mut dyn FnMut(FlowEvent<'_>), what: &'static str) -> impl FnMut(Progress) + 'a {
    move |progress| on_event(FlowEvent::Progress(what, progress))
}
