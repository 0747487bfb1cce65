//! Every fault of a data set on disk: what does not fit together, and media that cannot be used.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use gve::preprocess::ImageLimits;
use gve::{CancelToken, ImageSource, Part};
use rayon::prelude::*;
use serde::{Serialize, Serializer};

use super::assemble::{Assembled, assemble};
use super::locate::{IndexFiles, locate};
use super::{Dataset, LoadOptions, records};
use crate::Error;
use crate::manifest::{Candidates, DatasetSpec};

/// How thoroughly to look.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CheckOptions {
    /// How the data set would be read.
    pub load: LoadOptions,
    /// Whether media are decoded; else it is enough that they are there. Videos are decoded at 8 frames,
    /// evenly spread; without the feature `video` they are not decoded.
    pub decode: bool,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckReport {
    /// The data set.
    pub id: String,
    /// The folder that media paths are relative to; `None` where nothing was found.
    #[serde(serialize_with = "as_text")]
    pub directory: Option<PathBuf>,
    /// See [`Dataset::revision`]; `None` where the index files cannot be read.
    pub revision: Option<String>,
    /// Whether `gve synth uvrb-mini` made it: such data sets bear the names of UVRB's, and are of a size of
    /// their own.
    pub generated: bool,
    /// Queries.
    pub queries: Count,
    /// Documents; with [`Candidates::PerQuery`], nothing is expected of their number.
    pub corpus: Count,
    /// Image files, videos and frame caches that are referred to.
    pub media: MediaCount,
    /// Whatever makes results wrong, incomplete or incomparable.
    pub faults: Vec<Fault>,
    /// Damage that decoding tolerated.
    pub warnings: Vec<Fault>,
}

/// A number beside the one of the manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Count {
    /// What a complete copy has.
    pub expected: Option<usize>,
    /// What is there.
    pub found: usize,
}

/// Media by what became of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct MediaCount {
    /// All, each file counted once.
    pub total: usize,
    /// Not there.
    pub missing: usize,
    /// There, but not to be decoded.
    pub undecodable: usize,
    /// Decoded; 0 where that was not asked for.
    pub decoded: usize,
}

/// Something that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The file.
    #[serde(serialize_with = "as_text")]
    pub path: PathBuf,
    /// Its line, or its row of a Parquet file, from 1.
    pub line: Option<usize>,
    /// What is wrong.
    pub reason: String,
}

/// A path, or none, as text: what is no UTF-8 of it shows as U+FFFD, and is no error behind all the work.
fn as_text<'a, S: Serializer>(
    path: impl Into<Option<&'a PathBuf>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let path: Option<&PathBuf> = path.into();
    path.map(|path| path.to_string_lossy()).serialize(serializer)
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.reason)
    }
}

impl Fault {
    /// `root` stands in where the error names no file.
    fn of(error: Error, root: &Path) -> Self {
        match error {
            Error::Invalid { path, line, reason } => Self { path, line, reason },
            Error::Io(error) => Self {
                line: None,
                reason: format!("cannot {} it: {}", error.what, error.reason),
                path: error.path,
            },
            other => Self { path: root.to_owned(), line: None, reason: other.to_string() },
        }
    }
}

impl CheckReport {
    /// Whether the index files were there and could be read, whatever is wrong in them.
    pub fn readable(&self) -> bool {
        self.revision.is_some()
    }
}

/// Finds every fault of the data set `spec` under `root`. Media are looked at in parallel; `progress` is told
/// how many of how many are done.
///
/// # Errors
/// [`Error::Cancelled`] once `cancel` is set; whatever else is wrong is a fault.
pub fn check(
    spec: &DatasetSpec,
    root: &Path,
    options: &CheckOptions,
    cancel: &CancelToken,
    progress: impl Fn(usize, usize) + Sync,
) -> Result<CheckReport, Error> {
    let mut report = CheckReport {
        id: spec.id.clone(),
        directory: None,
        revision: None,
        generated: false,
        queries: Count { expected: Some(spec.queries), found: 0 },
        corpus: Count { expected: (spec.candidates == Candidates::Corpus).then_some(spec.corpus), found: 0 },
        media: MediaCount::default(),
        faults: Vec::new(),
        warnings: Vec::new(),
    };
    let mut faults = Vec::new();
    match read(spec, root, options, &mut faults) {
        Err(error) => faults.push(error),
        Ok((files, assembled)) => {
            count(&mut report, spec, &files, &assembled.dataset, &mut faults);
            report.revision = Some(assembled.dataset.revision.clone());
            let media = media(&files, &assembled);
            let done = AtomicUsize::new(0);
            let looks = media.par_iter().map(|medium| {
                if cancel.is_cancelled() {
                    return Err(Error::Cancelled);
                }
                let look = look(medium, options.decode);
                progress(done.fetch_add(1, Ordering::Relaxed) + 1, media.len());
                Ok(look)
            });
            let looks = looks.collect::<Result<Vec<Look>, Error>>()?;
            record(&mut report, &media, looks);
            report.directory = Some(files.directory);
        }
    }
    let mut faults: Vec<Fault> = faults.into_iter().map(|error| Fault::of(error, root)).collect();
    faults.append(&mut report.faults);
    report.faults = faults;
    Ok(report)
}

fn read(
    spec: &DatasetSpec,
    root: &Path,
    options: &CheckOptions,
    faults: &mut Vec<Error>,
) -> Result<(IndexFiles, Assembled), Error> {
    let files = locate(spec, root)?;
    let mut collect = |fault| {
        faults.push(fault);
        Ok(())
    };
    let records = records::read(&files, &mut collect)?;
    let assembled = assemble(spec, &files, records, &options.load, &mut collect)?;
    Ok((files, assembled))
}

fn count(
    report: &mut CheckReport,
    spec: &DatasetSpec,
    files: &IndexFiles,
    dataset: &Dataset,
    faults: &mut Vec<Error>,
) {
    report.queries.found = dataset.queries.len();
    report.corpus.found = dataset.corpus.len();
    report.generated = is_generated(&files.directory);
    if report.generated {
        (report.queries.expected, report.corpus.expected) = (None, None);
    }
    for (what, path, count) in
        [("queries", &files.queries, report.queries), ("documents", &files.corpus, report.corpus)]
    {
        if let Some(expected) = count.expected.filter(|expected| *expected != count.found) {
            let reason = format!("{} {what}, a complete copy of {} has {expected}", count.found, spec.id);
            faults.push(Error::invalid(path, None, reason));
        }
    }
}

/// Whether the folder lies in one that the generator described as its own.
fn is_generated(directory: &Path) -> bool {
    let described = |folder: &Path| {
        let run: serde_json::Value =
            serde_json::from_slice(&std::fs::read(folder.join("run.json")).ok()?).ok()?;
        Some(run["kind"] == "uvrb-mini")
    };
    // The parent of a folder such as `.` is found once it is resolved.
    let parent = directory.canonicalize().ok().and_then(|directory| described(directory.parent()?));
    parent.unwrap_or(false)
}

/// A file, or the frames of a cache, and the first line that refers to it.
struct Medium<'a> {
    part: &'a Part,
    path: &'a Path,
    index_file: &'a Path,
    line: usize,
}

/// The media of all queries and documents, each once.
fn media<'a>(files: &'a IndexFiles, assembled: &'a Assembled) -> Vec<Medium<'a>> {
    let queries = assembled.dataset.queries.iter().map(|query| &query.input).zip(&assembled.query_lines);
    let corpus = assembled.dataset.corpus.iter().map(|document| &document.input).zip(&assembled.corpus_lines);
    let queries = queries.map(|(input, line)| (input, *line, files.queries.as_path()));
    let corpus = corpus.map(|(input, line)| (input, *line, files.corpus.as_path()));
    let mut seen = HashSet::new();
    let mut media = Vec::new();
    for (input, line, index_file) in queries.chain(corpus) {
        for part in &input.parts {
            if let Some(path) = file_of(part)
                && seen.insert(path)
            {
                media.push(Medium { part, path, index_file, line });
            }
        }
    }
    media
}

/// The file of a part, the first one of a frame cache.
fn file_of(part: &Part) -> Option<&Path> {
    match part {
        Part::Video(video) => video.source.path(),
        Part::Image(image) => image.source.path(),
        Part::Frames(frames) => frames.frames.first()?.path(),
        _ => None,
    }
}

/// What became of one medium.
enum Look {
    Missing,
    There,
    Decoded(Vec<String>),
    Undecodable(String),
}

fn record(report: &mut CheckReport, media: &[Medium<'_>], looks: Vec<Look>) {
    report.media.total = media.len();
    for (medium, look) in media.iter().zip(looks) {
        let fault =
            |reason: String| Fault::of(Error::invalid(medium.index_file, medium.line, reason), medium.path);
        match look {
            Look::Missing => {
                report.media.missing += 1;
                report.faults.push(fault(format!("{} is missing", medium.path.display())));
            }
            Look::Undecodable(reason) => {
                report.media.undecodable += 1;
                report.faults.push(fault(reason));
            }
            Look::Decoded(warnings) => {
                report.media.decoded += 1;
                let path = medium.path.display();
                let warnings = warnings.into_iter().map(|warning| fault(format!("{path}: {warning}")));
                report.warnings.extend(warnings);
            }
            Look::There => {}
        }
    }
}

fn look(medium: &Medium<'_>, decode: bool) -> Look {
    if !medium.path.is_file() {
        return Look::Missing;
    }
    if !decode {
        return Look::There;
    }
    match medium.part {
        Part::Image(image) => decode_images(std::slice::from_ref(&image.source)),
        Part::Frames(frames) => decode_images(&frames.frames),
        Part::Video(_) => decode_video(medium.path),
        _ => Look::There,
    }
}

fn decode_images(images: &[ImageSource]) -> Look {
    for image in images {
        if let Err(error) = image.pixels(&ImageLimits::default()) {
            return Look::Undecodable(error.to_string());
        }
    }
    Look::Decoded(Vec::new())
}

#[cfg(feature = "video")]
fn decode_video(path: &Path) -> Look {
    match sampled_frames(path) {
        Ok(warnings) => Look::Decoded(warnings),
        Err(error) => Look::Undecodable(error.to_string()),
    }
}

#[cfg(not(feature = "video"))]
fn decode_video(_: &Path) -> Look {
    Look::There
}

/// Decodes as an evaluation does, and returns what the decoder had to tolerate.
#[cfg(feature = "video")]
fn sampled_frames(path: &Path) -> Result<Vec<String>, gve::video::VideoError> {
    use std::num::NonZeroUsize;

    use gve::embedder::{FRAME_FACTOR, FRAMES_PER_VIDEO};
    use gve::video::{FrameCount, VideoReader, select};
    use gve::{Sampling, TimeRange};

    // The videos are decoded side by side already.
    let options = crate::encoder::video_options().with_threads(NonZeroUsize::new(1));
    let mut reader = VideoReader::open_with(path, options)?;
    let sampling = Sampling::Uniform { frames: FRAMES_PER_VIDEO };
    let selection =
        select(&reader.timing(), &sampling, TimeRange::default(), FrameCount::MultipleOf(FRAME_FACTOR))?;
    for frame in reader.frames(&selection.indices) {
        frame?;
    }
    Ok(reader.warnings().iter().map(ToString::to_string).collect())
}
