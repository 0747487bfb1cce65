//! Sanity floors: what a score is worth is seen beside one that knows nothing, and one that knows only
//! colour.

use std::collections::BTreeMap;

use gve::{Input, Part, Sampling};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use super::content::{ContentHasher, Fields};
use super::parallel::encode_each;
use super::pictures::visit_pictures;
use super::{Emit, EncodeError, Encoder, EncoderInfo, Request};
use crate::Error;

/// Changes when an embedding of a baseline does.
const REVISION: &str = "1";

/// A random direction for every content: the same one for the same content and seed, so that a query finds
/// only its own copy. Looks at no pixel; files are only hashed.
pub struct RandomEncoder {
    info: EncoderInfo,
    dim: usize,
    seed: u64,
    hasher: ContentHasher,
}

impl RandomEncoder {
    /// Vectors of length 1 and `dim` values.
    ///
    /// # Errors
    /// [`Error::Settings`] for `dim` 0.
    pub fn new(dim: usize, seed: u64) -> Result<Self, Error> {
        if dim == 0 {
            return Err(Error::Settings("random embeddings need a dimension of at least 1".into()));
        }
        let settings = BTreeMap::from([("dim".into(), json!(dim)), ("seed".into(), json!(seed))]);
        Ok(Self { info: info("random", settings, false), dim, seed, hasher: ContentHasher::new() })
    }

    fn embed(&self, input: &Input) -> Result<Vec<f32>, EncodeError> {
        if input.parts.is_empty() {
            return Err(EncodeError("an input without content".into()));
        }
        let mut seed = Fields::new("uvrb random");
        seed.bytes(&self.hasher.key(input).map_err(EncodeError::new)?).bytes(&self.seed.to_le_bytes());
        let mut random = ChaCha8Rng::from_seed(seed.finish());
        let values: Vec<f64> = (0..self.dim).map(|_| normal(&mut random)).collect();
        let norm = values.iter().map(|value| value * value).sum::<f64>().sqrt();
        Ok(values.into_iter().map(|value| (value / norm) as f32).collect())
    }
}

impl Encoder for RandomEncoder {
    fn info(&self) -> &EncoderInfo {
        &self.info
    }

    fn encode(&self, request: Request<'_>, emit: &mut Emit<'_>) -> Result<(), Error> {
        encode_each(request.items.len(), threads(), |i, _| Ok(self.embed(request.items[i].input)), emit)
    }
}

/// A normal deviate, by Box and Muller.
fn normal(random: &mut impl Rng) -> f64 {
    // 1 - [0, 1) is never zero.
    let radius = (-2.0 * (1.0 - random.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * random.random::<f64>()).cos()
}

/// Values for the text in a [`MeanColourEncoder`]'s vectors.
const TEXT_VALUES: usize = 8;
/// How long they are beside colours, which lie in [0, 1]: they decide only where there are no pictures.
const TEXT_SCALE: f64 = 1e-3;

/// The mean colour of what an input shows: red, green and blue in [0, 1], then 8 tiny values that are a hash
/// of its text, so that a text alone has a direction too.
pub struct MeanColourEncoder {
    info: EncoderInfo,
    sampling: Sampling,
}

impl MeanColourEncoder {
    /// Looks at the frames that `sampling` takes of a video, where the input does not say.
    pub fn new(sampling: Sampling) -> Self {
        let settings = BTreeMap::from([("sampling".into(), json!(sampling))]);
        Self { info: info("mean-colour", settings, true), sampling }
    }

    fn embed(&self, input: &Input) -> Result<Vec<f32>, EncodeError> {
        if input.parts.is_empty() {
            return Err(EncodeError("an input without content".into()));
        }
        let (mut sums, mut pixels) = ([0_u64; 3], 0_u64);
        let mut text = Fields::new("uvrb mean-colour");
        for part in &input.parts {
            if let Part::Text(part) = part {
                text.bytes(part.as_bytes());
            }
            visit_pictures(part, &self.sampling, &mut |picture| {
                pixels += picture.as_raw().len() as u64 / 3;
                for pixel in picture.pixels() {
                    sums.iter_mut().zip(pixel.0).for_each(|(sum, value)| *sum += u64::from(value));
                }
                Ok(())
            })?;
        }
        let colour = sums.map(|sum| (sum as f64 / 255.0 / pixels.max(1) as f64) as f32);
        let mut random = ChaCha8Rng::from_seed(text.finish());
        let text = (0..TEXT_VALUES).map(|_| (normal(&mut random) * TEXT_SCALE) as f32);
        Ok(colour.into_iter().chain(text).collect())
    }
}

impl Encoder for MeanColourEncoder {
    fn info(&self) -> &EncoderInfo {
        &self.info
    }

    fn encode(&self, request: Request<'_>, emit: &mut Emit<'_>) -> Result<(), Error> {
        encode_each(request.items.len(), threads(), |i, _| Ok(self.embed(request.items[i].input)), emit)
    }
}

fn info(name: &str, settings: BTreeMap<String, serde_json::Value>, cacheable: bool) -> EncoderInfo {
    let name = format!("baseline/{name}");
    EncoderInfo { name, revision: REVISION.into(), settings, recipe: None, cacheable }
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use image::{Rgb, RgbImage};

    use super::*;

    fn cosine(a: &[f32], b: &[f32]) -> f32 {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    }

    fn plain(colour: [u8; 3]) -> Input {
        Input::frames(vec![RgbImage::from_pixel(4, 3, Rgb(colour)); 2], 1.0)
    }

    #[test]
    fn random_directions_follow_content_and_seed() {
        let encoder = RandomEncoder::new(512, 1).unwrap();
        let a = encoder.embed(&Input::text("a")).unwrap();
        assert_eq!(a, encoder.embed(&Input::text("a")).unwrap());
        assert!((cosine(&a, &a) - 1.0).abs() < 1e-6 && a.len() == 512);
        assert!((a.iter().map(|v| v * v).sum::<f32>() - 1.0).abs() < 1e-5);
        let others = [
            encoder.embed(&Input::text("b")).unwrap(),
            RandomEncoder::new(512, 2).unwrap().embed(&Input::text("a")).unwrap(),
        ];
        for other in others {
            // Four standard deviations of the cosine of two random directions.
            assert!(cosine(&a, &other).abs() < 4.0 / 512_f32.sqrt());
        }
        assert!(RandomEncoder::new(0, 1).is_err());
    }

    #[test]
    fn mean_colours_are_means_and_tell_texts_apart() {
        let encoder = MeanColourEncoder::new(Sampling::Uniform { frames: 8 });
        let embed = |input: &Input| encoder.embed(input).unwrap();
        let red = embed(&plain([255, 0, 51]));
        assert_eq!((red[0], red[1]), (1.0, 0.0));
        assert!((red[2] - 0.2).abs() < 1e-6);
        assert!(cosine(&red, &embed(&plain([250, 5, 50]))) > 0.99);
        assert!(cosine(&red, &embed(&plain([0, 255, 0]))) < 0.01);
        let (a, b) = (embed(&Input::text("a")), embed(&Input::text("b")));
        assert!(cosine(&a, &b) < 0.99);
        assert!(cosine(&red, &embed(&plain([255, 0, 51]).and_text("a"))) > 0.999);
        // Black has no colour, and still a direction.
        assert!(embed(&plain([0, 0, 0])).iter().any(|&value| value != 0.0));
    }
}
