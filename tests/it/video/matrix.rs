//! The decoder against FFmpeg's own command over a matrix of containers, codecs and faults: every frame that
//! the command gives is there, in the order of the file, none lost and none twice, whether frames are read
//! one after the other or sought.

mod forms;
mod surgery;

use super::clips::{decode_what_there_is, difference, make};
use forms::{Container, Fault, Form, forms};
use gve::video::{VideoOptions, VideoReader, Warning};
use rayon::prelude::*;
use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    num::NonZeroUsize,
    path::{Path, PathBuf},
};
use surgery::{Change, RATE, Times};

const SIZE: (u32, u32) = (64, 48);
const FRAMES: usize = 20;
const FRAMES_OF_SECOND: usize = 14;
/// Largest mean difference, of 255, to FFmpeg's picture. Other frames are several times as far off.
const SAME: f64 = 1.0;

/// Pictures that are far from each other: part and frame number in dark and bright columns.
fn source(part: usize, frames: usize, (width, height): (u32, u32)) -> Vec<String> {
    let code = format!("(N+{})", part * 64);
    let seconds = frames as f64 / RATE;
    let luma = format!("if(mod(floor({code}/pow(2\\,floor(8*X/W)))\\,2)\\,200\\,50)+mod(2*Y+N\\,32)");
    let graph = format!(
        "nullsrc=s={width}x{height}:r={RATE}:d={seconds},format=yuv444p,geq=lum='{luma}':cb='128+3*mod(N\\,8)':cr='120+{part}*20',format=yuv420p"
    );
    ["-f", "lavfi", "-i", &graph].map(String::from).to_vec()
}

fn encode(form: &Form, part: usize, frames: usize, size: (u32, u32), more: &str) -> Option<Vec<u8>> {
    let output = format!("{} {more} -threads 1", form.encoding);
    let clip = make(&format!("a.{}", form.extension), &source(part, frames, size), &output)?;
    Some(fs::read(&clip.path).expect("reads"))
}

/// The bytes of a file of this form with a fault. `None` where it cannot be made.
fn faulty(form: &Form, fault: Fault, first: &[u8], second: &[u8]) -> Option<Vec<u8>> {
    use Fault::*;
    let cut = |bytes: &[u8], from: usize, to: usize| {
        bytes[bytes.len() * from / 100..bytes.len() * to / 100].to_vec()
    };
    let changed = |change: &Change| {
        let mut bytes = first.to_vec();
        form.container.surgery()?(&mut bytes, change);
        Some(bytes)
    };
    let moved = |by: &dyn Fn(usize) -> f64| {
        changed(&|number, times: Times| {
            let by = by(number);
            Some(Times { pts: times.pts + by, dts: times.dts.map(|dts| dts + by) })
        })
    };
    let half = FRAMES / 2;
    match fault {
        None => Some(first.to_vec()),
        Joined => Some([first, second].concat()),
        JoinedToItself => Some([first, first].concat()),
        JoinedInThree => Some([second, first, second].concat()),
        CutAtStart => Some(cut(first, 23, 100)),
        CutAtEnd => Some(cut(first, 0, 77)),
        CutAtBothEnds => Some(cut(first, 23, 77)),
        CutAndJoined => Some([cut(first, 0, 77), cut(second, 23, 100)].concat()),
        Dropped => changed(&|_, _| Option::None),
        DroppedNow => changed(&|number, times| (number % 7 != 3).then_some(times)),
        Repeated => moved(&|number| if number % 4 == 2 { -1.0 } else { 0.0 }),
        Reversed => changed(&|_, times| {
            let end = 2.0 * FRAMES as f64 + 40.0;
            Some(Times { pts: end - times.pts, dts: times.dts.map(|dts| end - dts) })
        }),
        StepsBack => moved(&|number| if number >= half { -2.0 } else { 0.0 }),
        StepsBackHalf => moved(&|number| if number >= half { -1.5 } else { 0.0 }),
        Scrambled => moved(&|number| (number * 7 % 5) as f64),
        Offset => moved(&|_| 3600.0 * RATE),
        Wrapped => {
            let wrap = (1_u64 << 33) as f64 / 90_000.0 * RATE;
            moved(&|_| wrap - 35.0 - half as f64)
        }
        JumpsAhead => moved(&|number| if number >= half { 100.0 } else { 0.0 }),
        Stray => moved(&|number| if number == half { 60.0 } else { 0.0 }),
        SizeChanges => Some([first, &encode(form, 1, FRAMES_OF_SECOND, (80, 64), "")?].concat()),
        PixelsChange => {
            let pixels =
                if form.name.starts_with("mpeg4") { return Option::None } else { "-pix_fmt yuv422p" };
            let pixels = if form.name.starts_with("mpeg1") { return Option::None } else { pixels };
            Some([first, &encode(form, 1, FRAMES_OF_SECOND, SIZE, pixels)?].concat())
        }
    }
}

/// All frames by number, and which of them other frames stand in for.
fn read(path: &Path, order: &[usize]) -> Result<(Vec<Vec<u8>>, Vec<usize>), String> {
    let options = VideoOptions::default().with_threads(NonZeroUsize::new(2));
    let mut reader = VideoReader::open_with(path, options).map_err(|error| error.to_string())?;
    let found: Result<Vec<_>, _> = reader.frames(order).collect();
    let mut found = found.map_err(|error| error.to_string())?;
    found.sort_by_key(|frame| frame.index);
    if let Some(pair) = found.windows(2).find(|pair| pair[0].pts_seconds > pair[1].pts_seconds) {
        return Err(format!("times fall at frame {}", pair[1].index));
    }
    let stand_ins = reader.warnings().iter().filter_map(|warning| match warning {
        Warning::Substituted { index, .. } => Some(*index),
        _ => None,
    });
    let stand_ins = stand_ins.collect();
    Ok((found.into_iter().map(|frame| frame.image.into_raw()).collect(), stand_ins))
}

/// What is known of a file beforehand.
struct Known<'a> {
    fault: Fault,
    /// Whether parts of pictures are missing.
    damaged: bool,
    /// The frames of the undamaged parts.
    sources: &'a [Vec<u8>],
}

impl Known<'_> {
    /// Number of the undamaged frame that a picture is.
    fn source_of(&self, picture: &[u8]) -> Option<usize> {
        let distances = self.sources.iter().map(|source| difference(source, picture));
        let nearest = distances.enumerate().min_by(|a, b| a.1.total_cmp(&b.1));
        nearest.filter(|(_, distance)| *distance < SAME).map(|(number, _)| number)
    }

    /// Whether frames are those that FFmpeg's command gives.
    fn are_right(&self, own: &[&Vec<u8>], expected: &[Vec<u8>]) -> bool {
        use Fault::*;
        let is_same = |(frame, expected): (&&Vec<u8>, &Vec<u8>)| difference(frame, expected) < SAME;
        if own.len() == expected.len() && own.iter().zip(expected).all(is_same) {
            return true;
        }
        match self.fault {
            // What has lost its references, or its end, looks different each time, in FFmpeg as well.
            _ if self.damaged => {
                let whole = |frames: &mut dyn Iterator<Item = &Vec<u8>>| -> Vec<usize> {
                    frames.filter_map(|frame| self.source_of(frame)).collect()
                };
                let (own, expected) = (whole(&mut own.iter().copied()), whole(&mut expected.iter()));
                // More may be whole than the command gives, but not less.
                let mut rest = own.iter();
                !own.is_empty() && expected.iter().all(|expected| rest.any(|own| own == expected))
            }
            // FFmpeg's command loses a frame where decoders start anew; no other one may be missing.
            SizeChanges | PixelsChange => {
                let mut rest = own.iter();
                let in_order = expected.iter().all(|expected| rest.any(|frame| is_same((frame, expected))));
                in_order && own.len() == FRAMES + FRAMES_OF_SECOND
            }
            _ => false,
        }
    }
}

/// Compares a file to what FFmpeg's command makes of it. How many frames are right, or what is wrong.
fn compare(path: &Path, known: &Known) -> Result<usize, String> {
    let reader = match VideoReader::open(path) {
        Ok(reader) => reader,
        // What neither of them can read is right.
        Err(_) if decode_what_there_is(path, SIZE).is_ok_and(|frames| frames.is_empty()) => return Ok(0),
        Err(error) => return Err(error.to_string()),
    };
    let (width, height) = (reader.metadata().width, reader.metadata().height);
    let total = reader.metadata().frames;
    if reader.timing().total_frames() != total {
        return Err("the timing has another number of frames".into());
    }
    let expected = decode_what_there_is(path, (width, height))?;
    let order: Vec<usize> = (0..total).collect();
    let (all, stand_ins) = read(path, &order)?;
    let own: Vec<&Vec<u8>> = all
        .iter()
        .enumerate()
        .filter(|(index, _)| !stand_ins.contains(index))
        .map(|(_, frame)| frame)
        .collect();
    let nearest = |frame: &[u8]| {
        let distances = expected.iter().map(|other| difference(frame, other));
        distances.enumerate().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((usize::MAX, f64::MAX))
    };
    if !known.are_right(&own, &expected) {
        let shown = own.iter().map(|frame| match nearest(frame) {
            (index, distance) if distance < SAME => index.to_string(),
            (index, distance) => format!("{index}?{distance:.1}"),
        });
        return Err(format!(
            "{} frames of {total}, stand-ins {stand_ins:?}, FFmpeg has {}: {}",
            own.len(),
            expected.len(),
            shown.collect::<Vec<_>>().join(" ")
        ));
    }
    // What is no frame of the parts is damaged, and looks different each time.
    let is_damaged = |index: usize| {
        stand_ins.contains(&index) || (known.damaged && known.source_of(&all[index]).is_none())
    };
    let orders: [Vec<usize>; 4] = [
        (0..total).rev().collect(),
        (0..total).step_by(5).collect(),
        (0..6).map(|step| (total - 1) * step / 5).collect(),
        (0..total).map(|step| step * 7 % total).collect(),
    ];
    for mut order in orders {
        let (found, _) = read(path, &order)?;
        // They come sorted by number.
        order.sort_unstable();
        for (frame, index) in found.iter().zip(order) {
            let distance = difference(frame, &all[index]);
            if distance > SAME && !is_damaged(index) {
                let (shown, _) = nearest(frame);
                return Err(format!("frame {index} sought is FFmpeg's frame {shown}, off by {distance:.1}"));
            }
        }
    }
    Ok(own.len())
}

/// Everything one form gives: per fault, how many frames are right, or what is wrong.
fn run(form: &Form) -> Vec<(Fault, Result<usize, String>)> {
    let parts = (encode(form, 0, FRAMES, SIZE, ""), encode(form, 1, FRAMES_OF_SECOND, SIZE, ""));
    let (Some(first), Some(second)) = parts else {
        return Vec::new();
    };
    let directory = tempfile::tempdir().expect("a temporary directory");
    let write = |name: String, bytes: &[u8]| -> PathBuf {
        let path = directory.path().join(format!("{name}.{}", form.extension));
        fs::write(&path, bytes).expect("writes");
        path
    };
    let mut sources = Vec::new();
    for (part, bytes) in [&first, &second].into_iter().enumerate() {
        let frames = decode_what_there_is(&write(format!("part{part}"), bytes), SIZE);
        sources.extend(frames.expect("parts decode"));
    }
    let check = |&fault: &Fault| {
        let path = write(format!("{fault:?}"), &faulty(form, fault, &first, &second)?);
        // Containers with a header for all that follows cannot be joined like that.
        let damaged = fault.cuts() || (fault == Fault::Joined && form.container == Container::Whole);
        Some((fault, compare(&path, &Known { fault, damaged, sources: &sources })))
    };
    form.container.faults().par_iter().filter_map(check).collect()
}

#[test]
fn frames_are_those_of_ffmpeg_in_the_order_of_the_file() {
    let forms = forms();
    let results: Vec<_> = forms.par_iter().map(|form| (form, run(form))).collect();
    let mut counts = BTreeMap::<Fault, usize>::new();
    let (mut frames, mut wrong) = (0, Vec::new());
    for (form, results) in results {
        for (fault, result) in results {
            *counts.entry(fault).or_default() += 1;
            match result {
                Ok(right) => frames += right,
                Err(reason) => {
                    wrong.push(format!("{} in {}, {fault:?}: {reason}", form.name, form.extension))
                }
            }
        }
    }
    let combinations: usize = counts.values().sum();
    let summary = format!(
        "{combinations} combinations of container, codec and fault ({counts:?}): {frames} frames as FFmpeg's command gives \
         them, {} combinations otherwise\n",
        wrong.len()
    );
    // Past the test harness, which shows the output of failed tests only.
    std::io::stderr().write_all(summary.as_bytes()).expect("writes");
    assert!(wrong.is_empty(), "{summary}{}", wrong.join("\n"));
}

#[test]
fn a_clock_that_starts_over_is_told_and_time_goes_on() {
    let forms = forms();
    for form in forms.iter().filter(|form| matches!(form.extension, "ts" | "vob")) {
        let parts = (encode(form, 0, FRAMES, SIZE, ""), encode(form, 1, FRAMES_OF_SECOND, SIZE, ""));
        let (Some(first), Some(second)) = parts else {
            continue;
        };
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join(format!("joined.{}", form.extension));
        fs::write(&path, [first, second].concat()).expect("writes");
        let reader = VideoReader::open(&path).expect("opens");
        let told =
            reader.warnings().iter().any(|warning| matches!(warning, Warning::ClockRestarts { restarts: 1 }));
        assert!(told, "{} in {}: {:?}", form.name, form.extension, reader.warnings());
        let seconds = (FRAMES + FRAMES_OF_SECOND) as f64 / RATE;
        let duration = reader.metadata().duration_seconds;
        assert!((duration - seconds).abs() < 0.2, "{} in {}: {duration} s", form.name, form.extension);
    }
}
