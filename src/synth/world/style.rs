//! What a caption tells of a video, and how.

/// The five styles in which V-SynFlow describes a video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Style {
    /// One sentence on what is seen.
    Summary,
    /// All there is to say.
    Detailed,
    /// Kinds instead of names.
    Abstract,
    /// Words with commas between them.
    Keywords,
    /// A part of it.
    Partial(Aspect),
}

/// What a caption of a part of a video is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Aspect {
    /// The things and the ground.
    Objects,
    /// What is where.
    Spatial,
    /// What happens in which order.
    Temporal,
    /// How the camera moves.
    Camera,
    /// A single event.
    Event,
}

impl Style {
    /// All styles, and all aspects of the last.
    pub const ALL: [Self; 9] = [
        Self::Summary,
        Self::Detailed,
        Self::Abstract,
        Self::Keywords,
        Self::Partial(Aspect::Objects),
        Self::Partial(Aspect::Spatial),
        Self::Partial(Aspect::Temporal),
        Self::Partial(Aspect::Camera),
        Self::Partial(Aspect::Event),
    ];

    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Summary => "summary",
            Self::Detailed => "detailed",
            Self::Abstract => "abstract",
            Self::Keywords => "keywords",
            Self::Partial(Aspect::Objects) => "partial_objects",
            Self::Partial(Aspect::Spatial) => "partial_spatial",
            Self::Partial(Aspect::Temporal) => "partial_temporal",
            Self::Partial(Aspect::Camera) => "partial_camera",
            Self::Partial(Aspect::Event) => "partial_event",
        }
    }
}
