//! What a model reads: pictures as patches, and sequences packed one behind the other.

/// Patches of one image or video: frames, rows and columns. Rows and columns are multiples of
/// `spatial_merge_size`; a temporal patch spans `temporal_patch_size` frames.
pub type GridThw = [usize; 3];

/// One image or video as the vision tower reads it.
#[derive(Debug, Clone)]
pub struct Visual {
    /// Flattened patches, `grid_thw` product x [`patch_len`](super::qwen2_5_vl::VisionConfig::patch_len)
    /// values, unit by unit (see [`GridThw`]).
    pub pixel_values: Vec<f32>,
    /// Temporal patches, rows and columns.
    pub grid_thw: GridThw,
}

/// Sequences packed one behind the other, without padding.
#[derive(Debug, Clone, Default)]
pub struct PackedBatch<'a> {
    /// Token ids of all sequences.
    pub input_ids: Vec<u32>,
    /// Temporal, height and width positions, one of each per token.
    pub position_ids: [Vec<u32>; 3],
    /// Tokens of each sequence.
    pub lengths: Vec<usize>,
    /// Images and videos in the order of their placeholder tokens.
    pub visuals: Vec<&'a Visual>,
}
