use serde::{Deserialize, Serialize};

/// How a video is cut into moments that are embedded each by itself, beside the whole of it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Moments {
    /// By its shots: short ones are joined and long ones split.
    Shots {
        /// The shortest moment, in seconds.
        min_seconds: f64,
        /// The longest moment, in seconds.
        max_seconds: f64,
    },
    /// Stretches of one length, whatever is to be seen.
    Windows {
        /// How long each is, in seconds.
        length_seconds: f64,
        /// How much each has in common with the next, in seconds.
        overlap_seconds: f64,
    },
}

impl Moments {
    /// Shots of 2 to 20 seconds.
    pub fn shots() -> Self {
        Self::Shots { min_seconds: 2.0, max_seconds: 20.0 }
    }

    /// Why no video can be cut so, in words; nothing where videos can. The length of a window has to be a positive
    /// number of seconds, and what two have in common at most half of that; likewise the longest shot and the
    /// shortest.
    pub fn fault(&self) -> Option<String> {
        let is_length = |seconds: f64| seconds.is_finite() && seconds > 0.0;
        let at_most_half = |part: f64, whole: f64| (0.0..=whole / 2.0).contains(&part);
        match *self {
            Self::Shots { min_seconds, max_seconds } if !is_length(max_seconds) => {
                Some(format!("the longest of {min_seconds} to {max_seconds} s must be a positive number"))
            }
            Self::Shots { min_seconds, max_seconds } if !at_most_half(min_seconds, max_seconds) => {
                Some(format!(
                    "of {min_seconds} to {max_seconds} s the shortest must be at most half of the longest"
                ))
            }
            Self::Windows { length_seconds, .. } if !is_length(length_seconds) => {
                Some(format!("their length must be a positive number of seconds, got {length_seconds}"))
            }
            Self::Windows { length_seconds, overlap_seconds }
                if !at_most_half(overlap_seconds, length_seconds) =>
            {
                Some(format!(
                    "{overlap_seconds} s in common are not between none and half of {length_seconds} s"
                ))
            }
            _ => None,
        }
    }
}
