use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::embedder::{Input, Part};

/// What a training pair leads from and to: the modalities of query and target, such as `t2v` (text to video)
/// or `ti2v` (text and image to video).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Task {
    query: Modalities,
    target: Modalities,
}

/// A set of modalities that is not empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
struct Modalities {
    text: bool,
    image: bool,
    video: bool,
}

/// A name that is no task.
#[derive(Debug, thiserror::Error)]
#[error(
    "unknown task `{0}`: expected the modalities of query and target, such as t2v, ti2v or v2v (t text, i \
     image, v video)"
)]
pub struct UnknownTask(String);

impl Task {
    /// The task of a query and its target: what they hold.
    ///
    /// # Errors
    /// A sentence that names the one that holds nothing.
    pub fn of(query: &Input, target: &Input) -> Result<Self, String> {
        let held = |name: &str, input: &Input| match Modalities::of(input) {
            held if held == Modalities::default() => Err(format!("`{name}` holds nothing")),
            held => Ok(held),
        };
        Ok(Self { query: held("query", query)?, target: held("positive", target)? })
    }

    /// Whether an input is of the modalities of the task's target.
    pub fn is_target(self, input: &Input) -> bool {
        Modalities::of(input) == self.target
    }

    /// Whether the inputs of a pair are of the task's modalities; otherwise a sentence that says what is
    /// wrong.
    pub(super) fn check(self, query: &Input, targets: &[(&str, &Input)]) -> Result<(), String> {
        let sides = std::iter::once((&"query", &query, self.query))
            .chain(targets.iter().map(|(name, input)| (name, input, self.target)));
        for (name, input, expected) in sides {
            let got = Modalities::of(input);
            if got != expected {
                return Err(format!("task {self} wants `{name}` to hold {expected:#}, it holds {got:#}"));
            }
        }
        Ok(())
    }
}

impl Modalities {
    fn of(input: &Input) -> Self {
        let mut set = Self::default();
        for part in &input.parts {
            match part {
                Part::Text(_) => set.text = true,
                Part::Image(_) => set.image = true,
                Part::Video(_) | Part::Frames(_) => set.video = true,
            }
        }
        set
    }

    /// The set of `letters`, each once and in any order.
    fn parse(letters: &str) -> Option<Self> {
        let mut set = Self::default();
        for letter in letters.chars() {
            let flag = match letter {
                't' => &mut set.text,
                'i' => &mut set.image,
                'v' => &mut set.video,
                _ => return None,
            };
            if std::mem::replace(flag, true) {
                return None;
            }
        }
        (set != Self::default()).then_some(set)
    }

    fn present(self) -> impl Iterator<Item = (&'static str, &'static str)> {
        [(self.text, ("t", "text")), (self.image, ("i", "image")), (self.video, ("v", "video"))]
            .into_iter()
            .filter_map(|(present, names)| present.then_some(names))
    }
}

impl FromStr for Task {
    type Err = UnknownTask;

    fn from_str(name: &str) -> Result<Self, UnknownTask> {
        name.split_once('2')
            .and_then(|(query, target)| {
                Some(Self { query: Modalities::parse(query)?, target: Modalities::parse(target)? })
            })
            .ok_or_else(|| UnknownTask(name.to_owned()))
    }
}

impl TryFrom<String> for Task {
    type Error = UnknownTask;

    fn try_from(name: String) -> Result<Self, UnknownTask> {
        name.parse()
    }
}

impl From<Task> for String {
    fn from(task: Task) -> Self {
        task.to_string()
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}2{}", self.query, self.target)
    }
}

/// Letters; in the alternate form words.
impl fmt::Display for Modalities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            let words: Vec<&str> = self.present().map(|(_, word)| word).collect();
            return f
                .write_str(if words.is_empty() { "nothing" } else { "" })
                .and(f.write_str(&words.join(" and ")));
        }
        self.present().try_for_each(|(letter, _)| f.write_str(letter))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_nonsense_is_refused() {
        for name in ["t2t", "t2i", "t2v", "i2v", "v2v", "ti2v", "tv2v", "tiv2tiv"] {
            assert_eq!(name.parse::<Task>().unwrap().to_string(), name);
        }
        assert_eq!("vt2v".parse::<Task>().unwrap().to_string(), "tv2v", "one name for one task");
        for name in ["", "2", "t2", "2v", "tt2v", "t2a", "t-v", "T2V", "t2v2v", "t2v "] {
            let message = name.parse::<Task>().unwrap_err().to_string();
            assert!(message.contains("t2v, ti2v"), "{name}");
        }
    }

    #[test]
    fn inputs_must_be_of_the_task() {
        let (text, image, video) = (Input::text("a"), Input::image("a.png"), Input::video("a.mp4"));
        let frames = Input::frames(vec![], 1.0);
        let both = Input::video("a.mp4").and_text("then");
        let task = |name: &str| name.parse::<Task>().unwrap();
        for (name, query, target) in [
            ("t2v", &text, &video),
            ("i2v", &image, &frames),
            ("tv2v", &both, &video),
            ("v2t", &frames, &text),
        ] {
            assert_eq!(task(name).check(query, &[("positive", target)]), Ok(()), "{name}");
        }
        let wrong = task("ti2v").check(&both, &[]).unwrap_err();
        assert_eq!(wrong, "task ti2v wants `query` to hold text and image, it holds text and video");
        let wrong = task("t2v").check(&text, &[("positive", &video), ("negatives[0]", &image)]).unwrap_err();
        assert_eq!(wrong, "task t2v wants `negatives[0]` to hold video, it holds image");
    }
}
