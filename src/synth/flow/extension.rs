use std::collections::BTreeMap;
use std::io::Write;

use ndarray::{Array2, ArrayView1};

use super::caption_rules::{broken_rule, tells_all};
use super::clip::{Clip, Draw};
use super::enrichment::DescribedClip;
use super::interview::{Interview, Question, Unanswered};
use super::pictures::{PictureSource, Pictures};
use super::reply::Composed;
use super::report::{Filter, Judgement};
use super::{Flow, OnEvent, telling};
use crate::embedder::Input;
use crate::pairs::Pair;
use crate::retrieval::rank;
use crate::store::write_file;
use crate::synth::SynthError;

/// A clip's partner is one of so many clips that are most like it.
const PARTNERS: usize = 5;

/// What a composed query leads from: a picture or a clip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reference {
    Frame,
    Clip,
}

impl Reference {
    fn task(self) -> &'static str {
        match self {
            Self::Frame => "ti2v",
            Self::Clip => "tv2v",
        }
    }

    /// What the captioner said of it, unless nothing that was said of the clip is kept.
    fn told<'a>(self, from: &'a DescribedClip<'_>) -> Option<&'a str> {
        let told = match self {
            Self::Frame => &from.frame_summary,
            Self::Clip => &from.summary,
        };
        told.as_deref().filter(|_| !from.captions.is_empty())
    }
}

/// A clip that a composed query is to lead to, and the one that it leads from, each with what was said of it.
struct Composition<'a> {
    reference: Reference,
    from: &'a DescribedClip<'a>,
    from_told: &'a str,
    to: &'a DescribedClip<'a>,
    to_told: &'a str,
}

impl Flow {
    /// Has queries composed of related clips, and makes pairs of seven kinds. Gives the number of pairs of
    /// each kind, and the verdict on every composed query.
    pub(super) fn extend(
        &self,
        clips: &[DescribedClip<'_>],
        interview: &Interview<'_>,
        on_event: OnEvent<'_>,
    ) -> Result<(BTreeMap<String, usize>, Vec<Judgement>), SynthError> {
        let (compositions, mut judgements) = self.compositions(clips)?;
        let questions: Vec<Question> =
            compositions.iter().map(|composition| self.ask_for_query(composition)).collect();
        let replies =
            interview.ask_all::<Composed>(&questions, telling(on_event, "asking for composed queries"))?;
        let mut composed = Vec::new();
        for (composition, reply) in compositions.iter().zip(replies) {
            let judgement = self.judge_query(composition, reply);
            if let Some(query) = judgement.text.clone().filter(|_| judgement.is_kept()) {
                composed.push((composition, query));
            }
            judgements.push(judgement);
        }
        let pairs = self.write_pairs(clips, &composed)?;
        Ok((pairs, judgements))
    }

    /// Two compositions for every clip, each from a partner drawn among the clips most like it; verdicts on
    /// clips that have none.
    fn compositions<'a>(
        &self,
        clips: &'a [DescribedClip<'a>],
    ) -> Result<(Vec<Composition<'a>>, Vec<Judgement>), SynthError> {
        let mut vectors = Array2::zeros((clips.len(), self.plan.library_manifest.dim));
        for (mut row, clip) in vectors.rows_mut().into_iter().zip(clips) {
            row.assign(&ArrayView1::from(clip.embedding));
        }
        let rankings = rank(vectors.view(), vectors.view(), PARTNERS + 1)?;
        let (mut compositions, mut judgements) = (Vec::new(), Vec::new());
        for (row, (to, ranking)) in clips.iter().zip(rankings).enumerate() {
            let Some(to_told) = Reference::Clip.told(to) else { continue };
            let others: Vec<&DescribedClip<'a>> =
                ranking.iter().filter(|m| m.row != row).take(PARTNERS).map(|m| &clips[m.row]).collect();
            let mut random = Draw::Partners.random(self.plan.settings.seed, to.clip.place);
            for reference in [Reference::Frame, Reference::Clip] {
                // Whom a clip is given must not hang on what is said of the others by now: with another
                // partner later, a query that was composed would be lost.
                let from = others.get(random.below(others.len())).copied();
                let told = from.and_then(|from| Some((from, reference.told(from)?)));
                if let Some((from, from_told)) = told {
                    compositions.push(Composition { reference, from, from_told, to, to_told });
                    continue;
                }
                let reason = match from {
                    Some(from) => format!("its partner {} has no caption", Clip::id(from.clip.place)),
                    None => "there is no other clip".to_owned(),
                };
                judgements.push(
                    Judgement { style: Some(reference.task()), ..Judgement::of(Clip::id(to.clip.place)) }
                        .dropped(Filter::NoPartner, reason),
                );
            }
        }
        Ok((compositions, judgements))
    }

    fn ask_for_query(&self, composition: &Composition<'_>) -> Question {
        let Composition { reference, from, from_told, to, to_told } = composition;
        let (name, source) = match reference {
            Reference::Frame => ("a picture", PictureSource::File(from.clip.frame.clone())),
            Reference::Clip => ("another clip", PictureSource::Clip(from.clip.clone())),
        };
        let duration = format!("{:.1}", to.clip.seconds);
        let prompt = self.plan.prompts.compose.render([name, from_told, &duration, to_told]);
        let target = PictureSource::Clip(to.clip.clone());
        Question {
            item: format!("{} {}", reference.task(), Clip::id(to.clip.place)),
            prompt,
            pictures: vec![
                Pictures { title: "The reference:", source },
                Pictures { title: "The target:", source: target },
            ],
        }
    }

    fn judge_query(&self, composition: &Composition<'_>, reply: Result<Composed, Unanswered>) -> Judgement {
        let Composition { reference, from, to, to_told, .. } = composition;
        let item = format!("{} from {}", Clip::id(to.clip.place), Clip::id(from.clip.place));
        let query = match reply {
            Err(unanswered) => return unanswered.judgement(item, reference.task()),
            Ok(Composed { usable: false, .. }) => {
                return Judgement { style: Some(reference.task()), ..Judgement::of(item) }
                    .dropped(Filter::Declined, "the captioner finds the two unrelated, or the same");
            }
            Ok(Composed { query, .. }) => query,
        };
        let judgement = Judgement::of_text(&item, reference.task(), &query);
        if let Some((filter, reason)) = broken_rule(&query, self.plan.settings.min_words) {
            return judgement.dropped(filter, reason);
        }
        if tells_all(&query, to_told) {
            return judgement.dropped(Filter::TellsAll, "it names all that the target's caption does");
        }
        judgement
    }

    fn write_pairs(
        &self,
        clips: &[DescribedClip<'_>],
        composed: &[(&Composition<'_>, String)],
    ) -> Result<BTreeMap<String, usize>, SynthError> {
        let path = self.folder.pairs();
        let mut lines = Vec::new();
        let mut counts = BTreeMap::new();
        let pairs = clips.iter().flat_map(|clip| self.pairs_of(clip));
        let composed = composed.iter().map(|(Composition { reference, from, to, .. }, query)| {
            let input = match reference {
                Reference::Frame => Input::image(&from.clip.frame),
                Reference::Clip => from.clip.input(),
            };
            (reference.task(), Clip::id(to.clip.place), input.and_text(query), to.clip.input())
        });
        for (number, (task, source, query, positive)) in (1..).zip(pairs.chain(composed)) {
            let line = pair(task, source, query, positive).and_then(|pair| pair.to_json(self.folder.root()));
            lines.push(line.map_err(|reason| SynthError::Content {
                path: path.clone(),
                line: number,
                reason,
            })?);
            *counts.entry(task.to_owned()).or_default() += 1;
        }
        write_file(&path, |file| lines.iter().try_for_each(|line| writeln!(file, "{line}")))?;
        Ok(counts)
    }

    /// The pairs of a clip that need no second one: task, source, query and target.
    fn pairs_of(&self, described: &DescribedClip<'_>) -> Vec<(&'static str, String, Input, Input)> {
        let DescribedClip { clip, captions, frame_caption, .. } = described;
        let seed = self.plan.settings.seed;
        let (target, frame) = (clip.input(), Input::image(&clip.frame));
        let id = Clip::id(clip.place);
        let mut pairs: Vec<_> = captions
            .iter()
            .map(|(style, text)| ("t2v", format!("{id} {style}"), Input::text(text), target.clone()))
            .collect();
        if captions.len() > 1 {
            let order = Draw::Captions.random(seed, clip.place).permutation(captions.len());
            let ((from, query), (to, text)) = (&captions[order[0]], &captions[order[1]]);
            pairs.push(("t2t", format!("{id} {from} to {to}"), Input::text(query), Input::text(text)));
        }
        if let Some(caption) = frame_caption {
            pairs.push(("t2i", id.clone(), Input::text(caption), frame.clone()));
        }
        let crop = clip.crop(&mut Draw::Crop.random(seed, clip.place));
        pairs.push(("i2v", id.clone(), frame, target.clone()));
        pairs.push(("v2v", id, crop, target));
        pairs
    }
}

fn pair(task: &str, source: String, query: Input, positive: Input) -> Result<Pair, String> {
    let task = task.parse().map_err(|error: crate::pairs::UnknownTask| error.to_string())?;
    Ok(Pair { task, source: Some(source), group: None, query, positive, negatives: Vec::new() })
}
