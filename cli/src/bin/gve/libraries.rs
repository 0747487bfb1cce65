//! `gve library`: what a library holds, and where its files lie.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use gve::media::MediaKind;
use gve::retrieval::{Library, LibraryWriter};
use gve_cli::output::{Outcome, name, print, warn};
use serde_json::json;

use crate::library::{report_damage, report_opened};
use crate::tags::{Tag, tag};

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
        print(&format!("files      {videos} videos, {images} images"))?;
        let dtype = manifest.store_dtype.name();
        print(&format!("rows       {} of {} values in {dtype}", entries.len(), manifest.dim))?;
        print(&format!("model      {}", manifest.model))?;
        print(&format!("recipe     {}", manifest.recipe_id()))?;
        print(&format!("sampling   {}", json!(manifest.sampling)))?;
        let moments = manifest.moments.map_or("none".to_owned(), |moments| json!(moments).to_string());
        print(&format!("moments    {moments}"))?;
        let tags = tags.iter().map(|(name, files)| format!("{name} ({files} files)"));
        let tags = tags.reduce(|all, one| format!("{all}, {one}")).unwrap_or_else(|| "none".to_owned());
        print(&format!("tags       {tags}"))?;
    }
    Ok(Outcome::of(1, library.damage().len()))
}

fn relocate(arguments: &Relocate) -> Result<Outcome> {
    let absolute =
        |path: &Path| std::path::absolute(path).with_context(|| format!("cannot find {}", name(path)));
    let from = absolute(&arguments.from)?;
    let to = arguments.to.canonicalize().with_context(|| format!("cannot find {}", name(&arguments.to)))?;
    let manifest = Library::open(&arguments.library)?.manifest().clone();
    let mut library = LibraryWriter::create_or_open(&arguments.library, manifest)?;
    report_opened(&library);
    let damaged = library.damage().len();
    let moved = library.relocate(&from, &to)?;
    if moved == 0 {
        bail!("the library has no files in {}", name(&from));
    }
    let missing = library.paths().filter(|path| path.starts_with(&to) && !path.exists()).count();
    library.finish()?;
    if missing > 0 {
        warn(&format!("{missing} of them are not there"));
    }
    print(&format!("{moved} files now lie in {}", name(&to)))?;
    Ok(Outcome::of(moved, damaged))
}
