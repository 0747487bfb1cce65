//! How pictures and texts are made ready: the keys of processors and tokenizers.

use super::Rule::{Harmless, Only, Read};
use super::{OFF, Table};

/// `preprocessor_config.json`, or `image_processor` in `processor_config.json`.
pub(super) const IMAGE_PROCESSOR: &Table = &[
    (Read, &["max_pixels", "merge_size", "min_pixels", "patch_size", "temporal_patch_size"]),
    // Pillow's number for bicubic, the only filter the model was trained with.
    (Only(&["3", "\"bicubic\"", "\"BICUBIC\""]), &["resample"]),
    (OFF, &["do_center_crop", "crop_size"]),
    (Harmless, &["feature_extractor_type", "image_processor_type"]),
];

/// The same of a model whose pictures are of one size.
pub(super) const FIXED_SIZE_PROCESSOR: &Table =
    &[(Read, &["crop_size", "do_center_crop", "feature_extractor_type", "image_processor_type", "resample"])];

/// What all image processors may have.
pub(super) const PICTURES: &Table = &[
    (Read, &["image_mean", "image_std", "rescale_factor", "size"]),
    (Only(&["true"]), &["do_resize", "do_rescale", "do_normalize", "do_convert_rgb"]),
    (OFF, &["do_pad", "pad_size", "do_flip_channel_order", "do_grayscale"]),
    (OFF, &["do_reduce_labels", "do_align_axis", "do_thumbnail", "do_crop_margin", "do_image_splitting"]),
    (
        Harmless,
        &[
            "auto_map",
            "data_format",
            "default_to_square",
            "device",
            "disable_grouping",
            "image_seq_length",
            "input_data_format",
            "processor_class",
            "return_tensors",
            "use_fast",
        ],
    ),
];

/// `size` in an image processor: bounds of the area, under old names and new.
pub(super) const PICTURE_SIZE: &Table =
    &[(Read, &["longest_edge", "max_pixels", "min_pixels", "shortest_edge"])];

/// `size` and `crop_size` of a model whose pictures are of one size.
pub(super) const FIXED_SIZE_SIDES: &Table = &[(Read, &["height", "shortest_edge", "width"])];

/// `video_preprocessor_config.json`, or `video_processor` in `processor_config.json`, beside the keys of
/// [`IMAGE_PROCESSOR`] and [`PICTURES`].
pub(super) const VIDEO_PROCESSOR: &Table = &[(
    // Which frames are looked at, and how large, is the caller's choice, as in the reference's evaluation.
    Harmless,
    &[
        "do_sample_frames",
        "fps",
        "max_frames",
        "max_video_tokens",
        "min_frames",
        "num_frames",
        "return_metadata",
        "video_metadata",
        "video_processor_type",
    ],
)];

/// `processor_config.json` around its two processors.
pub(super) const PROCESSOR: &Table = &[
    (Read, &["image_processor", "video_processor"]),
    (Harmless, &["auto_map", "chat_template", "image_token", "processor_class", "tokenizer", "video_token"]),
];

/// `tokenizer_config.json`.
pub(super) const TOKENIZER: &Table = &[
    (OFF, &["add_bos_token", "add_eos_token", "do_lower_case"]),
    // Nothing is padded.
    (Harmless, &["pad_token", "padding_side", "tokenizer_class"]),
];

/// That of a tower of texts.
pub(super) const TEXT_TOKENIZER: &Table = &[
    (Read, &["add_bos_token", "add_eos_token", "do_lower_case", "pad_token", "tokenizer_class"]),
    (Only(&["\"right\""]), &["padding_side"]),
    // Of sentencepiece, whose pieces are in tokenizer.json.
    (OFF, &["sp_model_kwargs", "keep_accents"]),
    (Harmless, &["mask_token", "model_input_names", "special_tokens_map_file", "vocab_file"]),
];

/// What all tokenizers may have.
pub(super) const ANY_TOKENIZER: &Table = &[
    (OFF, &["add_prefix_space", "split_special_tokens"]),
    (Only(&["\"right\""]), &["truncation_side"]),
    (
        Harmless,
        &[
            "added_tokens_decoder",
            "additional_special_tokens",
            "auto_map",
            "backend",
            "bos_token",
            "chat_template",
            "clean_up_tokenization_spaces",
            "eos_token",
            "errors",
            "extra_special_tokens",
            "image_token",
            "is_local",
            "legacy",
            "local_files_only",
            "max_length",
            // Longer inputs are cut at a length of ours.
            "model_max_length",
            "model_specific_special_tokens",
            "name_or_path",
            "pad_to_multiple_of",
            "pad_token_type_id",
            "processor_class",
            "stride",
            "tokenizer_file",
            "truncation_strategy",
            "unk_token",
            "use_fast",
            "video_token",
            "vision_bos_token",
            "vision_eos_token",
        ],
    ),
];
