//! `gve library`: what a library holds, and where its files lie.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::ErrorKind;
use std::iter;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use gve::indexer::absolute;
use gve::media::MediaKind;
use gve::retrieval::{Library, LibraryWriter, RetrievalError};
use gve_cli::output::{Outcome, counted, name, print, warn};
use serde_json::json;

use crate::library::{report_damage, tell_format};
use crate::tags::{Tag, tag};

/// Links that lead from one to the next, at most.
const MOST_LINKS: usize = 40;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show what a library holds and how it was made.
    Info(Info),
    /// Say that files lie elsewhere, as after a drive was mounted at another place: their embeddings stay.
    Relocate(Relocate),
    /// Tag files by a table of JSON lines or CSV, for searches to be narrowed by; show tags, or take them
    /// away.
    Tag(Tag),
}

#[derive(Args)]
pub(crate) struct Info {
    /// Directory of the library.
    #[arg(long, value_name = "DIR")]
    library: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
#[command(after_help = "\
Example:
  gve library relocate --library lib /media/old/Videos /media/new/Videos")]
pub(crate) struct Relocate {
    /// Directory of the library.
    #[arg(long, value_name = "DIR")]
    library: PathBuf,
    /// The folder that the library says its files lie in.
    #[arg(value_name = "FROM")]
    from: PathBuf,
    /// Where that folder is now.
    #[arg(value_name = "TO")]
    to: PathBuf,
    /// Even if there is nothing at TO now, as where a drive is not mounted.
    #[arg(long)]
    force: bool,
}

pub(crate) fn run(command: Command) -> Result<Outcome> {
    match command {
        Command::Info(arguments) => info(&arguments),
        Command::Relocate(arguments) => relocate(&arguments),
        Command::Tag(arguments) => tag(&arguments),
    }
}

fn info(arguments: &Info) -> Result<Outcome> {
    let library = Library::open(&arguments.library)?;
    report_damage(library.damage());
    let (manifest, entries) = (library.manifest(), library.entries());
    let files = |kind| {
        let paths = entries.iter().filter(|entry| entry.kind == kind).map(|entry| &entry.path);
        paths.collect::<HashSet<_>>().len()
    };
    let (videos, images) = (files(MediaKind::Video), files(MediaKind::Image));
    let mut tags: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, of_file) in library.tagged() {
        of_file.keys().for_each(|name| *tags.entry(name).or_default() += 1);
    }
    if arguments.json {
        let summary = json!({
            "videos": videos, "images": images, "rows": entries.len(), "damaged": library.damage().len(),
            "tags": tags, "manifest": manifest,
        });
        print(&summary.to_string())?;
    } else {
        let (videos, images) = (counted(videos, "video", "videos"), counted(images, "image", "images"));
        print(&format!("files      {videos}, {images}"))?;
        let dtype = manifest.store_dtype.name();
        print(&format!("rows       {} of {} values in {dtype}", entries.len(), manifest.dim))?;
        print(&format!("model      {}", manifest.model))?;
        print(&format!("recipe     {}", manifest.recipe_id()))?;
        print(&format!("sampling   {}", json!(manifest.sampling)))?;
        let moments = manifest.moments.map_or("none".to_owned(), |moments| json!(moments).to_string());
        print(&format!("moments    {moments}"))?;
        let tags = tags.iter().map(|(name, files)| format!("{name} ({})", counted(*files, "file", "files")));
        let tags = tags.reduce(|all, one| format!("{all}, {one}")).unwrap_or_else(|| "none".to_owned());
        print(&format!("tags       {tags}"))?;
    }
    Ok(Outcome::of(1, library.damage().len()))
}

fn relocate(arguments: &Relocate) -> Result<Outcome> {
    let library = Library::open(&arguments.library)?;
    let from = place_before(&library, &arguments.from)?;
    let to = place_now(&library, &from, arguments)?;
    let manifest = library.manifest().clone();
    drop(library);
    let mut library = LibraryWriter::create_or_open(&arguments.library, manifest)?;
    tell_format(&library);
    let (mended, lost): (Vec<_>, Vec<_>) =
        library.damage().iter().partition(|error| matches!(error, RetrievalError::DamagedNewest { .. }));
    for error in &mended {
        warn(error);
    }
    report_damage(&lost);
    let damaged = lost.len();
    let moved = library.relocate(&from, &to)?;
    let missing = library.paths().filter(|path| path.starts_with(&to) && !path.exists()).count();
    library.finish()?;
    if missing > 0 {
        warn(&format!("{} not there", counted(missing, "of them is", "of them are")));
    }
    print(&format!("{} in {}", counted(moved, "file now lies", "files now lie"), name(&to)))?;
    Ok(Outcome::of(moved, damaged))
}

/// Where the library has its files: the place as it is written, or else, as files are indexed without links,
/// what it leads to, or led to as long as there was something.
fn place_before(library: &Library, from: &Path) -> Result<PathBuf> {
    let written = std::path::absolute(from).with_context(|| format!("cannot find {}", name(from)))?;
    let has_files = |place: &PathBuf| library.entries().iter().any(|entry| entry.path.starts_with(place));
    let led = iter::successors(Some(written.clone()), |place| led_to(place)).take(MOST_LINKS);
    let found = led.flat_map(|place| [absolute(&place), place].into_iter().rev()).find(has_files);
    found.with_context(|| format!("the library has no files in {}", name(&written)))
}

/// Where the last link in a path leads, be there something or not.
fn led_to(path: &Path) -> Option<PathBuf> {
    path.ancestors().find_map(|link| {
        let target = link.parent()?.join(fs::read_link(link).ok()?);
        let rest = path.strip_prefix(link).ok()?;
        // Joined with nothing it would end in a separator.
        Some(if rest.as_os_str().is_empty() { target } else { target.join(rest) })
    })
}

/// Where the files are to be: in a folder, or, if `from` is a file, at the place of one.
fn place_now(library: &Library, from: &Path, arguments: &Relocate) -> Result<PathBuf> {
    let to = absolute(&arguments.to);
    let is_file = library.entries().iter().any(|entry| entry.path == from);
    match fs::metadata(&to) {
        Ok(there) if there.is_dir() && is_file => bail!(
            "{} is a folder, and {} is a file in the library: give the place of that file",
            name(&to),
            name(from)
        ),
        Ok(there) if !there.is_dir() && !is_file => bail!(
            "{} is no folder, and {} is one in the library: give the place of that folder",
            name(&to),
            name(from)
        ),
        Err(error) if error.kind() == ErrorKind::NotFound && !arguments.force => bail!(
            "cannot find {}: give the place where {} is now; --force takes one where nothing is, as where a drive \
             is not mounted",
            name(&to),
            name(from)
        ),
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot find {}", name(&to)))
        }
        _ => Ok(to),
    }
}
