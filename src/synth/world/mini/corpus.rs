//! Videos in groups of near misses, and the queries that tell them apart.

use crate::embedder::CancelToken;
use crate::random::Random;
use crate::synth::SynthError;

use super::super::caption::describe_change;
use super::super::director::{Change, pick};
use super::super::style::Style;
use super::super::video::{Video, VideoCaption};
use super::sets::Corpus;

/// A video of a corpus.
pub(super) struct Member {
    pub(super) video: Video,
    /// The scene that no other video of the group has.
    pub(super) scene: usize,
    /// How it was made from the first video of its group, where that is a single change.
    pub(super) change: Option<Change>,
}

/// How often to try for one more video of a group, for words that fit one video alone, and so on.
const ATTEMPTS: usize = 60;

/// `videos` videos, group behind group.
///
/// # Errors
/// [`SynthError::Cancelled`].
pub(super) fn members(
    corpus: &Corpus,
    videos: usize,
    seed: u64,
    cancel: &CancelToken,
) -> Result<Vec<Member>, SynthError> {
    let mut members = Vec::new();
    let mut draw = 0;
    while members.len() < videos {
        if cancel.is_cancelled() {
            return Err(SynthError::Cancelled);
        }
        let random = &mut Random::derived(seed, &[corpus.number, draw]);
        // Groups of full size only: near misses are the point.
        if let Some(group) = group(corpus, random) {
            members.extend(group);
        }
        draw += 1;
    }
    members.truncate(videos);
    Ok(members)
}

fn group(corpus: &Corpus, random: &mut Random) -> Option<Vec<Member>> {
    let video = (corpus.base)(random);
    let scene = random.below(video.scenes.len());
    let mut group = vec![Member { video, scene, change: None }];
    for number in 1..corpus.group {
        let turned = corpus.reorders && number + 1 == corpus.group;
        let next = (0..ATTEMPTS).find_map(|_| {
            let member = variant(&group[0], corpus, turned, random)?;
            is_apart(&member, &group, corpus.tells_apart, random).then_some(member)
        })?;
        group.push(next);
    }
    Some(group)
}

fn variant(base: &Member, corpus: &Corpus, turned: bool, random: &mut Random) -> Option<Member> {
    let mut video = base.video.clone();
    let mut last = None;
    let changes = pick(random, corpus.changes);
    for kind in changes {
        let (change, scene) = kind.draw(&video.scenes[base.scene], random)?;
        video.scenes[base.scene] = scene;
        last = Some(change);
    }
    let mut scene = base.scene;
    if turned {
        let scenes = video.scenes.len();
        let turn = 1 + random.below(scenes - 1);
        video.scenes.rotate_left(turn);
        scene = (scene + scenes - turn) % scenes;
    }
    Some(Member { video, scene, change: last.filter(|_| changes.len() == 1) })
}

/// Whether words in each style fit either the video or those it is compared with.
fn is_apart(member: &Member, group: &[Member], styles: &[Style], random: &mut Random) -> bool {
    styles.iter().all(|&style| {
        let Some(own) = member.video.describe(style, random) else { return false };
        group.iter().all(|other| {
            let theirs = other.video.describe(style, random);
            theirs.is_some_and(|theirs| !theirs.holds(&member.video)) && !own.holds(&other.video)
        })
    })
}

/// Words on member number `own`, and the members they fit. Words that fit no other are preferred.
pub(super) fn words(
    members: &[Member],
    own: usize,
    style: Style,
    random: &mut Random,
) -> Option<(VideoCaption, Vec<usize>)> {
    let mut best: Option<(VideoCaption, Vec<usize>)> = None;
    for _ in 0..ATTEMPTS {
        let caption = members[own].video.describe(style, random)?;
        let fitting: Vec<usize> =
            (0..members.len()).filter(|&other| caption.holds(&members[other].video)).collect();
        let alone = fitting.len() == 1;
        if best.as_ref().is_none_or(|(_, best)| fitting.len() < best.len()) {
            best = Some((caption, fitting));
        }
        if alone {
            break;
        }
    }
    best
}

/// What is different between the first member of a group and member number `own` of all, in words that fit no
/// other of the group.
pub(super) fn difference(group: &[Member], own: usize, random: &mut Random) -> Option<String> {
    let (base, member) = (&group[0], &group[own]);
    let change = member.change.as_ref()?;
    let [from, to] = [base, member].map(|member| &member.video.scenes[member.scene]);
    (0..ATTEMPTS).find_map(|_| {
        let caption = describe_change(from, change, to, random);
        let fits = |member: &Member| {
            let scene = &member.video.scenes[member.scene];
            caption.claims.iter().all(|claim| claim.holds(scene))
        };
        let alone = group.iter().enumerate().all(|(number, member)| number == own || !fits(member));
        alone.then_some(caption.text)
    })
}

/// A frame of member number `own` that looks otherwise in all others of the group.
pub(super) fn telling_frame(group: &[Member], own: usize, random: &mut Random) -> Option<usize> {
    let frames = group[own].video.frames();
    (0..ATTEMPTS).map(|_| random.below(frames)).find(|&frame| {
        let picture = group[own].video.draw(frame);
        let others = group.iter().enumerate().filter(|(number, _)| *number != own);
        others.map(|(_, other)| other.video.draw(frame)).all(|other| match (&picture, &other) {
            (Some(a), Some(b)) => differs(a, b),
            _ => true,
        })
    })
}

/// Whether two pictures differ in more than a few pixels.
fn differs(a: &image::RgbImage, b: &image::RgbImage) -> bool {
    const PIXELS: usize = 100;
    const LEVELS: u8 = 40;
    let unlike =
        a.pixels().zip(b.pixels()).filter(|(a, b)| a.0.iter().zip(b.0).any(|(&a, b)| a.abs_diff(b) > LEVELS));
    a.dimensions() != b.dimensions() || unlike.take(PIXELS).count() == PIXELS
}

#[cfg(test)]
mod tests {
    use super::super::sets::{Asks, SETS};
    use super::*;

    #[test]
    fn videos_of_a_group_differ_from_its_first_in_what_is_asked() {
        for set in &SETS {
            let corpus = set.corpus;
            // One of the large groups is enough.
            let groups = if corpus.group > 4 { 1 } else { 4 };
            let members = members(corpus, groups * corpus.group, 7, &CancelToken::new()).unwrap();
            let random = &mut Random::new(1);
            for group in members.chunks(corpus.group) {
                let first = &group[0];
                let first_scene = &first.video.scenes[first.scene];
                for own in &group[1..] {
                    let scene = &own.video.scenes[own.scene];
                    let differs = match set.asks {
                        Asks::Words(style) => (0..ATTEMPTS).any(|_| {
                            let caption = own.video.describe(style, random);
                            caption.is_some_and(|caption| !caption.holds(&first.video))
                        }),
                        Asks::Frame => (0..own.video.frames())
                            .any(|frame| own.video.draw(frame) != first.video.draw(frame)),
                        Asks::Clip => !first.video.scenes.contains(scene),
                        Asks::FrameAndWords | Asks::ClipAndWords => {
                            own.change.as_ref().is_some_and(|change| {
                                let told = describe_change(first_scene, change, scene, random);
                                told.claims.iter().any(|claim| !claim.holds(first_scene))
                            })
                        }
                    };
                    assert!(differs && own.video != first.video, "{}: {:#?}", set.id, own.video);
                }
            }
        }
    }

    #[test]
    fn making_videos_up_ends_when_somebody_asks_to_stop() {
        let cancel = CancelToken::new();
        cancel.cancel();
        assert!(matches!(members(SETS[0].corpus, 3, 7, &cancel), Err(SynthError::Cancelled)));
    }
}
