//! Pictures of high dynamic range to what an SDR display would show.
//!
//! The light that PQ (SMPTE ST 2084) or HLG (ARIB STD-B67) codes for is brought down to the range of SDR by the curve
//! of ITU-R BT.2390 (section 5.4.1, EETF), which leaves dark and middle tones as they are, from 1000 cd/m² to the 203
//! at which BT.2408 has white. It is put on the largest of red, green and blue, and the others keep their proportion to
//! it, and so their hue. Primaries become those of BT.709, what lies outside is clipped, and the transfer is sRGB's.
//! Everything comes out of the coded values of one pixel and constants, so that a tile is as good as a picture.

use std::sync::OnceLock;

/// Numbers of ITU-T H.273.
const PQ: i32 = 16;
const HLG: i32 = 18;
pub(super) const UNSPECIFIED: i32 = 2;
pub(super) const BT2020: i32 = 9;
pub(super) const ICTCP: i32 = 14;
const DCI_P3: i32 = 11;
const DISPLAY_P3: i32 = 12;

/// The brightest light that keeps its drawing, in cd/m²: what HLG is defined for, and most PQ is graded for.
const PEAK_NITS: f64 = 1000.0;
/// White of SDR.
const WHITE_NITS: f64 = 203.0;
/// The brightest light PQ can code for.
const PQ_NITS: f64 = 10_000.0;

/// Coded values are told apart to 12 bits, as many as PQ is used with.
const CODES: usize = 1 << 12;
const CODE_SHIFT: u32 = 4;
/// Steps of the square root of light, which are finer where it is dark.
const ROOTS: usize = 1 << 13;
/// The light that they go up to, as a share of [`PEAK_NITS`].
const MOST_LIGHT: f32 = (PQ_NITS / PEAK_NITS) as f32;
/// Steps of what is encoded at last.
const LEVELS: usize = 1 << 14;

/// Luminance in BT.2020.
const LUMA: [f32; 3] = [0.2627, 0.6780, 0.0593];

type Matrix = [[f32; 3]; 3];
/// To the primaries of BT.709, in linear light, from those of BT.2020 (BT.2087)...
const FROM_BT2020: Matrix =
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]];
/// ... and of P3.
const FROM_P3: Matrix = [[1.2249, -0.2247, 0.0], [-0.0420, 1.0419, 0.0], [-0.0197, -0.0786, 1.0979]];
const FROM_BT709: Matrix = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];

/// Whether a transfer is one of high dynamic range.
pub(super) fn is_hdr(transfer: i32) -> bool {
    matches!(transfer, PQ | HLG)
}

/// How pictures of high dynamic range become SDR.
pub(super) struct ToneMap {
    transfer: &'static Transfer,
    curve: &'static Curve,
    primaries: &'static Matrix,
}

/// What coded values stand for.
struct Transfer {
    /// Light, where 1 is [`PEAK_NITS`]: of the display in PQ, of the scene in HLG.
    light: Vec<f32>,
    /// By the square root of the luminance of a scene: what light on the display is more than that.
    system: Option<Vec<f32>>,
}

/// What becomes of light on the display.
struct Curve {
    /// By the square root of the largest of red, green and blue: factor to what an SDR display shows, where 1 is its
    /// white.
    factors: Vec<f32>,
    /// sRGB, by light.
    encoded: Vec<u8>,
}

impl ToneMap {
    /// For pictures with this transfer and these primaries, by their numbers in ITU-T H.273; `None` where they are SDR.
    pub(super) fn of(transfer: i32, primaries: i32) -> Option<Self> {
        static TRANSFERS: [OnceLock<Transfer>; 2] = [OnceLock::new(), OnceLock::new()];
        static CURVE: OnceLock<Curve> = OnceLock::new();
        let transfer = match transfer {
            PQ => TRANSFERS[0].get_or_init(Transfer::pq),
            HLG => TRANSFERS[1].get_or_init(Transfer::hlg),
            _ => return None,
        };
        let primaries = match primaries {
            BT2020 | UNSPECIFIED => &FROM_BT2020,
            DCI_P3 | DISPLAY_P3 => &FROM_P3,
            _ => &FROM_BT709,
        };
        Some(Self { transfer, curve: CURVE.get_or_init(Curve::new), primaries })
    }

    /// Of `coded`, red, green and blue of 16 bits with the low byte first, makes as many of 8 bits.
    pub(super) fn map(&self, coded: &[u8], rgb: &mut [u8]) {
        let Transfer { light, system } = self.transfer;
        let Curve { factors, encoded } = self.curve;
        for (coded, rgb) in coded.as_chunks::<6>().0.iter().zip(rgb.as_chunks_mut::<3>().0) {
            let of = |low: u8, high: u8| light[usize::from(u16::from_le_bytes([low, high]) >> CODE_SHIFT)];
            let [r0, r1, g0, g1, b0, b1] = *coded;
            let lit = [of(r0, r1), of(g0, g1), of(b0, b1)];
            let gain = system.as_ref().map_or(1.0, |gains| gains[root(dot(&LUMA, lit))]);
            let largest = lit[0].max(lit[1]).max(lit[2]) * gain;
            let factor = gain * factors[root(largest)];
            let shown = lit.map(|light| light * factor);
            let level = |row| (dot(row, shown) * (LEVELS - 1) as f32 + 0.5) as i32;
            *rgb =
                self.primaries.each_ref().map(|row| encoded[level(row).clamp(0, LEVELS as i32 - 1) as usize]);
        }
    }
}

impl Transfer {
    fn pq() -> Self {
        let light = (0..CODES).map(|code| (pq_to_nits(share(code, CODES)) / PEAK_NITS) as f32);
        Self { light: light.collect(), system: None }
    }

    /// BT.2100, table 5, on a display of [`PEAK_NITS`] without black level.
    fn hlg() -> Self {
        const A: f64 = 0.178_832_77;
        let (b, c) = (1.0 - 4.0 * A, 0.5 - A * (4.0 * A).ln());
        let light = |code: f64| match code <= 0.5 {
            true => code * code / 3.0,
            false => (((code - c) / A).exp() + b) / 12.0,
        };
        Self {
            light: (0..CODES).map(|code| light(share(code, CODES)) as f32).collect(),
            system: Some(roots().map(|luminance| luminance.powf(0.2) as f32).collect()),
        }
    }
}

impl Curve {
    fn new() -> Self {
        let (peak, white) = (nits_to_pq(PEAK_NITS), nits_to_pq(WHITE_NITS));
        let top = white / peak;
        let knee = 1.5 * top - 0.5;
        let factor = |light: f64| {
            let coded = (nits_to_pq(light * PEAK_NITS) / peak).min(1.0);
            if coded <= knee {
                return (PEAK_NITS / WHITE_NITS) as f32;
            }
            let t = (coded - knee) / (1.0 - knee);
            let (t2, t3) = (t * t, t * t * t);
            let bent = (2.0 * t3 - 3.0 * t2 + 1.0) * knee
                + (t3 - 2.0 * t2 + t) * (1.0 - knee)
                + (3.0 * t2 - 2.0 * t3) * top;
            (pq_to_nits(bent * peak) / WHITE_NITS / light) as f32
        };
        let encoded = |light: f64| match light <= 0.003_130_8 {
            true => 12.92 * light,
            false => 1.055 * light.powf(1.0 / 2.4) - 0.055,
        };
        let level = |level| (encoded(share(level, LEVELS)) * 255.0).round() as u8;
        Self { factors: roots().map(factor).collect(), encoded: (0..LEVELS).map(level).collect() }
    }
}

/// Light by its place in a table of [`ROOTS`].
fn roots() -> impl Iterator<Item = f64> {
    (0..ROOTS).map(|root| share(root, ROOTS).powi(2) * f64::from(MOST_LIGHT))
}

/// The place of light.
fn root(light: f32) -> usize {
    // By way of fewer bits, which is faster.
    let place = ((light * (1.0 / MOST_LIGHT)).sqrt() * (ROOTS - 1) as f32 + 0.5) as i32;
    place.clamp(0, ROOTS as i32 - 1) as usize
}

fn share(place: usize, places: usize) -> f64 {
    place as f64 / (places - 1) as f64
}

fn dot(row: &[f32; 3], light: [f32; 3]) -> f32 {
    row[0] * light[0] + row[1] * light[1] + row[2] * light[2]
}

const M1: f64 = 2610.0 / 16384.0;
const M2: f64 = 2523.0 / 4096.0 * 128.0;
const C1: f64 = 3424.0 / 4096.0;
const C2: f64 = 2413.0 / 4096.0 * 32.0;
const C3: f64 = 2392.0 / 4096.0 * 32.0;

/// BT.2100, table 4.
fn pq_to_nits(coded: f64) -> f64 {
    let power = coded.powf(1.0 / M2);
    ((power - C1).max(0.0) / (C2 - C3 * power)).powf(1.0 / M1) * PQ_NITS
}

fn nits_to_pq(nits: f64) -> f64 {
    let power = (nits / PQ_NITS).powf(M1);
    ((C1 + C2 * power) / (1.0 + C3 * power)).powf(M2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(transfer: i32, primaries: i32, coded: [f64; 3]) -> [u8; 3] {
        let bytes: Vec<u8> =
            coded.iter().flat_map(|value| ((value * 65535.0).round() as u16).to_le_bytes()).collect();
        let mut rgb = [0; 3];
        ToneMap::of(transfer, primaries).unwrap().map(&bytes, &mut rgb);
        rgb
    }

    #[test]
    fn known_levels_of_both_transfers() {
        // BT.2408, table 1: white of graphics is 58 % of PQ and 75 % of HLG, 203 cd/m².
        assert!((pq_to_nits(0.58) - 203.0).abs() < 2.0 && (nits_to_pq(100.0) - 0.508).abs() < 1e-3);
        let grey = |transfer, level: f64| {
            let [red, green, blue] = mapped(transfer, BT2020, [level; 3]);
            assert!(red.abs_diff(green) <= 1 && green.abs_diff(blue) <= 1, "{red} {green} {blue}");
            green
        };
        for (transfer, white, peak) in [(PQ, 0.58, nits_to_pq(1000.0)), (HLG, 0.75, 1.0)] {
            assert_eq!(grey(transfer, 0.0), 0);
            assert!((210..=235).contains(&grey(transfer, white)), "{}", grey(transfer, white));
            assert!(grey(transfer, peak) >= 254);
            let ramp: Vec<u8> = (0..=200).map(|step| grey(transfer, f64::from(step) / 200.0)).collect();
            assert!(ramp.is_sorted(), "{ramp:?}");
        }
        // Below the knee light stays: 26 cd/m² (38 % of either) is an eighth of white.
        let expected = ((1.055 * (pq_to_nits(0.38) / 203.0).powf(1.0 / 2.4) - 0.055) * 255.0).round() as u8;
        assert!(grey(PQ, 0.38).abs_diff(expected) <= 1 && grey(HLG, 0.38).abs_diff(expected) <= 3);
    }

    #[test]
    fn colours_keep_their_hue_and_get_the_primaries_of_bt709() {
        // Red of BT.709 at 50 cd/m², in BT.2020.
        let red = [0.6274, 0.0691, 0.0164].map(|light| nits_to_pq(light * 50.0));
        let [r, g, b] = mapped(PQ, BT2020, red);
        assert!(r > 120 && g < 4 && b < 4, "{r} {g} {b}");
        // As it is where it has them already; and what BT.709 has no name for is clipped.
        assert_eq!(mapped(PQ, 1, [nits_to_pq(50.0), 0.0, 0.0])[1..], [0, 0]);
        assert_eq!(mapped(PQ, BT2020, [0.0, 0.58, 0.0])[0], 0);
        // A bright orange does not turn yellow: green is no larger a share of it than before.
        let orange = |nits: f64| {
            let [r, g, _] = mapped(PQ, 1, [nits, nits * 0.4, 0.0].map(nits_to_pq));
            f64::from(g) / f64::from(r)
        };
        assert!((orange(50.0) - orange(900.0)).abs() < 0.02, "{} {}", orange(50.0), orange(900.0));
    }

    #[test]
    fn sdr_is_none_of_this() {
        for transfer in [0, 1, 2, 6, 13, 14, 15, 17] {
            assert!(ToneMap::of(transfer, BT2020).is_none());
        }
    }
}
