//! How the embeddings of a library were made.

use std::io::{ErrorKind, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::checksum;
use super::store_dtype::StoreDType;
use crate::media::{MAX_PICTURE_PIXELS, Moments, Sampling};
use crate::recipe::{AdapterId, RecipeId};
use crate::retrieval::RetrievalError;
use crate::retrieval::columns::one_line;
use crate::store::{Differences, IoError, differences, limited_file, write_file};

/// The layout of library directories this version writes. It reads 1 as well, whose segments know of no
/// content hashes, capture dates, sizes of pictures and forgotten files.
pub const MANIFEST_FORMAT_VERSION: u32 = 2;

/// What segments note as the layout, which is no reason to embed anew.
const NOTED_FORMAT_VERSION: u32 = 1;

/// The widest embeddings a library may hold.
const MAX_DIM: usize = 1 << 20;

/// Longest manifest, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Name of the manifest in the library directory.
pub(super) const FILE_NAME: &str = "library.json";

/// Everything that decides whether two embeddings may be compared. Kept as `library.json`.
///
/// Vectors of different models, or of one model fed differently, do not share a space. A library therefore
/// holds one kind only, and refuses to be continued with another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LibraryManifest {
    /// Layout of the directory: [`MANIFEST_FORMAT_VERSION`] or one of before.
    pub format_version: u32,
    /// Model id on the hub, or the directory it was loaded from.
    pub model: String,
    /// What makes the name mean one set of weights: the commit of a hub model, the
    /// [fingerprint](crate::model::checkpoint_fingerprint) of a directory. `None` in libraries of before
    /// there were fingerprints.
    pub revision: Option<String>,
    /// The adapter that was folded into the model.
    #[serde(default)]
    pub adapter: Option<AdapterId>,
    /// By which recipe the model was used. `None` in libraries of before there were recipes, where it was as
    /// GVE is: see [`LibraryManifest::recipe_id`].
    #[serde(default)]
    pub recipe: Option<RecipeId>,
    /// Width of the embeddings.
    pub dim: usize,
    /// Instruction in the system turn of every embedded file; `None` is the model's default.
    pub instruction: Option<String>,
    /// How frames are chosen from a video.
    pub sampling: Sampling,
    /// Smallest area of a frame or image after resizing, in pixels; `None` is the model's default.
    pub min_pixels: Option<u64>,
    /// Largest area of a frame or image after resizing, in pixels; `None` is the model's default.
    pub max_pixels: Option<u64>,
    /// How videos are cut into moments, which have rows beside those of the whole videos; `None` where they
    /// are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moments: Option<Moments>,
    /// In which precision embeddings are kept on disk from now on.
    #[serde(default, skip_serializing_if = "is_default")]
    pub store_dtype: StoreDType,
}

fn is_default(dtype: &StoreDType) -> bool {
    *dtype == StoreDType::default()
}

impl LibraryManifest {
    /// By which recipe the model was used.
    #[must_use]
    pub fn recipe_id(&self) -> RecipeId {
        self.recipe.clone().unwrap_or_else(RecipeId::gve)
    }

    /// That of the library in `directory`, of which nothing else is read.
    ///
    /// # Errors
    /// [`RetrievalError::NotALibrary`], [`RetrievalError::InvalidManifest`], [`RetrievalError::Io`].
    pub fn read(directory: &Path) -> Result<Self, RetrievalError> {
        let path = directory.join(FILE_NAME);
        let text = match limited_file::read_text(&path, MAX_BYTES) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => {
                return Err(RetrievalError::NotALibrary { path: directory.to_owned() });
            }
            Err(e) => return Err(IoError::of("read", path)(e).into()),
        };
        Self::parse(&text).map_err(|reason| RetrievalError::InvalidManifest { path, reason })
    }

    fn parse(text: &str) -> Result<Self, String> {
        // The version first: a later layout may have keys this one calls unknown.
        let json: serde_json::Value = serde_json::from_str(text).map_err(one_line)?;
        let version = json.get("format_version").and_then(serde_json::Value::as_u64);
        let manifest: Self = match version {
            Some(v) if (1..=u64::from(MANIFEST_FORMAT_VERSION)).contains(&v) => {
                serde_json::from_value(json).map_err(one_line)?
            }
            Some(v) => {
                return Err(format!(
                    "format version {v}, this program knows 1 to {MANIFEST_FORMAT_VERSION}: use the program \
                     that wrote it"
                ));
            }
            None => return Err("it has no format_version".to_owned()),
        };
        manifest.check().map(|()| manifest)
    }

    /// Refuses what no library can be made with.
    fn check(&self) -> Result<(), String> {
        if !(1..=MAX_DIM).contains(&self.dim) {
            return Err(format!("dim must be 1 to {MAX_DIM}, got {}", self.dim));
        }
        if let Some(reason) = self.moments.and_then(|moments| moments.fault()) {
            return Err(format!("moments: {reason}"));
        }
        if let Some(pixels) = self.min_pixels.filter(|pixels| *pixels > MAX_PICTURE_PIXELS) {
            return Err(format!("min_pixels must be at most {MAX_PICTURE_PIXELS}, got {pixels}"));
        }
        Ok(())
    }

    /// What each segment notes of how its rows were made, so that it is not read with another manifest.
    pub(super) fn settings_checksum(&self) -> u64 {
        let Self {
            format_version: _,
            model,
            revision,
            adapter,
            recipe,
            dim,
            instruction,
            sampling,
            min_pixels,
            max_pixels,
            moments,
            // Each segment says of itself.
            store_dtype: _,
        } = self;
        // Where model and adapter lie is for finding them. Segments on disk hold this: a new field may only
        // be added to it where it is set.
        let model = revision.is_none().then_some(model);
        let adapter = adapter.as_ref().map(|adapter| &adapter.fingerprint);
        let mut settings = serde_json::json!([
            NOTED_FORMAT_VERSION,
            model,
            revision,
            adapter,
            dim,
            instruction,
            sampling,
            min_pixels,
            max_pixels,
        ]);
        if let (Some(recipe), Some(settings)) = (recipe, settings.as_array_mut()) {
            settings.push(serde_json::json!({ "recipe": recipe.hash }));
        }
        if let (Some(moments), Some(settings)) = (moments, settings.as_array_mut()) {
            settings.push(serde_json::json!({ "moments": moments }));
        }
        checksum::of_text(&settings.to_string())
    }

    /// Refuses what no library can be made with, before anything is made in `directory`.
    pub(super) fn require_sound(&self, directory: &Path) -> Result<(), RetrievalError> {
        let path = || directory.join(FILE_NAME);
        self.check().map_err(|reason| RetrievalError::InvalidManifest { path: path(), reason })
    }

    pub(super) fn write(&self, directory: &Path) -> Result<(), RetrievalError> {
        let path = directory.join(FILE_NAME);
        let text = serde_json::to_string_pretty(self)
            .map_err(|e| RetrievalError::InvalidManifest { path: path.clone(), reason: one_line(e) })?;
        Ok(write_file(path, |file| writeln!(file, "{text}"))?)
    }

    /// The settings in which `self`, the library's, differs from `ours`.
    #[must_use]
    pub fn differences(&self, ours: &Self) -> Differences {
        let are_directories =
            [&self.model, &ours.model].into_iter().all(|model| Path::new(model).is_absolute());
        // The fingerprint of a directory says what the model is; where it lies is for finding it.
        let is_found = are_directories && self.revision.is_some() && self.revision == ours.revision;
        // Recipes of one hash embed alike, whatever they are called.
        let is_same_recipe = self.recipe_id().hash == ours.recipe_id().hash;
        let identity = |manifest: &Self| {
            let mut settings = serde_json::json!(manifest);
            // The directory's affair, and none of the embeddings'.
            settings["format_version"].take();
            settings["store_dtype"].take();
            if is_found {
                settings["model"].take();
            }
            // Of before there were fingerprints.
            if self.revision.is_none() {
                settings["revision"].take();
            }
            settings["recipe"] = (!is_same_recipe).then(|| manifest.recipe_id().to_string()).into();
            // The fingerprint says what an adapter is; where it lies is for finding it.
            settings["adapter"] =
                serde_json::json!(manifest.adapter.as_ref().map(|adapter| &adapter.fingerprint));
            settings
        };
        differences(&identity(self), &identity(ours))
    }

    pub(super) fn require_same(&self, ours: &Self, directory: &Path) -> Result<(), RetrievalError> {
        let differences = self.differences(ours);
        if differences.is_empty() {
            return Ok(());
        }
        Err(RetrievalError::ManifestMismatch { path: directory.to_owned(), differences })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"format_version": 1, "model": "m", "revision": null, "dim": 4, "instruction": null,
        "sampling": {"uniform": {"frames": 8}}, "min_pixels": 3136, "max_pixels": 156800}"#;

    #[test]
    fn unknown_keys_and_other_versions_are_refused() {
        assert!(LibraryManifest::parse(TEXT).is_ok());
        for (from, to, expected) in [
            (r#""dim""#, r#""dims""#, "unknown field `dims`"),
            (r#""frames": 8"#, r#""frames": 8, "fps": 1"#, "unknown field `fps`"),
            (r#""format_version": 1"#, r#""format_version": 3, "later": 0"#, "format version 3"),
            (r#""format_version": 1"#, r#""format_version": 0"#, "format version 0"),
            (r#""format_version": 1,"#, "", "no format_version"),
            (r#""dim": 4"#, r#""dim": -4"#, "-4"),
            (r#""dim": 4"#, r#""dim": 0"#, "dim must be 1 to 1048576, got 0"),
            (r#""dim": 4"#, r#""dim": 18446744073709551615"#, "dim must be"),
            (r#""dim": 4"#, r#""dim": 1e300"#, "1e"),
            (r#""dim": 4"#, r#""dim": "4""#, "string"),
            (r#""dim": 4"#, r#""dim": null"#, "null"),
            (r#""min_pixels": 3136"#, r#""min_pixels": 18446744073709551615"#, "min_pixels must be at most"),
            (TEXT, "[]", "no format_version"),
            (TEXT, "", "EOF"),
        ] {
            let error = LibraryManifest::parse(&TEXT.replace(from, to)).unwrap_err();
            assert!(error.contains(expected), "{error} should say {expected}");
        }
    }

    #[test]
    fn segments_note_what_decides_on_embeddings() {
        let written = LibraryManifest::parse(TEXT).unwrap();
        // Segments on disk hold it: it may never change.
        assert_eq!(written.settings_checksum(), 2_691_990_228_152_306_088);
        let of = |from: &str, to: &str| {
            LibraryManifest::parse(&TEXT.replace(from, to)).unwrap().settings_checksum()
        };
        for (from, to) in [
            ("156800", "156801"),
            ("3136", "3137"),
            (r#""frames": 8"#, r#""frames": 9"#),
            (r#""m""#, r#""n""#),
        ] {
            assert_ne!(of(from, to), written.settings_checksum(), "{to}");
        }
        let revised = |model: &str| {
            let text = TEXT.replace(r#""revision": null"#, r#""revision": "1""#);
            LibraryManifest::parse(&text.replace(r#""m""#, model)).unwrap().settings_checksum()
        };
        assert_eq!(revised(r#""/a""#), revised(r#""/moved""#));
    }

    #[test]
    fn the_layout_is_no_reason_to_embed_anew() {
        let before = LibraryManifest::parse(TEXT).unwrap();
        let now = LibraryManifest { format_version: MANIFEST_FORMAT_VERSION, ..before.clone() };
        assert!(before.differences(&now).is_empty() && now.differences(&before).is_empty());
        assert_eq!(now.settings_checksum(), before.settings_checksum());
    }

    #[test]
    fn recipes_are_told_apart_by_what_they_say() {
        let before = LibraryManifest::parse(TEXT).unwrap();
        let by = |name: &str, hash: &str| LibraryManifest {
            recipe: Some(RecipeId { name: name.into(), hash: hash.into() }),
            ..before.clone()
        };
        let gve = by("gve", &RecipeId::gve().hash);
        for (there, here, expected) in [
            (&before, &gve, ""),
            (&gve, &before, ""),
            (&gve, &by("mine", &RecipeId::gve().hash), ""),
            (&by("a", "1"), &by("b", "1"), ""),
            (&by("a", "1"), &by("a", "2"), r#"recipe: "a (1)" there, "a (2)" here"#),
            (&before, &by("a", "1"), r#"recipe: "gve (cbf29ce484222325)" there, "a (1)" here"#),
        ] {
            assert_eq!(there.differences(here).to_string(), expected);
        }
        // What lies on disk without a recipe notes nothing of it.
        assert_eq!(before.settings_checksum(), 2_691_990_228_152_306_088);
        assert_ne!(gve.settings_checksum(), before.settings_checksum());
        assert_eq!(by("a", "1").settings_checksum(), by("b", "1").settings_checksum());
        let written = serde_json::to_string(&gve).unwrap();
        assert!(written.contains(r#""recipe":{"name":"gve","hash":"cbf29ce484222325"}"#), "{written}");
        assert_eq!(LibraryManifest::parse(&written).unwrap(), gve);
    }

    #[test]
    fn adapters_are_told_apart_by_what_is_in_them() {
        let plain = LibraryManifest::parse(TEXT).unwrap();
        let adapted = |directory: &str, fingerprint: &str| LibraryManifest {
            adapter: Some(AdapterId { directory: directory.into(), fingerprint: fingerprint.into() }),
            ..plain.clone()
        };
        assert!(adapted("/a", "1").differences(&adapted("/moved", "1")).is_empty());
        let differs = |theirs: LibraryManifest, ours| theirs.differences(&ours).to_string();
        assert_eq!(differs(adapted("/a", "1"), adapted("/a", "2")), r#"adapter: "1" there, "2" here"#);
        assert_eq!(differs(plain.clone(), adapted("/a", "1")), r#"adapter: missing there, "1" here"#);
        let written = serde_json::to_string(&adapted("/a", "1")).unwrap();
        assert_eq!(LibraryManifest::parse(&written).unwrap(), adapted("/a", "1"));
    }

    #[test]
    fn models_are_told_apart_by_their_weights() {
        let of = |model: &str, revision: Option<&str>| LibraryManifest {
            model: model.into(),
            revision: revision.map(str::to_owned),
            ..LibraryManifest::parse(TEXT).unwrap()
        };
        let differs =
            |theirs, ours: LibraryManifest| LibraryManifest::differences(&theirs, &ours).to_string();
        assert_eq!(differs(of("/a", Some("1")), of("/moved", Some("1"))), "");
        assert_eq!(differs(of("/a", Some("1")), of("/a", Some("2"))), r#"revision: "1" there, "2" here"#);
        assert_eq!(
            differs(of("a/b", Some("main")), of("a/c", Some("main"))),
            r#"model: "a/b" there, "a/c" here"#
        );
        // Of before there were fingerprints.
        assert_eq!(differs(of("/a", None), of("/a", Some("1"))), "");
        assert_eq!(differs(of("/a", None), of("/b", Some("1"))), r#"model: "/a" there, "/b" here"#);
    }

    #[test]
    fn each_difference_is_named() {
        let theirs = LibraryManifest::parse(TEXT).unwrap();
        assert!(theirs.differences(&theirs).is_empty());
        let ours = LibraryManifest {
            model: "n".into(),
            sampling: Sampling::Uniform { frames: 16 },
            ..theirs.clone()
        };
        assert_eq!(
            theirs.differences(&ours).to_string(),
            r#"model: "m" there, "n" here; sampling.uniform.frames: 8 there, 16 here"#
        );
    }
}
