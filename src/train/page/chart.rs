use std::fmt::Write;

use super::curves::Named;
use crate::page::escaped;

/// Size of a drawing, and of what lies around the curves.
const WIDTH: f64 = 560.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 52.0;
const BELOW: f64 = 22.0;
const AROUND: f64 = 8.0;
/// Points that are drawn of a curve, at most: of more the mean of those that lie together.
const POINTS: usize = 600;
/// Share of what was before in a running mean.
const MEMORY: f64 = 0.95;
/// Colours that are told apart by most eyes, on light and dark ground (Okabe and Ito, doi 10.1038/nmeth.1618).
const COLOURS: [&str; 8] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f", "#b8a900"];

/// Curves over the steps of a run.
pub(super) struct Chart<'a> {
    curves: Vec<Named<'a>>,
    /// The last step of the run.
    end: usize,
    is_smoothed: bool,
    has_points: bool,
}

impl<'a> Chart<'a> {
    pub(super) fn of(end: usize, curves: impl IntoIterator<Item = Named<'a>>) -> Self {
        Self { curves: curves.into_iter().collect(), end, is_smoothed: false, has_points: false }
    }

    /// A running mean over curves that jump, which are faint.
    pub(super) fn smoothed(self) -> Self {
        Self { is_smoothed: true, ..self }
    }

    /// Curves of few points.
    pub(super) fn with_points(self) -> Self {
        Self { has_points: true, ..self }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.curves.is_empty()
    }

    pub(super) fn svg(&self, title: &str) -> String {
        let values = || self.curves.iter().flat_map(|(_, points)| points.iter().map(|(_, value)| *value));
        let (low, high) =
            (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
        let axis = Axis::of(low, high);
        let title = escaped(title);
        let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">");
        let y = |value: f64| {
            let share = (value - axis.low) / (axis.high - axis.low);
            HEIGHT - BELOW - share * (HEIGHT - BELOW - AROUND)
        };
        let x = |step: usize| LEFT + step as f64 / self.end.max(1) as f64 * (WIDTH - LEFT - AROUND);
        for (value, label) in axis.ticks() {
            let (y, right) = (y(value), WIDTH - AROUND);
            _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/><text x=\"{:.1}\" \
                 y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
                LEFT - 6.0,
                y + 4.0
            );
        }
        for part in 0..=4 {
            let step = self.end * part / 4;
            _ = write!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"{}\">{step}</text>",
                x(step),
                HEIGHT - 6.0,
                if part == 4 { "end" } else { "middle" }
            );
        }
        let mut key = String::new();
        for ((name, points), colour) in self.curves.iter().zip(COLOURS.iter().cycle()) {
            let thinned = thinned(points);
            let mut line = |points: &[(usize, f64)], style: &str| {
                let places = points.iter().map(|&(step, value)| format!("{:.1},{:.1}", x(step), y(value)));
                let places: Vec<String> = places.collect();
                _ = write!(
                    svg,
                    "<polyline fill=\"none\" stroke=\"{colour}\" {style} points=\"{}\"/>",
                    places.join(" ")
                );
            };
            if self.is_smoothed {
                line(&thinned, "stroke-opacity=\".3\"");
                line(&thinned_mean(points), "stroke-width=\"2\"");
            } else {
                line(&thinned, "stroke-width=\"2\"");
            }
            let last = points.last().map(|(_, value)| short(*value)).unwrap_or_default();
            let name = escaped(&label(name));
            if self.has_points {
                for &(step, value) in thinned.iter() {
                    _ = write!(
                        svg,
                        "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"><title>{name} at step {step}: {}\
                         </title></circle>",
                        x(step),
                        y(value),
                        short(value)
                    );
                }
            }
            _ = write!(key, "<span><i style=\"background:{colour}\"></i>{name} {last}</span>");
        }
        format!("{svg}</svg><div class=\"key\">{key}</div>")
    }
}

/// The range of values that is shown, and its lines.
struct Axis {
    low: f64,
    high: f64,
    step: f64,
}

impl Axis {
    /// From a round number to another, with three to seven lines.
    fn of(low: f64, high: f64) -> Self {
        let span = if high > low { high - low } else { low.abs().max(1e-9) };
        let magnitude = 10f64.powf((span / 4.0).log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * magnitude);
        let step = step.into_iter().find(|step| span / step <= 5.0).unwrap_or(10.0 * magnitude);
        // What lies on a line but for rounding needs no other.
        let (low, high) = ((low / step + 1e-9).floor() * step, (high / step - 1e-9).ceil() * step);
        Self { low, high: if high > low { high } else { low + step }, step }
    }

    fn ticks(&self) -> impl Iterator<Item = (f64, String)> {
        let count = ((self.high - self.low) / self.step).round() as usize;
        (0..=count).map(|i| {
            // Of what is near 0 by rounding alone.
            let value = self.low + i as f64 * self.step;
            let value = if value.abs() < self.step * 1e-6 { 0.0 } else { value };
            (value, short(value))
        })
    }
}

/// What a curve is called under a title that says what it is of.
fn label(name: &str) -> String {
    match name.split_once('/') {
        Some((_, part)) => part.to_owned(),
        None if name.starts_with("recall@") => "mean".to_owned(),
        None => name.replace('_', " "),
    }
}

/// A number in few letters.
fn short(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 {
        "0".to_owned()
    } else if !(1e-3..1e5).contains(&size) {
        format!("{value:.2e}")
    } else {
        let text = format!("{value:.*}", if size < 10.0 { 4 } else { 1 });
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

/// At most so many points, each the mean of those that lie together.
fn thinned(points: &[(usize, f64)]) -> Vec<(usize, f64)> {
    let size = points.len().div_ceil(POINTS).max(1);
    let mean = |points: &[(usize, f64)]| {
        let (step, _) = points[points.len() / 2];
        (step, points.iter().map(|(_, value)| value).sum::<f64>() / points.len() as f64)
    };
    points.chunks(size).map(mean).collect()
}

/// The running mean, which begins without what was not before.
fn thinned_mean(points: &[(usize, f64)]) -> Vec<(usize, f64)> {
    let (mut sum, mut weight) = (0.0, 0.0);
    let means: Vec<(usize, f64)> = points
        .iter()
        .map(|&(step, value)| {
            sum = MEMORY * sum + value;
            weight = MEMORY * weight + 1.0;
            (step, sum / weight)
        })
        .collect();
    thinned(&means)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_begins_and_ends_at_round_numbers() {
        let labels = |low, high| Axis::of(low, high).ticks().map(|(_, label)| label).collect::<Vec<_>>();
        assert_eq!(labels(0.0, 1.0), ["0", "0.2", "0.4", "0.6", "0.8", "1"]);
        assert_eq!(labels(-0.13, 0.32), ["-0.2", "-0.1", "0", "0.1", "0.2", "0.3", "0.4"]);
        assert_eq!(labels(0.0, 3e-5).last().unwrap(), "3.00e-5");
        assert_eq!(labels(2.0, 2.0).first().unwrap(), "2");
        assert_eq!(labels(0.0, 0.0).first().unwrap(), "0");
    }

    #[test]
    fn a_running_mean_begins_with_the_first_value() {
        let mean = thinned_mean(&[(1, 4.0), (2, 4.0), (3, 1.0)]);
        assert_eq!(mean[..2], [(1, 4.0), (2, 4.0)]);
        assert!(mean[2].1 < 4.0 && mean[2].1 > 1.0);
    }

    #[test]
    fn long_curves_are_thinned_and_short_ones_are_not() {
        let points: Vec<(usize, f64)> = (0..10_000).map(|step| (step, step as f64)).collect();
        assert!(thinned(&points).len() <= POINTS);
        assert_eq!(thinned(&points[..7]), points[..7]);
        assert_eq!(thinned(&[]), []);
    }
}
