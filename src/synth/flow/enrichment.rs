use super::clip::{Clip, Draw};
use super::interview::{Interview, Question, Unanswered};
use super::pictures::{PictureSource, Pictures};
use super::profile::Profile;
use super::quality::GoodClip;
use super::reply::{Captions, FrameCaption, Reply};
use super::report::{Filter, Judgement};
use super::texts::{Candidate, TextJudge};
use super::{Flow, OnEvent, telling};
use crate::synth::SynthError;

/// A clip and what is said of it.
pub(super) struct DescribedClip<'a> {
    pub(super) clip: &'a Clip,
    pub(super) embedding: &'a [f32],
    /// Captions that are kept, those that were written and those that came with it, each with its style.
    pub(super) captions: Vec<(&'static str, String)>,
    /// A caption of its frame, if it is kept.
    pub(super) frame_caption: Option<String>,
    /// What the captioner wrote first about the clip and about its frame, kept or not. Prompts hold these and
    /// nothing in their place: what is kept changes with thresholds and with what is answered later, and
    /// other words would be another question.
    pub(super) summary: Option<String>,
    pub(super) frame_summary: Option<String>,
}

impl<'a> DescribedClip<'a> {
    fn new(good: &'a GoodClip) -> Self {
        Self {
            clip: &good.clip,
            embedding: &good.embedding,
            captions: Vec::new(),
            frame_caption: None,
            summary: None,
            frame_summary: None,
        }
    }
}

impl Flow {
    /// Has all clips described, each under a profile of its own, and drops texts as quality control does.
    /// Gives the verdict on every text.
    pub(super) fn enrich<'a>(
        &self,
        clips: &'a [GoodClip],
        interview: &Interview<'_>,
        judge: &mut TextJudge<'_>,
        on_event: OnEvent<'_>,
    ) -> Result<(Vec<DescribedClip<'a>>, Vec<Judgement>), SynthError> {
        let questions: Vec<Question> = clips.iter().map(|clip| self.ask_for_captions(clip)).collect();
        let captions = interview.ask_all::<Captions>(&questions, telling(on_event, "asking for captions"))?;
        let questions: Vec<Question> = clips.iter().map(|clip| self.ask_for_frame_caption(clip)).collect();
        let frames = interview
            .ask_all::<FrameCaption>(&questions, telling(on_event, "asking for captions of frames"))?;

        let mut described: Vec<DescribedClip<'a>> = clips.iter().map(DescribedClip::new).collect();
        let (mut texts, mut owners, mut judgements) = (Vec::new(), Vec::new(), Vec::new());
        for (i, (captions, frame)) in captions.into_iter().zip(frames).enumerate() {
            let GoodClip { clip, embedding, frame_embedding, .. } = &clips[i];
            let (id, frame_id) = (Clip::id(clip.place), frame_id(clip));
            match captions {
                Ok(captions) => {
                    described[i].summary = Some(captions.summary.clone());
                    for (style, text) in captions.into_styles() {
                        texts.push(Candidate { item: id.clone(), style, text, target: embedding });
                        owners.push(i);
                    }
                }
                Err(unanswered) => judgements.push(unanswered.judgement(id, Captions::NAME)),
            }
            match frame {
                Ok(FrameCaption { caption: text }) => {
                    described[i].frame_summary = Some(text.clone());
                    let (item, style) = (frame_id, FrameCaption::NAME);
                    texts.push(Candidate { item, style, text, target: frame_embedding });
                    owners.push(i);
                }
                Err(unanswered) => judgements.push(unanswered.judgement(frame_id, FrameCaption::NAME)),
            }
        }
        let verdicts = judge.judge(&texts, interview.cancel, telling(on_event, "judging captions"))?;

        for (verdict, i) in verdicts.iter().zip(owners).filter(|(verdict, _)| verdict.is_kept()) {
            match (verdict.style, verdict.text.clone()) {
                (Some(FrameCaption::NAME), caption) => described[i].frame_caption = caption,
                (style, text) => described[i].captions.extend(style.zip(text)),
            }
        }
        for (clip, good) in described.iter_mut().zip(clips) {
            clip.captions.extend(good.captions.iter().map(|text| ("source", text.clone())));
        }
        judgements.extend(verdicts);
        Ok((described, judgements))
    }

    fn ask_for_captions(&self, good: &GoodClip) -> Question {
        let clip = &good.clip;
        let profile = self.profile(clip);
        let known = if good.captions.is_empty() { "nothing".to_owned() } else { good.captions.join(" / ") };
        let prompt = self.plan.prompts.captions.render([
            &format!("{:.1}", clip.seconds),
            profile.focus,
            &profile.aspects,
            profile.readability,
            profile.education,
            &known,
        ]);
        let pictures = Pictures { title: "The clip:", source: PictureSource::Clip(clip.clone()) };
        Question { item: Clip::id(clip.place), prompt, pictures: vec![pictures] }
    }

    fn ask_for_frame_caption(&self, good: &GoodClip) -> Question {
        let profile = self.profile(&good.clip);
        let prompt = self.plan.prompts.frame.render([profile.readability, profile.education]);
        let pictures =
            Pictures { title: "The picture:", source: PictureSource::File(good.clip.frame.clone()) };
        Question { item: frame_id(&good.clip), prompt, pictures: vec![pictures] }
    }

    fn profile(&self, clip: &Clip) -> Profile {
        Profile::draw(&mut Draw::Profile.random(self.plan.settings.seed, clip.place))
    }
}

impl Captions {
    /// The five texts with the names of their styles, the plainest first.
    fn into_styles(self) -> [(&'static str, String); 5] {
        [
            ("summary", self.summary),
            ("detailed", self.detailed),
            ("partial", self.partial),
            ("abstract", self.r#abstract),
            ("keywords", self.keywords.join(", ")),
        ]
    }
}

impl Unanswered {
    pub(super) fn judgement(self, item: String, what: &'static str) -> Judgement {
        let judgement = Judgement { style: Some(what), ..Judgement::of(item) };
        match self {
            Self::NotAsked(reason) | Self::NoAnswer(reason) => judgement.dropped(Filter::Unanswered, reason),
            Self::Unusable(reason) => judgement.dropped(Filter::UnusableReply, reason),
        }
    }
}

/// What a clip's frame is called in reports.
fn frame_id(clip: &Clip) -> String {
    format!("{} frame", Clip::id(clip.place))
}
