use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use super::clip::Clip;
use super::embeddings::Embeddings;
use super::journal::Journal;
use super::measure::{MeasureError, VideoFacts, measure};
use super::report::{Filter, Judgement};
use super::texts::{Candidate, TextJudge};
use super::{Flow, OnEvent, telling};
use crate::embedder::{CancelToken, Progress};
use crate::synth::SynthError;
use crate::video::{VideoError, VideoOptions};

/// A clip that moves and has an embedding.
pub(super) struct GoodClip {
    pub(super) clip: Clip,
    pub(super) embedding: Vec<f32>,
    pub(super) frame_embedding: Vec<f32>,
    /// Captions that came with it, as far as they are kept.
    pub(super) captions: Vec<String>,
}

impl GoodClip {
    /// `clip` with its embeddings, or why it has none.
    fn new(clip: Clip, embeddings: &Embeddings) -> Result<Self, String> {
        let embedding = embeddings.of_clip(&clip)?.to_vec();
        let frame_embedding = embeddings.of_frame(&clip)?.to_vec();
        Ok(Self { clip, embedding, frame_embedding, captions: Vec::new() })
    }
}

/// A video that was measured, or why it could not be.
type Measured = Result<VideoFacts, VideoError>;

impl Flow {
    /// Cuts videos into clips; drops what cannot be decoded, what does not move, and captions that describe
    /// nothing or something else. Gives the verdict on everything it looked at.
    pub(super) fn control_quality(
        &self,
        judge: &mut TextJudge<'_>,
        cancel: &CancelToken,
        on_event: OnEvent<'_>,
    ) -> Result<(Vec<GoodClip>, Vec<Judgement>), SynthError> {
        let measured = self.measure_videos(cancel, telling(on_event, "measuring videos"))?;
        let (cut, mut judgements) = self.judge_clips(&measured);
        let moving: Vec<&Clip> = cut.iter().filter(|(_, j)| j.is_kept()).map(|(clip, _)| clip).collect();
        let embeddings = Embeddings::make(
            &self.plan.embedder,
            &self.folder.library(),
            &self.plan.library_manifest,
            &moving,
            cancel,
            telling(on_event, "embedding clips"),
        )?;
        let mut clips = Vec::new();
        for (clip, mut judgement) in cut {
            if judgement.is_kept() {
                match GoodClip::new(clip, &embeddings) {
                    Ok(good) => clips.push(good),
                    Err(reason) => judgement = judgement.dropped(Filter::NotEmbedded, reason),
                }
            }
            judgements.push(judgement);
        }
        let (texts, places, dropped) = self.source_captions(&measured, &clips);
        let verdicts = judge.judge(&texts, cancel, telling(on_event, "judging captions"))?;
        for (verdict, place) in verdicts.iter().zip(places) {
            if let Some(text) = verdict.text.as_ref().filter(|_| verdict.is_kept()) {
                clips[place].captions.push(text.clone());
            }
        }
        judgements.extend(dropped);
        judgements.extend(verdicts);
        Ok((clips, judgements))
    }

    /// Decodes all videos that were not decoded before, on all cores.
    fn measure_videos(
        &self,
        cancel: &CancelToken,
        mut on_progress: impl FnMut(Progress),
    ) -> Result<Vec<Measured>, SynthError> {
        let mut journal = Journal::<VideoFacts>::open(&self.folder.journal("videos"))?;
        let (plan, options, videos) = (&self.plan, self.video(), &self.plan.videos);
        let key = |number: usize| videos[number].to_string_lossy().into_owned();
        let mut measured: Vec<Option<Measured>> =
            (0..videos.len()).map(|number| journal.get(&key(number)).cloned().map(Ok)).collect();
        let missing: Vec<usize> = (0..videos.len()).filter(|number| measured[*number].is_none()).collect();
        let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get).min(missing.len());
        let (next, missing, frames) = (AtomicUsize::new(0), &missing, self.folder.frames());
        let (sender, results) = mpsc::channel();
        thread::scope(|scope| {
            for _ in 0..threads {
                let (sender, next, frames) = (sender.clone(), &next, &frames);
                scope.spawn(move || {
                    while let Some(&number) = missing.get(next.fetch_add(1, Ordering::Relaxed))
                        && !cancel.is_cancelled()
                    {
                        let path = &videos[number];
                        let named = plan.captions.ranges(path);
                        let facts = measure(path, number, &named, &plan.settings, options, frames);
                        // Nobody listens any more if a result could not be kept.
                        if sender.send((number, facts)).is_err() {
                            break;
                        }
                    }
                });
            }
            drop(sender);
            for (done, (number, facts)) in (1..).zip(results) {
                on_progress(Progress { done, total: missing.len() });
                let facts = match facts {
                    Err(MeasureError::Synth(error)) => return Err(error),
                    Err(MeasureError::Video(error)) => Err(error),
                    Ok(facts) => Ok(facts),
                };
                if let Ok(facts) = &facts {
                    journal.insert(key(number), facts.clone())?;
                }
                measured[number] = Some(facts);
            }
            Ok(())
        })?;
        measured.into_iter().collect::<Option<_>>().ok_or(SynthError::Cancelled)
    }

    /// How videos are opened: one thread each, since there are many at a time.
    pub(super) fn video(&self) -> VideoOptions {
        VideoOptions { threads: Some(NonZeroUsize::MIN), ..self.plan.embedder.video_options() }
    }

    /// All clips with the verdict on their motion, and the verdicts on videos that have none.
    fn judge_clips(&self, measured: &[Measured]) -> (Vec<(Clip, Judgement)>, Vec<Judgement>) {
        let (mut clips, mut unreadable) = (Vec::new(), Vec::new());
        for (number, (path, facts)) in self.plan.videos.iter().zip(measured).enumerate() {
            match facts {
                Ok(facts) => {
                    let cut = facts.clips(path, number, &self.folder.frames()).into_iter();
                    clips.extend(cut.map(|(clip, motion)| {
                        let judgement = self.judge_motion(&clip, motion);
                        (clip, judgement)
                    }));
                }
                Err(error) => unreadable.push(
                    Judgement::of(path.display().to_string()).dropped(Filter::Unreadable, error.to_string()),
                ),
            }
        }
        (clips, unreadable)
    }

    fn judge_motion(&self, clip: &Clip, motion: f64) -> Judgement {
        let judgement = Judgement::of(Clip::id(clip.place)).measured("motion", motion);
        let least = self.plan.settings.min_motion;
        if motion >= least {
            return judgement;
        }
        judgement.dropped(Filter::Static, format!("its motion is {motion:.4}, at least {least} is asked for"))
    }

    /// The captions that came with the videos: those of good clips with the place of the clip, and verdicts
    /// on the others.
    fn source_captions<'a>(
        &self,
        measured: &[Measured],
        clips: &'a [GoodClip],
    ) -> (Vec<Candidate<'a>>, Vec<usize>, Vec<Judgement>) {
        let by_place: HashMap<_, usize> = clips.iter().enumerate().map(|(i, c)| (c.clip.place, i)).collect();
        let (mut candidates, mut places, mut dropped) = (Vec::new(), Vec::new(), Vec::new());
        for (number, (path, facts)) in self.plan.videos.iter().zip(measured).enumerate() {
            for caption in self.plan.captions.of(path) {
                let fault = |item: String, filter, reason| {
                    Judgement::of_text(&item, "source", &caption.text).dropped(filter, reason)
                };
                let Ok(facts) = facts else {
                    let reason = "its video cannot be decoded";
                    dropped.push(fault(path.display().to_string(), Filter::ClipDropped, reason.to_owned()));
                    continue;
                };
                let Some(clip) = facts.position(caption.range) else {
                    let reason = format!("its video lasts {:.3} s", facts.seconds);
                    dropped.push(fault(path.display().to_string(), Filter::OutOfRange, reason));
                    continue;
                };
                let item = Clip::id((number, clip));
                match by_place.get(&(number, clip)) {
                    Some(&place) => {
                        let (text, target) = (caption.text.clone(), &clips[place].embedding);
                        candidates.push(Candidate { item, style: "source", text, target });
                        places.push(place);
                    }
                    None => {
                        dropped.push(fault(item, Filter::ClipDropped, "its clip was dropped".to_owned()));
                    }
                }
            }
        }
        (candidates, places, dropped)
    }
}
