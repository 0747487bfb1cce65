//! What the detector keeps of a picture, and how unlike two of them are.

use image::RgbImage;

/// Cells across and down.
pub(super) const COLUMNS: usize = 32;
pub(super) const ROWS: usize = 18;
const CELLS: usize = COLUMNS * ROWS;
/// Luma and the two chroma planes.
const PLANES: usize = 3;
/// Bins of the histogram of each plane: chroma varies less.
const BINS: [usize; PLANES] = [16, 32, 32];
const MAX_BINS: usize = 32;
/// How far one picture is shifted against the other, in cells, for what a camera does between them.
pub(super) const SHIFT: (isize, isize) = (2, 1);
/// The mean difference of cells, of 1 in each plane, at which pictures are as unlike as can be.
const UNLIKE_CELLS: f32 = 0.25;
/// Correlation of luma from which on two pictures show the same.
const RELIT: f32 = 0.9;
/// How much less it need be for a picture without contrast.
const RELIT_FADED: f32 = 0.3;
/// The mean difference of chroma, of 255, up to which it is the same.
const SAME_COLOUR: f32 = 8.0;
/// A standard deviation of luma, of 255, below which a picture has no structure to compare.
const FLAT: f32 = 1.0;

/// A picture of one tone that fades go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blank {
    Black,
    White,
}

/// Averages of the cells of a picture, and their histogram.
#[derive(Clone)]
pub(super) struct Picture {
    /// Row by row, each plane of 0 to 255: luma and chroma of BT.601.
    planes: [[f32; CELLS]; PLANES],
    /// Shares of the cells.
    histogram: [[f32; MAX_BINS]; PLANES],
    mean: f32,
    deviation: f32,
}

impl Picture {
    /// `None` of a picture without pixels.
    pub(super) fn of(image: &RgbImage) -> Option<Self> {
        let (width, height) = (image.width() as usize, image.height() as usize);
        if width == 0 || height == 0 {
            return None;
        }
        let mut planes = [[0.0; CELLS]; PLANES];
        for row in 0..ROWS {
            let lines = stretch(row, ROWS, height);
            for column in 0..COLUMNS {
                let pixels = stretch(column, COLUMNS, width);
                let mut sums = [0_u64; PLANES];
                for line in lines.clone() {
                    let from = line * width;
                    for pixel in
                        image.as_raw()[(from + pixels.start) * 3..(from + pixels.end) * 3].chunks_exact(3)
                    {
                        sums.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += u64::from(*value));
                    }
                }
                let count = (lines.len() * pixels.len()) as f32;
                let [r, g, b] = sums.map(|sum| sum as f32 / count);
                let luma = 0.299 * r + 0.587 * g + 0.114 * b;
                let cell = row * COLUMNS + column;
                planes[0][cell] = luma;
                planes[1][cell] = 128.0 + (b - luma) * 0.564;
                planes[2][cell] = 128.0 + (r - luma) * 0.713;
            }
        }
        let mean = planes[0].iter().sum::<f32>() / CELLS as f32;
        let variance = planes[0].iter().map(|luma| (luma - mean).powi(2)).sum::<f32>() / CELLS as f32;
        let mut histogram = [[0.0; MAX_BINS]; PLANES];
        for ((plane, histogram), bins) in planes.iter().zip(&mut histogram).zip(BINS) {
            for value in plane {
                // Between two bins a cell counts in both, so that none jumps over for a small change.
                let place = (value * bins as f32 / 256.0 - 0.5).clamp(0.0, (bins - 1) as f32);
                let share = place.fract();
                let bin = place as usize;
                histogram[bin] += (1.0 - share) / CELLS as f32;
                histogram[(bin + 1).min(bins - 1)] += share / CELLS as f32;
            }
        }
        Some(Self { planes, histogram, mean, deviation: variance.sqrt() })
    }

    pub(super) fn blank(&self) -> Option<Blank> {
        match self.mean {
            _ if self.deviation > 8.0 => None,
            mean if mean <= 20.0 => Some(Blank::Black),
            mean if mean >= 235.0 => Some(Blank::White),
            _ => None,
        }
    }

    /// How unlike two pictures are, 0 to 1: half of it by the averages of cells, at the shift at which they
    /// agree most, half by the histograms, which know no places.
    pub(super) fn distance(&self, other: &Self) -> f32 {
        self.distance_within(other, SHIFT)
    }

    /// The same with shifts of up to so many cells across and down.
    pub(super) fn distance_within(&self, other: &Self, within: (isize, isize)) -> f32 {
        let cells =
            shifts(within).map(|shift| self.shifted_difference(other, shift)).fold(f32::MAX, f32::min);
        let mut planes = [0.0; PLANES];
        for (plane, (a, b)) in planes.iter_mut().zip(self.histogram.iter().zip(&other.histogram)) {
            *plane = a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f32>() / 2.0;
        }
        let colours = planes[0].max((planes[1] + planes[2]) / 2.0);
        0.5 * (cells / UNLIKE_CELLS).min(1.0) + 0.5 * colours
    }

    /// Mean difference of the cells that overlap, summed over the planes, each of 0 to 1.
    fn shifted_difference(&self, other: &Self, shift: (isize, isize)) -> f32 {
        let (mut sum, mut count) = (0.0, 0);
        for (a, b) in self.planes.iter().zip(&other.planes) {
            for (a, b) in overlap(a, b, shift) {
                count += a.len();
                sum += a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f32>();
            }
        }
        sum * PLANES as f32 / (255 * count) as f32
    }

    /// Whether the pictures show the same in another light: luma is correlated, and where one has less
    /// contrast, its colours are paler by as much. One may be shifted by so many cells across and down.
    pub(super) fn is_relit(&self, other: &Self, within: (isize, isize)) -> bool {
        let (bright, dark) = if self.deviation > other.deviation { (self, other) } else { (other, self) };
        if dark.deviation < FLAT {
            return false;
        }
        let best = shifts(within).map(|shift| (bright.shifted_correlation(dark, shift), shift));
        let Some((correlation, shift)) = best.max_by(|a, b| a.0.total_cmp(&b.0)) else {
            return false;
        };
        let contrast = dark.deviation / bright.deviation;
        let (mut sum, mut count) = (0.0, 0);
        for (a, b) in bright.planes.iter().zip(&dark.planes).skip(1) {
            for (a, b) in overlap(a, b, shift) {
                count += a.len();
                let pairs = a.iter().zip(b);
                sum += pairs.map(|(a, b)| ((a - 128.0) * contrast - (b - 128.0)).abs()).sum::<f32>();
            }
        }
        // Of a picture that is nearly black or white, less is left to compare.
        correlation >= RELIT - RELIT_FADED * (1.0 - contrast) && sum / count as f32 <= SAME_COLOUR
    }

    /// Whether this has much of the contrast of another picture: it is not on its way to black or white.
    pub(super) fn is_full_beside(&self, other: &Self) -> bool {
        self.deviation >= 0.6 * other.deviation
    }

    /// Pearson's correlation of luma where the pictures overlap.
    fn shifted_correlation(&self, other: &Self, shift: (isize, isize)) -> f32 {
        let cells = || overlap(&self.planes[0], &other.planes[0], shift).flat_map(|(a, b)| a.iter().zip(b));
        let [mut count, mut mean_a, mut mean_b] = [0.0_f32; 3];
        for (a, b) in cells() {
            (count, mean_a, mean_b) = (count + 1.0, mean_a + a, mean_b + b);
        }
        let (mean_a, mean_b) = (mean_a / count, mean_b / count);
        let [mut both, mut of_a, mut of_b] = [0.0_f32; 3];
        for (a, b) in cells() {
            let (a, b) = (a - mean_a, b - mean_b);
            (both, of_a, of_b) = (both + a * b, of_a + a * a, of_b + b * b);
        }
        both / (of_a * of_b).sqrt().max(f32::MIN_POSITIVE)
    }

    /// Where on the way from `start` to `end` this picture is as a mixture of the two, and how much of it is
    /// no mixture, both as shares of the way.
    pub(super) fn mixture(&self, start: &Self, end: &Self) -> (f32, f32) {
        let cells = || {
            let planes = self.planes.iter().zip(start.planes.iter().zip(&end.planes));
            planes.flat_map(|(x, (a, b))| x.iter().zip(a.iter().zip(b)).map(|(x, (a, b))| (x - a, b - a)))
        };
        let (along, way) = cells().fold((0.0, 0.0), |(along, way), (x, b)| (along + x * b, way + b * b));
        if way <= 0.0 {
            return (0.0, 1.0);
        }
        let share = along / way;
        let rest: f32 = cells().map(|(x, b)| (x - share * b).powi(2)).sum();
        (share, (rest / way).sqrt())
    }
}

/// The pixels of `whole` that make cell `index` of `cells`, at least one.
fn stretch(index: usize, cells: usize, whole: usize) -> std::ops::Range<usize> {
    let start = index * whole / cells;
    start..((index + 1) * whole / cells).max(start + 1)
}

fn shifts((across, down): (isize, isize)) -> impl Iterator<Item = (isize, isize)> {
    (-down..=down).flat_map(move |y| (-across..=across).map(move |x| (x, y)))
}

/// The rows of two planes that lie upon each other when the second is shifted.
fn overlap<'a>(
    a: &'a [f32; CELLS],
    b: &'a [f32; CELLS],
    (x, y): (isize, isize),
) -> impl Iterator<Item = (&'a [f32], &'a [f32])> {
    let columns = COLUMNS - x.unsigned_abs();
    let firsts = |shift: isize| (shift.max(0) as usize, (-shift).max(0) as usize);
    let ((left_a, left_b), (top_a, top_b)) = (firsts(x), firsts(y));
    (0..ROWS - y.unsigned_abs()).map(move |row| {
        let from = |top: usize, left: usize| (top + row) * COLUMNS + left;
        let (from_a, from_b) = (from(top_a, left_a), from(top_b, left_b));
        (&a[from_a..from_a + columns], &b[from_b..from_b + columns])
    })
}
