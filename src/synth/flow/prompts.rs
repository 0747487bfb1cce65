use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::template::Template;
use crate::hash::{FNV_OFFSET, fnv};
use crate::store::IoError;
use crate::synth::SynthError;

/// What the captioner is told and asked, as templates.
#[derive(Debug)]
pub struct Prompts {
    /// The system turn: `{schema}`.
    pub(super) system: Template<1>,
    /// Five captions of a clip: `{duration}`, `{focus}`, `{aspects}`, `{readability}`, `{education}`,
    /// `{known}`.
    pub(super) captions: Template<6>,
    /// A caption of a frame: `{readability}`, `{education}`.
    pub(super) frame: Template<2>,
    /// A composed query: `{reference}`, `{reference_caption}`, `{duration}`, `{target_caption}`.
    pub(super) compose: Template<4>,
    /// What is wrong with an answer: `{fault}`.
    pub(super) again: Template<1>,
    /// A hash of each file's text, by name.
    fingerprints: BTreeMap<&'static str, String>,
}

/// The templates that are built in, by file name.
pub const BUILT_IN_PROMPTS: [(&str, &str); 5] = [
    ("system.txt", include_str!("prompts/system.txt")),
    ("captions.txt", include_str!("prompts/captions.txt")),
    ("frame.txt", include_str!("prompts/frame.txt")),
    ("compose.txt", include_str!("prompts/compose.txt")),
    ("again.txt", include_str!("prompts/again.txt")),
];

impl Prompts {
    /// The templates in `folder`, and the built-in ones for those that are not there or if there is no
    /// folder.
    ///
    /// # Errors
    /// [`SynthError::Content`] for an unknown slot, with file and line, and for a text file of another name;
    /// [`SynthError::Io`].
    pub fn load(folder: Option<&Path>) -> Result<Self, SynthError> {
        if let Some(folder) = folder {
            refuse_other_names(folder)?;
        }
        let mut fingerprints = BTreeMap::new();
        let [system, captions, frame, compose, again] = BUILT_IN_PROMPTS.map(|(name, built_in)| {
            let path = folder.map_or_else(|| name.into(), |folder| folder.join(name));
            let text = match folder.map(|_| fs::read_to_string(&path)) {
                Some(Err(error)) if error.kind() != ErrorKind::NotFound => {
                    return Err(SynthError::from(IoError::of("read", &path)(error)));
                }
                Some(Ok(text)) => text,
                _ => built_in.to_owned(),
            };
            fingerprints.insert(name, format!("{:016x}", fnv(FNV_OFFSET, text.as_bytes())));
            Ok((text, path))
        });
        Ok(Self {
            system: parse(system?, ["schema"])?,
            captions: parse(
                captions?,
                ["duration", "focus", "aspects", "readability", "education", "known"],
            )?,
            frame: parse(frame?, ["readability", "education"])?,
            compose: parse(compose?, ["reference", "reference_caption", "duration", "target_caption"])?,
            again: parse(again?, ["fault"])?,
            fingerprints,
        })
    }

    /// A hash of each template's text, by file name.
    pub(super) fn fingerprints(&self) -> &BTreeMap<&'static str, String> {
        &self.fingerprints
    }
}

fn parse<const N: usize>(
    (text, path): (String, std::path::PathBuf),
    names: [&str; N],
) -> Result<Template<N>, SynthError> {
    Template::parse(&text, &path, names)
}

/// A misspelt name would otherwise leave the built-in template in place.
fn refuse_other_names(folder: &Path) -> Result<(), SynthError> {
    for entry in fs::read_dir(folder).map_err(IoError::of("read the folder", folder))? {
        let path = entry.map_err(IoError::of("read the folder", folder))?.path();
        let known = BUILT_IN_PROMPTS.iter().any(|(name, _)| path.file_name() == Some(name.as_ref()));
        if path.extension() == Some("txt".as_ref()) && !known {
            let names = BUILT_IN_PROMPTS.map(|(name, _)| name).join(", ");
            let reason = format!("no template has this name: expected one of {names}");
            return Err(SynthError::Content { path, line: 1, reason });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_replace_the_built_in_templates_one_by_one() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("frame.txt"), "For {education}.").unwrap();
        let (ours, built_in) = (Prompts::load(Some(folder.path())).unwrap(), Prompts::load(None).unwrap());
        assert_eq!(ours.frame.render(["plain words", "a child"]), "For a child.");
        assert_eq!(ours.compose, built_in.compose);
        for (name, _) in BUILT_IN_PROMPTS {
            let same = ours.fingerprints()[name] == built_in.fingerprints()[name];
            assert_eq!(same, name != "frame.txt", "{name}");
        }
    }

    #[test]
    fn wrong_files_are_named() {
        for (name, text, expected) in [
            ("frame.txt", "a\n{duration}", "frame.txt:2: unknown slot `{duration}`"),
            ("frames.txt", "a", "frames.txt:1: no template has this name: expected one of system.txt"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join(name), text).unwrap();
            let message = Prompts::load(Some(folder.path())).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
        assert!(Prompts::load(Some(Path::new("/nowhere"))).is_err());
    }
}
