use crate::random::Random;

/// What a caption is to attend to, and for whom it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Profile {
    pub(super) focus: &'static str,
    /// Two of the focus's aspects.
    pub(super) aspects: String,
    pub(super) readability: &'static str,
    pub(super) education: &'static str,
}

/// A kind of information, with its share in percent and its aspects.
struct Focus {
    percent: usize,
    name: &'static str,
    aspects: [&'static str; 5],
}

/// The shares are those of V-SynFlow.
const FOCUSES: [Focus; 3] = [
    Focus {
        percent: 30,
        name: "what is where",
        aspects: [
            "the things and people, and how many there are",
            "colours, materials and shapes",
            "where things are in relation to each other",
            "the surroundings and the background",
            "the looks of the people, animals or things in the middle",
        ],
    },
    Focus {
        percent: 60,
        name: "what happens over time",
        aspects: [
            "what is done, and by whom",
            "the order in which things happen",
            "how people and things move, and in which direction",
            "how the camera moves, and where one shot gives way to another",
            "what is different at the end from the beginning",
        ],
    },
    Focus {
        percent: 10,
        name: "what kind of video it is",
        aspects: [
            "the mood",
            "the light, the weather and the time of day",
            "writing and signs that can be read",
            "the style of filming or drawing",
            "what the video may have been made for",
        ],
    },
];
const READABILITY: [&str; 3] = [
    "short sentences and the plainest words",
    "the language of everyday talk",
    "long, well-made sentences and exact words",
];
const EDUCATION: [&str; 4] = [
    "a child in primary school",
    "somebody of sixteen",
    "a university student",
    "somebody who knows the field",
];

impl Profile {
    pub(super) fn draw(random: &mut Random) -> Self {
        let mut percent = random.below(100);
        let mut focus = &FOCUSES[0];
        for candidate in &FOCUSES {
            focus = candidate;
            match percent.checked_sub(candidate.percent) {
                Some(rest) => percent = rest,
                None => break,
            }
        }
        let aspects = random.sample(focus.aspects.len(), 2).into_iter().map(|i| focus.aspects[i]);
        Self {
            focus: focus.name,
            aspects: aspects.collect::<Vec<_>>().join("; and to "),
            readability: READABILITY[random.below(READABILITY.len())],
            education: EDUCATION[random.below(EDUCATION.len())],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn focuses_come_in_their_shares_and_everything_comes() {
        let mut random = Random::new(7);
        let profiles: Vec<Profile> = (0..10_000).map(|_| Profile::draw(&mut random)).collect();
        for focus in &FOCUSES {
            let drawn = profiles.iter().filter(|profile| profile.focus == focus.name).count();
            assert!(drawn.abs_diff(100 * focus.percent) < 200, "{}: {drawn}", focus.name);
            for aspect in focus.aspects {
                assert!(profiles.iter().any(|p| p.focus == focus.name && p.aspects.contains(aspect)));
            }
        }
        assert_eq!(FOCUSES.iter().map(|focus| focus.percent).sum::<usize>(), 100);
        assert!(READABILITY.iter().all(|level| profiles.iter().any(|p| p.readability == *level)));
        assert!(EDUCATION.iter().all(|level| profiles.iter().any(|p| p.education == *level)));
        assert_eq!(Profile::draw(&mut Random::new(3)), Profile::draw(&mut Random::new(3)));
    }
}
