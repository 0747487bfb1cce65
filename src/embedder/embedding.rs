use super::prepare::Prepared;
use crate::media::TimeRange;

/// What the file of the first picture or video of an input says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceInfo {
    /// Width of the upright picture in pixels.
    pub width: u32,
    /// Height of the upright picture in pixels.
    pub height: u32,
    /// When it was taken, in seconds from the beginning of 1970: by the clock of the camera for images (EXIF
    /// `DateTimeOriginal`), in UTC for videos (`creation_time` of the container).
    pub captured_seconds: Option<i64>,
}

/// A point of the embedding space: an L2-normalised vector.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding {
    values: Vec<f32>,
    num_tokens: usize,
    time_range: Option<TimeRange>,
    source: Option<SourceInfo>,
    warnings: Vec<String>,
}

impl Embedding {
    /// An embedding of values that were made elsewhere, such as one that an application keeps; they are
    /// normalised. `None` where they are not finite or have no direction.
    #[must_use]
    pub fn new(values: Vec<f32>) -> Option<Self> {
        let (num_tokens, warnings) = (0, Vec::new());
        Some(Self { values: normalized(values)?, num_tokens, time_range: None, source: None, warnings })
    }

    /// Normalises the first `dim` values of a pooled hidden state; `None` when it is not finite or has no
    /// direction.
    pub(super) fn from_hidden_state(mut values: Vec<f32>, dim: usize, prepared: &Prepared) -> Option<Self> {
        if values.iter().any(|value| !value.is_finite()) {
            return None;
        }
        values.truncate(dim);
        Some(Self {
            values: normalized(values)?,
            num_tokens: prepared.num_tokens(),
            time_range: prepared.time_range,
            source: prepared.source,
            warnings: prepared.warnings.clone(),
        })
    }

    /// The first `dim` values, normalised again; `None` for more values than there are, or none that point
    /// anywhere. Whether a model was trained for that, [`Embedder::check_dim`](crate::Embedder::check_dim)
    /// knows.
    #[must_use]
    pub fn cut(mut self, dim: usize) -> Option<Self> {
        if dim == self.dim() {
            return Some(self);
        }
        self.values = normalized(self.values.get(..dim)?.to_vec())?;
        Some(self)
    }

    /// Number of values: the width of the model, or what it was cut to.
    pub fn dim(&self) -> usize {
        self.values.len()
    }

    /// The vector, of length 1.
    pub fn as_slice(&self) -> &[f32] {
        &self.values
    }

    /// The vector, of length 1.
    pub fn into_vec(self) -> Vec<f32> {
        self.values
    }

    /// Tokens the model read for it, visual ones included; 0 where they are not known.
    pub fn num_tokens(&self) -> usize {
        self.num_tokens
    }

    /// Start and end of the stretch of video that was looked at, in seconds from the video's first
    /// frame; `None` without a video file. With several videos, that of the first.
    pub fn time_range(&self) -> Option<TimeRange> {
        self.time_range
    }

    /// What the file of its first picture or video says of itself; `None` without one.
    pub fn source(&self) -> Option<SourceInfo> {
        self.source
    }

    /// What was odd about the input but no reason to fail, such as frames that could not be
    /// decoded and were replaced by their neighbours.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Cosine similarity, in [-1, 1]; `None` when the dimensions differ.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let embedder = gve::Embedder::load(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/tiny-a/model"))?;
    /// let dog = embedder.embed_one(&gve::Input::text("a dog runs"))?;
    /// let again = embedder.embed_one(&gve::Input::text("a dog runs"))?;
    /// assert!(dog.cosine(&again).is_some_and(|c| c > 0.999));
    /// # Ok(()) }
    /// ```
    pub fn cosine(&self, other: &Self) -> Option<f32> {
        (self.dim() == other.dim()).then(|| self.values.iter().zip(&other.values).map(|(a, b)| a * b).sum())
    }
}

/// The vector of length 1 in the direction of `values`.
fn normalized(mut values: Vec<f32>) -> Option<Vec<f32>> {
    // In f64, so that the norm of a long vector is exact to f32.
    let norm = values.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt();
    if !norm.is_finite() || norm == 0.0 {
        return None;
    }
    for value in &mut values {
        *value = (f64::from(*value) / norm) as f32;
    }
    Some(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Item;
    use crate::preprocess::Encoding;

    #[test]
    fn hidden_states_are_normalised_and_bad_ones_refused() {
        let encoding = Encoding {
            input_ids: vec![1; 7],
            position_ids: [vec![0; 7], vec![0; 7], vec![0; 7]],
            visual_spans: vec![],
            truncated_tokens: 0,
        };
        let prepared = Prepared {
            item: Item { encoding, visuals: vec![], behind: 0 },
            time_range: None,
            source: None,
            warnings: vec![],
        };
        let embedding = Embedding::from_hidden_state(vec![3.0, 0.0, -4.0], 3, &prepared).unwrap();
        assert_eq!(embedding.as_slice(), [0.6, 0.0, -0.8]);
        assert_eq!((embedding.dim(), embedding.num_tokens()), (3, 7));
        for bad in [vec![f32::NAN, 1.0], vec![1.0, f32::INFINITY], vec![0.0, 0.0], vec![0.0, 1.0]] {
            assert_eq!(Embedding::from_hidden_state(bad, 1, &prepared), None);
        }
        let kept = Embedding::new(vec![3.0, 0.0, -4.0]).unwrap();
        assert_eq!((kept.cosine(&embedding), kept.num_tokens()), (Some(1.0), 0));
        assert!(Embedding::new(vec![0.0]).is_none() && Embedding::new(vec![f32::NAN]).is_none());
        // Cut at once or later, it is the same.
        let cut = Embedding::from_hidden_state(vec![3.0, -4.0, 12.0], 2, &prepared).unwrap();
        assert_eq!((cut.as_slice(), cut.num_tokens()), (&[0.6, -0.8][..], 7));
        assert_eq!(embedding.clone().cut(2).unwrap().as_slice(), [1.0, 0.0]);
        assert_eq!((embedding.clone().cut(3), embedding.clone().cut(0)), (Some(embedding.clone()), None));
        assert_eq!(embedding.cut(4), None);
    }
}
