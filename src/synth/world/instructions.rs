//! What a query may be introduced with, by what it is about: the instructions of the benchmark's data sets,
//! so that a model learns to read them.

use super::style::{Aspect, Style};

/// Of a query with a picture and words on what is different.
pub const TEXT_AND_IMAGE: &str =
    "Find the video clip that corresponds to the given text and the given image.";
/// Of a query with a clip and words on what is different.
pub const TEXT_AND_CLIP: &str = "Find the video clip that corresponds to the given text and the given video.";
/// Of a picture out of a video.
pub const IMAGE: &str = "Find the video according to the image.";
/// Of a clip out of a video.
pub const CLIP: &str = "Find the original long video according to the short video clip.";
/// Of words on a long video.
pub const LONG: &str = "Find the long video according to the long text description.";
/// Of sentences on one scene after the other.
pub const SCENES: &str = "Find a video that includes the following described scenes.";

/// Of words in a style.
pub fn of(style: Style) -> &'static str {
    match style {
        Style::Summary => "Find the clip that corresponds to the described scene in the given video.",
        Style::Detailed => "Find the video according to the detailed text description.",
        Style::Abstract => "Find the video according to text description about video theme information.",
        Style::Keywords => "Find the video according to the text description of a series of keywords.",
        Style::Partial(Aspect::Objects) => "Find the video according to the object description.",
        Style::Partial(Aspect::Spatial) => "Find the video according to the spatial description.",
        Style::Partial(Aspect::Temporal) => "Find the video according to the temporal description.",
        Style::Partial(Aspect::Camera) => "Find the video according to the camera motion description.",
        Style::Partial(Aspect::Event) => "Find the video according to the text description.",
    }
}

/// All there are.
pub fn all() -> impl Iterator<Item = &'static str> {
    let fixed = [TEXT_AND_IMAGE, TEXT_AND_CLIP, IMAGE, CLIP, LONG, SCENES];
    Style::ALL.into_iter().map(of).chain(fixed)
}
