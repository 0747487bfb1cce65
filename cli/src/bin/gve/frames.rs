use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use gve::store::write_file;
use gve::video::{FrameCount, VideoReader};
use gve::{RangeClock, TimeRange, VideoPart};
use gve_cli::interrupt::{stop_on_ctrl_c, stopped};
use gve_cli::options::{SamplingOptions, length};
use gve_cli::output::{Outcome, name, print, put_path, warn};
use image::{ImageFormat, RgbImage};

#[derive(Args)]
#[command(after_help = "\
Examples:
  gve frames clip.mp4 --frames 8 --out frames/
  gve frames clip.mp4 --fps 2 --max-frames 32 --json
  gve frames film.mp4 --start 61.5 --end 64 --clock display --out found/")]
pub(crate) struct Arguments {
    /// The video.
    #[arg(value_name = "VIDEO")]
    video: PathBuf,
    #[command(flatten)]
    sampling: SamplingOptions,
    /// Start in seconds.
    #[arg(long, value_name = "SECONDS", value_parser = length)]
    start: Option<f64>,
    /// End in seconds.
    #[arg(long, value_name = "SECONDS", value_parser = length)]
    end: Option<f64>,
    /// What --start and --end are: numbers of frames over the average rate of the video, as the reference
    /// counts, both ends included; or times of display, which `gve search` and players tell, where a frame
    /// that comes up at the end is left out.
    #[arg(long, value_enum, value_name = "CLOCK", default_value = "average-rate")]
    clock: Clock,
    /// Write the frames into this directory, as frame_000.png and so on.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print JSON lines.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Clock {
    AverageRate,
    Display,
}

pub(crate) fn run(arguments: Arguments) -> Result<Outcome> {
    let sampling = arguments.sampling.without_model()?;
    let range = TimeRange { start_seconds: arguments.start, end_seconds: arguments.end };
    let clock = match arguments.clock {
        Clock::AverageRate => RangeClock::AverageRate,
        Clock::Display => RangeClock::Display,
    };
    let part = VideoPart::new(&arguments.video).with_range(range).with_clock(clock);
    let mut reader = VideoReader::open(&arguments.video)?;
    let selection = part
        .select(&reader.timing(), &sampling, FrameCount::Exact)
        .with_context(|| arguments.video.display().to_string())?;
    if let Some(out) = &arguments.out {
        fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
    }
    let cancel = stop_on_ctrl_c()?;
    let mut given = 0;
    for frame in reader.frames(&selection.indices) {
        if cancel.is_cancelled() {
            break;
        }
        let (number, frame) = (given, frame?);
        let (width, height) = frame.image.dimensions();
        let path = arguments.out.as_ref().map(|out| out.join(format!("frame_{number:03}.png")));
        if let Some(path) = &path {
            save(&frame.image, path)?;
        }
        if arguments.json {
            let mut line = serde_json::json!({
                "index": frame.index, "time": frame.pts_seconds,
                "width": width, "height": height, "path": null,
            });
            if let Some(path) = &path {
                put_path(&mut line, "path", path);
            }
            print(&line.to_string())?;
        } else {
            let path = path.as_deref().map(name).unwrap_or_default();
            print(&format!("{:>6}  {:>10.3} s  {width}x{height}  {path}", frame.index, frame.pts_seconds))?;
        }
        given += 1;
    }
    for warning in reader.warnings() {
        warn(warning);
    }
    let wanted = selection.indices.len();
    Ok(if given < wanted {
        stopped(&format!("{given} of {wanted} frames are there"))
    } else {
        Outcome::Complete
    })
}

/// Writes a PNG that appears under its name once it is complete.
fn save(image: &RgbImage, path: &Path) -> Result<()> {
    let mut png = Cursor::new(Vec::new());
    image.write_to(&mut png, ImageFormat::Png)?;
    Ok(write_file(path, |file| file.write_all(png.get_ref()))?)
}
