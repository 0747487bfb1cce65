//! The 16 data sets: what each asks, and of which videos.

use crate::random::Random;

use super::super::director::ChangeKind::{self, Act, Camera, Count, Ground, Paint, Reorder, Replace, Swap};
use super::super::director::{any_scene, scene};
use super::super::style::{Aspect, Style};
use super::super::video::Video;

/// A data set.
pub(super) struct Set {
    /// The name in UVRB.
    pub(super) id: &'static str,
    pub(super) corpus: &'static Corpus,
    pub(super) asks: Asks,
}

/// What a query consists of.
#[derive(Clone, Copy)]
pub(super) enum Asks {
    /// A description.
    Words(Style),
    /// A frame of the video.
    Frame,
    /// A part of one of its scenes.
    Clip,
    /// A frame of another video and what is different.
    FrameAndWords,
    /// A part of another video and what is different.
    ClipAndWords,
}

/// Groups of videos that are near misses of each other.
pub(super) struct Corpus {
    /// Data sets of one corpus have the same videos.
    pub(super) number: u64,
    /// How many times the asked number of videos.
    pub(super) times: usize,
    /// Videos of a group.
    pub(super) group: usize,
    /// The first video of a group.
    pub(super) base: fn(&mut Random) -> Video,
    /// Changes, one set of which makes another video of the group.
    pub(super) changes: &'static [&'static [ChangeKind]],
    /// Whether the last video of a group also has its scenes in another order.
    pub(super) reorders: bool,
    /// Styles in which no words fit two videos of a group.
    pub(super) tells_apart: &'static [Style],
}

const fn set(id: &'static str, corpus: &'static Corpus, asks: Asks) -> Set {
    Set { id, corpus, asks }
}

/// All sets, in the order of the paper.
pub(super) const SETS: [Set; 16] = [
    set("MSRVTT", &PLAIN, Asks::Words(Style::Summary)),
    set("DiDeMo", &SCENES, Asks::Words(Style::Summary)),
    set("CRB-G", &RICH, Asks::Words(Style::Detailed)),
    set("CRB-S", &RICH, Asks::Words(Style::Partial(Aspect::Spatial))),
    set("VDC-O", &MIXED, Asks::Words(Style::Partial(Aspect::Objects))),
    set("CRB-T", &RICH, Asks::Words(Style::Partial(Aspect::Temporal))),
    set("CMRB", &CAMERA, Asks::Words(Style::Partial(Aspect::Camera))),
    set("DREAM-E", &EVENTS, Asks::Words(Style::Partial(Aspect::Event))),
    set("LoVR-TH", &THEMES, Asks::Words(Style::Abstract)),
    set("PEV-K", &KEYWORDS, Asks::Words(Style::Keywords)),
    set("LoVR-V", &LONG, Asks::Words(Style::Detailed)),
    set("VDC-D", &MIXED, Asks::Words(Style::Detailed)),
    set("MS-TI", &COMPOSED, Asks::FrameAndWords),
    set("MS-TV", &COMPOSED, Asks::ClipAndWords),
    set("MSRVTT-I2V", &PLAIN, Asks::Frame),
    set("LoVR-C2V", &LONG, Asks::Clip),
];

/// All that keywords can tell: places and order they cannot.
const NAMED: &[&[ChangeKind]] = &[&[Replace], &[Paint], &[Count], &[Act], &[Camera], &[Ground]];

const PLAIN: Corpus = Corpus {
    number: 1,
    times: 1,
    group: 3,
    base: |random| Video::of(any_scene(random)),
    changes: &[&[Replace], &[Paint], &[Count]],
    reorders: false,
    tells_apart: &[Style::Summary],
};

const SCENES: Corpus = Corpus {
    number: 2,
    base: |random| Video { scenes: (0..2 + random.below(2)).map(|_| any_scene(random)).collect() },
    reorders: true,
    ..PLAIN
};

const RICH: Corpus = Corpus {
    number: 3,
    base: |random| Video::of(scene(3, 2, random)),
    changes: &[&[Swap, Reorder], &[Swap, Act]],
    tells_apart: &[Style::Partial(Aspect::Spatial), Style::Partial(Aspect::Temporal)],
    ..PLAIN
};

const MIXED: Corpus = Corpus {
    number: 4,
    base: |random| Video::of(scene(2 + random.below(2), 2, random)),
    changes: &[&[Replace], &[Paint], &[Count], &[Ground]],
    tells_apart: &[Style::Partial(Aspect::Objects)],
    ..PLAIN
};

// Of thirty videos with the same things, ten can be right by luck: a third.
const CAMERA: Corpus = Corpus {
    number: 5,
    times: 3,
    group: 30,
    base: |random| Video::of(scene(2, 0, random)),
    changes: &[&[Camera]],
    tells_apart: &[Style::Partial(Aspect::Camera)],
    ..PLAIN
};

const EVENTS: Corpus = Corpus {
    number: 6,
    base: |random| Video::of(scene(3, 3, random)),
    changes: &[&[Act, Act], &[Replace, Act], &[Paint, Act]],
    tells_apart: &[Style::Partial(Aspect::Temporal)],
    ..PLAIN
};

const THEMES: Corpus = Corpus {
    number: 7,
    times: 3,
    changes: &[&[Replace], &[Count], &[Ground]],
    tells_apart: &[Style::Abstract],
    ..PLAIN
};

const KEYWORDS: Corpus =
    Corpus { number: 8, base: MIXED.base, changes: NAMED, tells_apart: &[Style::Keywords], ..PLAIN };

const LONG: Corpus = Corpus {
    number: 9,
    base: |random| Video { scenes: (0..4 + random.below(2)).map(|_| any_scene(random)).collect() },
    changes: &[&[Replace], &[Paint], &[Count], &[Swap]],
    reorders: true,
    tells_apart: &[Style::Detailed],
    ..PLAIN
};

const COMPOSED: Corpus = Corpus {
    number: 10,
    group: 4,
    base: MIXED.base,
    changes: NAMED,
    tells_apart: &[Style::Keywords],
    ..PLAIN
};
