//! Queries that are asked once more, together with what was found for them.

use super::prepare::spread;
use super::{EmbedError, FramesPart, ImagePart, Input, Part, PixelLimits, Preparer, VideoPart};
use crate::recipe::{NamedRecipe, PseudoQuery};
use crate::video::Sampling;

impl Preparer {
    /// The pseudo query of `query` and `candidates`, the best first.
    ///
    /// # Errors
    /// [`EmbedError::NoPseudoQuery`] where the recipe has none, or the model reads the parts of an input one by
    /// one.
    pub(crate) fn pseudo_query<'a>(
        &self,
        named: &NamedRecipe,
        query: &Input,
        candidates: impl IntoIterator<Item = &'a Input>,
    ) -> Result<Input, EmbedError> {
        let recipe = named.recipe.pseudo_query.as_ref().filter(|_| self.processor.reads_instructions());
        let recipe = recipe.ok_or_else(|| EmbedError::NoPseudoQuery { recipe: named.name.clone() })?;
        let pixels_per_token = self.processor.pictures().budget.pixels_per_token;
        Ok(Input::pseudo_query(recipe, query, candidates, pixels_per_token))
    }
}

impl Input {
    fn pseudo_query<'a>(
        recipe: &PseudoQuery,
        query: &Self,
        candidates: impl IntoIterator<Item = &'a Self>,
        pixels_per_token: u64,
    ) -> Self {
        let area = recipe.tokens_per_frame.saturating_mul(pixels_per_token);
        let mut asked = Self { parts: Vec::new(), instruction: query.instruction.clone() };
        let mut text = recipe.candidates.clone();
        for (number, candidate) in candidates.into_iter().take(recipe.most_candidates).enumerate() {
            text += &recipe.candidate.replace("{number}", &(number + 1).to_string());
            for part in &candidate.parts {
                match part {
                    Part::Text(words) => text += first_words(words, recipe.words),
                    seen => {
                        asked.parts.push(Part::Text(std::mem::take(&mut text)));
                        asked.parts.push(small(seen, recipe.frames, area));
                    }
                }
            }
        }
        text += &recipe.query;
        for part in &query.parts {
            match part {
                Part::Text(words) => text += words,
                seen => {
                    asked.parts.push(Part::Text(std::mem::take(&mut text)));
                    asked.parts.push(seen.clone());
                }
            }
        }
        asked.parts.push(Part::Text(text));
        // What texts stand between is no part of its own.
        asked.parts.retain(|part| !matches!(part, Part::Text(text) if text.is_empty()));
        asked
    }
}

/// The beginning of `text` that has no more than `most` words.
fn first_words(text: &str, most: usize) -> &str {
    let starts = text.char_indices().scan(true, |behind_space, (place, c)| {
        let starts = std::mem::replace(behind_space, c.is_whitespace()) && !c.is_whitespace();
        Some(starts.then_some(place))
    });
    match starts.flatten().nth(most) {
        Some(next) => text[..next].trim_end(),
        None => text,
    }
}

/// `part` with `frames` of its frames, each of `area` pixels at the most.
fn small(part: &Part, frames: usize, area: u64) -> Part {
    let pixels = |own: PixelLimits| {
        own.with_min_pixels(own.min_pixels.map(|least| least.min(area)))
            .with_max_pixels(Some(own.max_pixels.map_or(area, |most| most.min(area))))
    };
    match part {
        Part::Text(text) => Part::Text(text.clone()),
        Part::Image(image) => {
            Part::Image(ImagePart { source: image.source.clone(), pixels: pixels(image.pixels) })
        }
        Part::Video(video) => Part::Video(VideoPart {
            sampling: Some(Sampling::Uniform { frames }),
            pixels: pixels(video.pixels),
            ..video.clone()
        }),
        Part::Frames(listed) => {
            let all = listed.frames.len();
            let chosen = if all > frames { spread(all, frames) } else { (0..all).collect() };
            // Frames that are left out leave the others further apart.
            let fps = listed.fps * (chosen.len().max(2) - 1) as f64 / (all.max(2) - 1) as f64;
            let frames = chosen.into_iter().map(|index| listed.frames[index].clone()).collect();
            Part::Frames(FramesPart { frames, fps, pixels: pixels(listed.pixels) })
        }
    }
}

#[cfg(test)]
mod tests {
    use image::RgbImage;

    use super::*;
    use crate::media::TimeRange;

    const RECIPE: &str = "words = 2\nmost_candidates = 3\nframes = 2\ntokens_per_frame = 4";

    #[test]
    fn candidates_stand_in_front_of_the_query_in_a_few_words_and_frames() {
        let recipe: PseudoQuery = toml::from_str(RECIPE).unwrap();
        let range = TimeRange::between(1.0, 2.0);
        let video = VideoPart::new("a.mp4").with_range(range);
        let frames = (1..=5).map(|width| RgbImage::new(width, 1)).collect();
        let candidates = [
            Input::text("  one two three"),
            Input::default().and_part(Part::Video(video.clone())).and_text("four five six"),
            Input::frames(frames, 4.0),
            Input::text("the fourth"),
        ];
        let query = Input::image("q.png").and_text("at night").with_instruction("Find it.");
        let asked = Input::pseudo_query(&recipe, &query, &candidates, 100);
        let pixels = PixelLimits::default().with_max_pixels(Some(400));
        let Part::Frames(kept) = &asked.parts[3] else { panic!("{asked:?}") };
        assert_eq!((kept.frames.len(), kept.fps, kept.pixels), (2, 1.0, pixels));
        let expected = [
            Part::Text("Documents:\n[1]   one two\n[2] ".to_owned()),
            Part::Video(video.with_sampling(Some(Sampling::Uniform { frames: 2 })).with_pixels(pixels)),
            Part::Text("four five\n[3] ".to_owned()),
            asked.parts[3].clone(),
            Part::Text("\nSearch Query: ".to_owned()),
            query.parts[0].clone(),
            Part::Text("at night".to_owned()),
        ];
        assert_eq!(asked.parts, expected);
        assert_eq!(asked.instruction, query.instruction);
    }

    #[test]
    fn texts_end_behind_a_word() {
        for (text, most, expected) in [
            ("", 1, ""),
            ("a", 1, "a"),
            ("a ", 1, "a "),
            ("é b", 1, "é"),
            ("a\n\nb c", 2, "a\n\nb"),
            ("a b", 9, "a b"),
        ] {
            assert_eq!(first_words(text, most), expected, "{text:?}");
        }
    }
}
