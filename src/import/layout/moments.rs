//! Stretches of videos with what happens in them.

use serde_json::{Map, Value};

use super::{Layout, has_all};
use crate::embedder::{Input, Part, RangeClock};
use crate::import::error::Fault;
use crate::import::reading::{Reading, Row, kind_of};
use crate::media::{MediaKind, TimeRange};
use crate::pairs::Pair;

/// DiDeMo, <https://github.com/LisaAnne/LocalizingMoments>: several people name the segments of five seconds in which
/// it happens, the last included.
pub(super) const DIDEMO: Layout = Layout {
    name: "didemo",
    about: "DiDeMo: video, description, times in segments of 5 s; the moment that agrees most with all annotators",
    keys: &[DIDEMO_KEYS],
    looks: |fields: &Map<String, Value>| has_all(fields, DIDEMO_KEYS),
    read: didemo,
};

/// ActivityNet Captions, <https://cs.stanford.edu/people/ranjaykrishna/densevid/>.
pub(super) const ACTIVITYNET: Layout = Layout {
    name: "activitynet",
    about: "ActivityNet Captions: duration, timestamps, sentences by video",
    keys: &[ACTIVITYNET_KEYS],
    looks: |fields: &Map<String, Value>| has_all(fields, ACTIVITYNET_KEYS),
    read: activitynet,
};

const DIDEMO_KEYS: &[&str] = &["video", "description", "times"];
const ACTIVITYNET_KEYS: &[&str] = &["timestamps", "sentences"];
/// Length of a segment of DiDeMo.
const SEGMENT_SECONDS: f64 = 5.0;

fn didemo(row: &Row, reading: &Reading<'_>) -> Result<Vec<Pair>, Fault> {
    let times = row
        .list("times")
        .iter()
        .map(|value| two(value).filter(|[first, last]| 0.0 <= *first && first <= last));
    let times: Option<Vec<[f64; 2]>> = times.collect();
    let times = times.ok_or("`times` holds something else than pairs of numbers of segments".to_owned())?;
    let [first, last] = agreed(&times)?;
    let video = reading.medium(row.text("video")?, MediaKind::Video)?;
    let range = TimeRange::between(first * SEGMENT_SECONDS, (last + 1.0) * SEGMENT_SECONDS);
    Ok(vec![Pair::new(Input::text(row.text("description")?.trim()), within(video, range))?])
}

/// Of the stretches that people named, the one that overlaps most with those of all; of equals the shorter, then
/// the earlier.
fn agreed(times: &[[f64; 2]]) -> Result<[f64; 2], String> {
    let overlap = |[a, b]: [f64; 2], [c, d]: [f64; 2]| {
        let both = (b.min(d) - a.max(c) + 1.0).max(0.0);
        both / ((b - a + 1.0) + (d - c + 1.0) - both)
    };
    let shared = |one: [f64; 2]| times.iter().map(|other| overlap(one, *other)).sum::<f64>();
    let rank = |one: &[f64; 2]| [-shared(*one), one[1] - one[0], one[0]];
    let best = times
        .iter()
        .copied()
        .min_by(|a, b| rank(a).partial_cmp(&rank(b)).unwrap_or(std::cmp::Ordering::Equal));
    let best = best.ok_or("`times` is empty")?;
    // With itself, a stretch overlaps by 1.
    if times.len() > 1 && shared(best) <= 1.0 + 1e-9 {
        return Err(format!("no two of the {} annotators name times that overlap", times.len()));
    }
    Ok(best)
}

fn activitynet(row: &Row, reading: &Reading<'_>) -> Result<Vec<Pair>, Fault> {
    let name = row.first(&["video", "video_id", crate::import::records::NAME]);
    let name = name.ok_or("neither `video` nor a name is there".to_owned())?;
    let video = reading.medium(row.text(name)?, MediaKind::Video)?;
    let (times, sentences) = (row.list("timestamps"), row.list("sentences"));
    if times.len() != sentences.len() || times.is_empty() {
        let (times, sentences) = (times.len(), sentences.len());
        return Err(Fault::Row(format!("{times} `timestamps` for {sentences} `sentences`")));
    }
    let duration = row.get("duration").and_then(Value::as_f64).unwrap_or(f64::INFINITY);
    let pairs = times.iter().zip(sentences).enumerate().map(|(number, (times, sentence))| {
        let place = |reason: &str| format!("`timestamps`[{number}] {reason}");
        let [start, end] = two(times).ok_or_else(|| place("is no pair of numbers"))?;
        let end = end.min(duration);
        if !(0.0 <= start && start < end) {
            return Err(place(&format!("leads from {start} to {end} s")));
        }
        let text = sentence.as_str().ok_or_else(|| format!("`sentences` holds {}", kind_of(sentence)))?;
        Pair::new(Input::text(text.trim()), within(video.clone(), TimeRange::between(start, end)))
    });
    pairs.collect::<Result<_, String>>().map_err(Fault::Row)
}

fn two(value: &Value) -> Option<[f64; 2]> {
    let [start, end] = value.as_array()?.as_slice() else { return None };
    Some([start.as_f64()?, end.as_f64()?])
}

fn within(video: Input, range: TimeRange) -> Input {
    let cut = |part: Part| match part {
        Part::Video(part) => Part::Video(part.with_range(range).with_clock(RangeClock::Display)),
        other => other,
    };
    Input { parts: video.parts.into_iter().map(cut).collect(), ..video }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotators_agree_on_the_stretch_in_the_middle_of_theirs() {
        for (times, expected) in [
            (&[[0.0, 0.0]; 4][..], Some([0.0, 0.0])),
            (&[[5.0, 5.0], [4.0, 5.0], [5.0, 5.0], [5.0, 5.0]], Some([5.0, 5.0])),
            (&[[1.0, 2.0], [1.0, 3.0], [1.0, 2.0], [0.0, 2.0]], Some([1.0, 2.0])),
            (&[[0.0, 1.0], [1.0, 1.0]], Some([1.0, 1.0])),
            (&[[3.0, 4.0], [1.0, 2.0], [2.0, 3.0]], Some([2.0, 3.0])),
            (&[[2.0, 2.0]], Some([2.0, 2.0])),
            (&[[0.0, 0.0], [2.0, 2.0]], None),
            (&[], None),
        ] {
            assert_eq!(agreed(times).ok(), expected, "{times:?}");
        }
    }
}
