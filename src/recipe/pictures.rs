use serde::{Deserialize, Serialize};

/// How images and frames of videos become patches. The default is GVE's way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct PictureRecipe {
    /// What becomes of the transparency of images.
    pub transparency: Transparency,
    /// What is done to a picture before it is resized to its bounds.
    pub first_resize: FirstResize,
    /// What a video is to the model.
    pub frames_as: FramesAs,
    /// In which order the columns and rows of images are resized.
    pub pass_order: PassOrder,
    /// Whether frames are resized as images are, rounded between rows and columns (Pillow), and not as tensors
    /// are (torchvision).
    pub frames_like_images: bool,
    /// Whether frames that come as pictures are each resized to even numbers of tokens first, as
    /// qwen-vl-utils 0.0.14 does by mistake: for whoever compares numbers with the reference's.
    pub resize_listed_frames_first: bool,
    /// Frames that come as pictures and are looked at, at most: of more, evenly spread ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_listed_frames: Option<usize>,
    /// Whether the bounds on the area in `preprocessor_config.json` hold, too.
    pub checkpoint_bounds: bool,
    /// Fewest and most visual tokens of an image; the family's where there is nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_tokens: Option<(u64, u64)>,
    /// Fewest and most visual tokens of a frame; the family's where there is nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frame_tokens: Option<(u64, u64)>,
    /// Most visual tokens of all frames of a video; the family's where there is nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub video_tokens: Option<u64>,
}

impl Default for PictureRecipe {
    fn default() -> Self {
        Self {
            transparency: Transparency::White,
            first_resize: FirstResize::None,
            frames_as: FramesAs::Video,
            pass_order: PassOrder::ColumnsFirst,
            frames_like_images: false,
            resize_listed_frames_first: false,
            max_listed_frames: None,
            checkpoint_bounds: true,
            image_tokens: None,
            frame_tokens: None,
            video_tokens: None,
        }
    }
}

/// What becomes of the transparency of images.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Transparency {
    /// The picture is laid over white.
    #[default]
    White,
    /// It is left out, and shows what colours it hid.
    Dropped,
}

/// What is done to a picture before it is resized to its bounds. It can change the grid that the second resize
/// arrives at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FirstResize {
    /// Nothing.
    None,
    /// It is resized to whole visual tokens, 4 to 16,384 of them (GME).
    Tokens,
    /// With a side shorter than a visual token's, it is stretched to two by two of them (VLM2Vec-V2).
    Small,
}

/// In which order the columns and rows of images are resized. Values are rounded in between, so that it shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PassOrder {
    /// Columns first, as Pillow up to 12: what models were trained and evaluated with.
    ColumnsFirst,
    /// By the shape of the picture, as Pillow 13: for whoever compares numbers with a fresh installation.
    ByShape,
}

/// What a video is to a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FramesAs {
    /// One video, whose frames share patches in time.
    Video,
    /// As many images as it has frames.
    Images,
}
