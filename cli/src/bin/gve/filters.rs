//! Which files a search looks at.

use std::cmp::Ordering;
use std::fmt;
use std::path::PathBuf;

use anyhow::{Context, Result};
use chrono::{DateTime, Local, NaiveDate, NaiveDateTime, NaiveTime, TimeZone};
use clap::{Args, ValueEnum};
use gve::indexer::absolute;
use gve::media::MediaKind;
use gve::retrieval::{Filter, TagTest};
use gve_cli::options::{in_order, length};

#[derive(Args)]
#[command(next_help_heading = "Filters")]
pub(crate) struct FilterOptions {
    /// Only files in this folder; may be given more than once.
    #[arg(long, value_name = "DIR")]
    under: Vec<PathBuf>,
    /// Only files of such a name (*lake*), or such a path (2025/*.mp4).
    #[arg(long, value_name = "PATTERN")]
    named: Option<String>,
    /// Only videos, or only images.
    #[arg(long)]
    kind: Option<Kind>,
    /// Only videos of at least S seconds.
    #[arg(long, value_name = "S", value_parser = length)]
    min_duration: Option<f64>,
    /// Only videos of at most S seconds.
    #[arg(long, value_name = "S", value_parser = length)]
    max_duration: Option<f64>,
    /// Only files last changed on this day or later (2026-05-31), or from this moment on
    /// (2026-05-31T18:00:00+02:00).
    #[arg(long, value_name = "DATE", value_parser = |text: &str| moment(text, NaiveTime::MIN))]
    modified_after: Option<Moment>,
    /// Only files last changed on this day or earlier, or until this moment.
    #[arg(long, value_name = "DATE", value_parser = |text: &str| moment(text, last_second()))]
    modified_before: Option<Moment>,
    /// Only files taken on this day or later (2026-05-31), or from this time on (2026-05-31T18:00:00), by the
    /// clock of the camera for pictures and in UTC for videos.
    #[arg(long, value_name = "DATE", value_parser = |text: &str| camera_moment(text, NaiveTime::MIN))]
    captured_after: Option<Moment>,
    /// Only files taken on this day or earlier, or until this time.
    #[arg(long, value_name = "DATE", value_parser = |text: &str| camera_moment(text, last_second()))]
    captured_before: Option<Moment>,
    /// Only files whose pictures are at least P pixels wide.
    #[arg(long, value_name = "P")]
    min_width: Option<u32>,
    /// Only files whose pictures are at most P pixels wide.
    #[arg(long, value_name = "P")]
    max_width: Option<u32>,
    /// Only files whose pictures are at least P pixels high.
    #[arg(long, value_name = "P")]
    min_height: Option<u32>,
    /// Only files whose pictures are at most P pixels high.
    #[arg(long, value_name = "P")]
    max_height: Option<u32>,
    /// Only files with such a tag, or a list with it (who=Ada, seen=true); of a number also bounds (stars>=4,
    /// stars<=2). May be given more than once.
    #[arg(long, value_name = "NAME=VALUE", value_parser = tag)]
    tag: Vec<(String, TagTest)>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Video,
    Image,
}

/// When something was, in seconds since 1970, and how that was said.
#[derive(Clone)]
struct Moment {
    seconds: f64,
    said: String,
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.said)
    }
}

impl PartialEq for Moment {
    fn eq(&self, other: &Self) -> bool {
        self.seconds == other.seconds
    }
}

impl PartialOrd for Moment {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.seconds.partial_cmp(&other.seconds)
    }
}

impl FilterOptions {
    /// # Errors
    /// A folder that cannot be found, a pattern that is none, and bounds with nothing between them.
    pub(crate) fn filter(&self) -> Result<Filter> {
        self.require_order()?;
        let seconds = |moment: &Option<Moment>| moment.as_ref().map(|moment| moment.seconds);
        let mut filter = Filter::default()
            .lasting(self.min_duration, self.max_duration)
            .modified(seconds(&self.modified_after), seconds(&self.modified_before))
            .captured(seconds(&self.captured_after), seconds(&self.captured_before))
            .width(self.min_width, self.max_width)
            .height(self.min_height, self.max_height);
        for (name, test) in &self.tag {
            filter = filter.tagged(name, test.clone());
        }
        for folder in &self.under {
            let path = std::path::absolute(folder);
            let path = path.with_context(|| format!("cannot find {}", folder.display()))?;
            // The library has paths without links; a folder that is away may still be asked for.
            filter = filter.under(absolute(&path));
        }
        if let Some(pattern) = &self.named {
            filter = filter.named(pattern)?;
        }
        if let Some(kind) = self.kind {
            filter = filter.of_kind(match kind {
                Kind::Video => MediaKind::Video,
                Kind::Image => MediaKind::Image,
            });
        }
        Ok(filter)
    }

    /// Refuses bounds that leave out every file.
    fn require_order(&self) -> Result<()> {
        in_order(("--min-duration", self.min_duration), ("--max-duration", self.max_duration))?;
        let (after, before) = (self.modified_after.as_ref(), self.modified_before.as_ref());
        in_order(("--modified-after", after), ("--modified-before", before))?;
        let (after, before) = (self.captured_after.as_ref(), self.captured_before.as_ref());
        in_order(("--captured-after", after), ("--captured-before", before))?;
        in_order(("--min-width", self.min_width), ("--max-width", self.max_width))?;
        in_order(("--min-height", self.min_height), ("--max-height", self.max_height))?;
        for (name, test) in &self.tag {
            let TagTest::AtLeast(least) = test else { continue };
            let (from, to) = (format!("--tag {name}>="), format!("--tag {name}<="));
            for (_, test) in self.tag.iter().filter(|(other, _)| other == name) {
                if let TagTest::AtMost(most) = test {
                    in_order((from.as_str(), Some(least)), (to.as_str(), Some(most)))?;
                }
            }
        }
        Ok(())
    }
}

fn last_second() -> NaiveTime {
    NaiveTime::from_num_seconds_from_midnight_opt(86_399, 999_999_999).unwrap_or_default()
}

/// Which tag has to be what.
fn tag(text: &str) -> Result<(String, TagTest), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE, NAME>=N or NAME<=N")?;
    let number = || {
        let number = value.trim().parse().ok().filter(|number: &f64| number.is_finite());
        number.ok_or_else(|| format!("expected a number behind >= or <=, got {value:?}"))
    };
    let (name, test) = match (name.strip_suffix('>'), name.strip_suffix('<')) {
        (Some(name), _) => (name, TagTest::AtLeast(number()?)),
        (_, Some(name)) => (name, TagTest::AtMost(number()?)),
        _ => (name, TagTest::Is(value.to_owned())),
    };
    Ok((name.trim().to_owned(), test))
}

/// On a clock without a time zone: a time, or `time` on a day.
fn camera_moment(text: &str, time: NaiveTime) -> Result<Moment, String> {
    let day = || text.parse::<NaiveDate>().map(|day| day.and_time(time));
    let moment = text.parse::<NaiveDateTime>().or_else(|_| day());
    let moment =
        moment.map_err(|_| format!("{text:?} is no date; expected 2026-05-31 or 2026-05-31T18:00:00"))?;
    Ok(Moment { seconds: moment.and_utc().timestamp() as f64, said: text.to_owned() })
}

/// A moment, or `time` on a day here.
fn moment(text: &str, time: NaiveTime) -> Result<Moment, String> {
    let moment = match DateTime::parse_from_rfc3339(text) {
        Ok(moment) => moment.with_timezone(&Local),
        Err(_) => {
            let day: NaiveDate = text.parse().map_err(|_| {
                format!("{text:?} is no date; expected 2026-05-31 or 2026-05-31T18:00:00+02:00")
            })?;
            let here = Local.from_local_datetime(&day.and_time(time));
            here.earliest().ok_or_else(|| format!("{text:?} is no time here"))?
        }
    };
    let seconds = moment.timestamp() as f64 + f64::from(moment.timestamp_subsec_nanos()) / 1e9;
    Ok(Moment { seconds, said: text.to_owned() })
}
