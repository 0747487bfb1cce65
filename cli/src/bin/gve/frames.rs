use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use gve::TimeRange;
use gve::store::write_file;
use gve::video::{FrameCount, VideoReader, select};
use gve_cli::options::SamplingOptions;
use gve_cli::output::{Outcome, print, warn};
use image::{ImageFormat, RgbImage};

#[derive(Args)]
#[command(after_help = "\
Examples:
  gve frames clip.mp4 --frames 8 --out frames/
  gve frames clip.mp4 --fps 2 --max-frames 32 --json")]
pub(crate) struct Arguments {
    /// The video.
    #[arg(value_name = "VIDEO")]
    video: PathBuf,
    #[command(flatten)]
    sampling: SamplingOptions,
    /// Start in seconds.
    #[arg(long, value_name = "SECONDS")]
    start: Option<f64>,
    /// End in seconds.
    #[arg(long, value_name = "SECONDS")]
    end: Option<f64>,
    /// Write the frames into this directory, as frame_000.png and so on.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print JSON lines.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: Arguments) -> Result<Outcome> {
    let sampling = arguments.sampling.sampling_without_model()?;
    let range = TimeRange { start_seconds: arguments.start, end_seconds: arguments.end };
    let mut reader = VideoReader::open(&arguments.video)?;
    let selection = select(&reader.timing(), &sampling, range, FrameCount::Exact)
        .with_context(|| arguments.video.display().to_string())?;
    if let Some(out) = &arguments.out {
        fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
    }
    for (number, frame) in reader.frames(&selection.indices).enumerate() {
        let frame = frame?;
        let (width, height) = frame.image.dimensions();
        let path = arguments.out.as_ref().map(|out| out.join(format!("frame_{number:03}.png")));
        if let Some(path) = &path {
            save(&frame.image, path)?;
        }
        if arguments.json {
            let line = serde_json::json!({
                "index": frame.index, "time": frame.pts_seconds,
                "width": width, "height": height, "path": path,
            });
            print(&line.to_string())?;
        } else {
            let path = path.map(|path| path.display().to_string()).unwrap_or_default();
            print(&format!("{:>6}  {:>10.3} s  {width}x{height}  {path}", frame.index, frame.pts_seconds))?;
        }
    }
    for warning in reader.warnings() {
        warn(warning);
    }
    Ok(Outcome::Complete)
}

/// Writes a PNG that appears under its name once it is complete.
fn save(image: &RgbImage, path: &Path) -> Result<()> {
    let mut png = Cursor::new(Vec::new());
    image.write_to(&mut png, ImageFormat::Png)?;
    Ok(write_file(path, |file| file.write_all(png.get_ref()))?)
}
