//! Cached frames are many; a model looks at few.

use gve::video::{FrameCount, StreamTiming, select};
use gve::{FramesPart, Part, Sampling, TimeRange};

use super::Dataset;
use crate::Error;

impl Dataset {
    /// Thins cached frames to those that `sampling` would take of a video of their rate, as many as `count`
    /// allows.
    ///
    /// # Errors
    /// [`Error::Settings`] for a sampling that no video could satisfy.
    pub fn sample_cached_frames(&mut self, sampling: &Sampling, count: FrameCount) -> Result<(), Error> {
        let queries = self.queries.iter_mut().map(|query| &mut query.input);
        let inputs = queries.chain(self.corpus.iter_mut().map(|document| &mut document.input));
        for part in inputs.flat_map(|input| &mut input.parts) {
            if let Part::Frames(frames) = part {
                sample(frames, sampling, count)?;
            }
        }
        Ok(())
    }
}

fn sample(part: &mut FramesPart, sampling: &Sampling, count: FrameCount) -> Result<(), Error> {
    let timing = StreamTiming::regular(part.frames.len(), part.fps);
    let selection = select(&timing, sampling, TimeRange::default(), count).map_err(|error| {
        Error::Settings(format!("cached frames at {} frames per second: {error}", part.fps))
    })?;
    part.frames = selection.indices.iter().map(|&index| part.frames[index].clone()).collect();
    part.fps = selection.sample_fps;
    Ok(())
}

#[cfg(test)]
mod tests {
    use gve::ImageSource;

    use super::*;

    #[test]
    fn eight_frames_of_a_minute_at_one_a_second() {
        let frames = (0..60).map(|i| ImageSource::Encoded(format!("{i}.jpg").into())).collect();
        let mut part = FramesPart::new(frames, 1.0);
        let even = FrameCount::MultipleOf(2);
        sample(&mut part, &Sampling::Uniform { frames: 8 }, even).unwrap();
        let names: Vec<ImageSource> =
            [0, 8, 17, 25, 34, 42, 51, 59].map(|i| ImageSource::Encoded(format!("{i}.jpg").into())).into();
        assert_eq!(part.frames, names);
        assert!((part.fps - 8.0 / 60.0).abs() < 1e-12, "{}", part.fps);

        let error = sample(&mut part, &Sampling::Uniform { frames: 0 }, even).unwrap_err();
        assert!(error.to_string().contains("cached frames"), "{error}");

        // A model whose frames share no token takes an odd number of them.
        sample(&mut part, &Sampling::Uniform { frames: 3 }, FrameCount::Exact).unwrap();
        assert_eq!(part.frames.len(), 3);
    }
}
