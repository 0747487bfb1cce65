use std::path::PathBuf;

use anyhow::{Result, anyhow};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand, ValueEnum};
use gve::synth::SynthError;
use gve::synth::world::director::MOST_THINGS;
use gve::synth::world::{ChangeKind, MiniSettings, USUAL_FAMILY, WorldSettings, write_mini, write_world};
use gve::video::VideoEncoding;
use gve_cli::interrupt::stop_on_ctrl_c;
use gve_cli::options::whole;
use gve_cli::output::{Outcome, counted, name, print, progress_bar, report};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make videos of a procedural world, with captions and training pairs that are true by construction.
    #[command(after_help = "\
Examples:
  gve synth world --seed 1 --videos 3000 --out world
  gve synth world --seed 1 --videos 3000 --pictures 10000 --out world
  gve synth world --seed 1 --pictures 10000 --things 1 --out things
  gve synth world --seed 1 --videos 3000 --differ camera,reorder --family 6 --out motion
  gve synth world --seed 2 --videos 12 --encoding ffv1 --out look")]
    World {
        /// Videos to make.
        #[arg(long, value_name = "N", default_value_t = 0, required_unless_present = "pictures")]
        #[arg(value_parser = whole::<usize>(0))]
        videos: usize,
        /// Further scenes to draw one picture of each, for pairs of text and image.
        #[arg(long, value_name = "N", default_value_t = 0, value_parser = whole::<usize>(0))]
        pictures: usize,
        /// Most things in a scene, 1 to 3.
        #[arg(long, value_name = "N", default_value_t = MOST_THINGS, value_parser = whole::<usize>(0))]
        things: usize,
        /// Most videos of a family, 2 to 10: one, and near misses that differ from it in a single respect.
        #[arg(long, value_name = "N", default_value_t = USUAL_FAMILY, value_parser = whole::<usize>(0))]
        family: usize,
        /// In what the videos of a family may differ: all of one in the same of these, and captions tell them
        /// apart. Else each in a respect of its own.
        #[arg(long, value_name = "RESPECT", value_delimiter = ',', value_parser = change_kind())]
        differ: Vec<ChangeKind>,
        #[command(flatten)]
        shared: Shared,
    },
    /// Make a held-out benchmark of 16 small data sets in the layout of UVRB, out of the procedural world.
    #[command(
        name = "uvrb-mini",
        after_help = "\
Examples:
  gve synth uvrb-mini --seed 7 --out uvrb-mini
  uvrb run uvrb-mini --model ./my-model --out results"
    )]
    UvrbMini {
        /// Videos of a corpus; three times as many where the first ten of a ranking count.
        #[arg(long, value_name = "N", default_value_t = 102, value_parser = whole::<usize>(0))]
        videos: usize,
        #[command(flatten)]
        shared: Shared,
    },
}

#[derive(Args)]
pub(crate) struct Shared {
    /// Where all randomness comes from: equal seeds give equal worlds.
    #[arg(long, value_name = "S", value_parser = whole::<u64>(0))]
    seed: u64,
    /// Directory to write to; a run that was stopped, by Ctrl-C say, goes on there.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// How videos are stored.
    #[arg(long, value_enum, default_value_t = Encoding::H264)]
    encoding: Encoding,
    /// No progress bar.
    #[arg(long)]
    quiet: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Encoding {
    /// H.264 in MP4: small.
    H264,
    /// FFV1 in Matroska: without loss.
    Ffv1,
}

impl From<Encoding> for VideoEncoding {
    fn from(encoding: Encoding) -> Self {
        match encoding {
            Encoding::H264 => Self::H264 { crf: 20 },
            Encoding::Ffv1 => Self::Ffv1,
        }
    }
}

fn change_kind() -> impl TypedValueParser<Value = ChangeKind> {
    let kind =
        |name: String| ChangeKind::ALL.into_iter().find(|kind| kind.name() == name).ok_or("no respect");
    PossibleValuesParser::new(ChangeKind::ALL.map(ChangeKind::name)).try_map(kind)
}

pub(crate) fn run(command: &Command) -> Result<Outcome> {
    let made = match *command {
        Command::World { videos, pictures, things, family, ref differ, ref shared } => {
            let settings = WorldSettings::new(shared.seed)
                .with_videos(videos)
                .with_pictures(pictures)
                .with_things(things)
                .with_family(family)
                .with_differ(differ.clone())
                .with_encoding(shared.encoding.into());
            world(shared, settings)
        }
        Command::UvrbMini { videos, ref shared } => {
            let encoding = shared.encoding.into();
            uvrb_mini(shared, MiniSettings::new(shared.seed).with_videos(videos).with_encoding(encoding))
        }
    };
    match made {
        Ok(()) => Ok(Outcome::Complete),
        Err(error) if matches!(error.downcast_ref::<SynthError>(), Some(SynthError::Cancelled)) => {
            report(&anyhow!("{error}; finished files are kept, and the same command goes on from there"));
            Ok(Outcome::Partial)
        }
        Err(error) => Err(error),
    }
}

fn world(shared: &Shared, settings: WorldSettings) -> Result<()> {
    let cancel = stop_on_ctrl_c()?;
    let bar = progress_bar(settings.videos.saturating_add(settings.pictures), "scenes", shared.quiet);
    let made = write_world(&shared.out, settings, &cancel, &|scenes| bar.inc(scenes as u64));
    bar.finish_and_clear();
    let made = made?;
    let out = name(&shared.out);
    let things = [
        counted(made.videos, "video", "videos"),
        counted(made.images, "image", "images"),
        counted(made.captions, "caption", "captions"),
    ];
    print(&format!("{out}: {}", things.join(", ")))?;
    for (task, pairs) in made.pairs {
        print(&format!("{task:<5}{pairs:>8} pairs"))?;
    }
    Ok(())
}

fn uvrb_mini(shared: &Shared, settings: MiniSettings) -> Result<()> {
    let cancel = stop_on_ctrl_c()?;
    let bar = progress_bar(16, "data sets", shared.quiet);
    let made = write_mini(&shared.out, settings, &cancel, &|sets| bar.inc(sets as u64));
    bar.finish_and_clear();
    for set in made? {
        let (id, queries, videos) = (set.id, set.queries, set.videos);
        print(&format!("{id:<12}{queries:>6} queries{videos:>6} videos   chance {:.4}", set.chance))?;
    }
    Ok(())
}
