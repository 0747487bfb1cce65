//! What prompts are made of, before any of it is a number. How a family lays them out is the family's.

/// One part of what is embedded. Parts keep the order in which they are given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PromptPart<'a> {
    /// Text. Spellings of special tokens in it, such as `<|im_end|>`, are ordinary text.
    Text(&'a str),
    /// An image, by the grid of its patches ([`VisualPatches::grid_thw`](super::VisualPatches::grid_thw)).
    Image {
        /// Patches along time, height and width.
        grid_thw: [usize; 3],
    },
    /// A video, by the grid of its patches.
    Video {
        /// Patches along time, height and width.
        grid_thw: [usize; 3],
        /// Seconds between steps in time,
        /// [`ImageProcessorConfig::second_per_grid`](super::ImageProcessorConfig::second_per_grid).
        second_per_grid: f64,
        /// When each of its frames is shown, in seconds: for families that tell the time in words.
        frame_seconds: &'a [f64],
    },
}

/// Whether visual tokens belong to an image or to a video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VisualKind {
    /// Expanded from `<|image_pad|>`.
    Image,
    /// Expanded from `<|video_pad|>`.
    Video,
}

/// Tokens that only the template may set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ControlToken {
    TurnStart,
    TurnEnd,
    VisionStart,
    VisionEnd,
    EndOfText,
}

/// A piece of a rendered prompt. Text between two tokens is one piece, so that it is tokenised as a whole.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum PromptPiece {
    Control(ControlToken),
    Text(String),
    Visual { part_index: usize, kind: VisualKind, span: PositionSpan },
}

/// A run of tokens that is numbered as one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PositionSpan {
    /// Tokens that advance all three axes by one each.
    Text {
        /// Number of tokens.
        len: usize,
    },
    /// The tokens of one image or video, time first, then rows, then columns.
    Visual {
        /// Visual tokens (merged patches) along time, height and width.
        token_grid_thw: [usize; 3],
        /// Seconds between steps in time; 0 for an image.
        second_per_grid: f64,
    },
}

impl PositionSpan {
    /// Number of tokens.
    pub fn num_tokens(&self) -> usize {
        match self {
            Self::Text { len } => *len,
            Self::Visual { token_grid_thw, .. } => {
                token_grid_thw.iter().fold(1, |n, &side| n.saturating_mul(side))
            }
        }
    }
}

/// A prompt that is being laid out.
#[derive(Debug, Default)]
pub(crate) struct Rendering {
    pieces: Vec<PromptPiece>,
    /// Text since the last token.
    text: String,
}

impl Rendering {
    /// A control token behind what is there.
    pub(crate) fn control(&mut self, token: ControlToken) {
        self.end_text();
        self.pieces.push(PromptPiece::Control(token));
    }

    /// Text behind what is there.
    pub(crate) fn text(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// Visual tokens behind what is there.
    pub(crate) fn visual(&mut self, part_index: usize, kind: VisualKind, span: PositionSpan) {
        self.end_text();
        self.pieces.push(PromptPiece::Visual { part_index, kind, span });
    }

    /// The pieces of the whole.
    pub(crate) fn finish(mut self) -> Vec<PromptPiece> {
        self.end_text();
        self.pieces
    }

    fn end_text(&mut self) {
        if !self.text.is_empty() {
            self.pieces.push(PromptPiece::Text(std::mem::take(&mut self.text)));
        }
    }
}
