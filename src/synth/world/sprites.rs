//! The pictures of things: a sheet of emoji, part of the library.

use std::sync::LazyLock;

use image::RgbaImage;

/// Pixels of a picture's side.
const SIDE: u32 = 48;

struct Sheet {
    pixels: RgbaImage,
    sprites: Vec<Sprite>,
}

struct Sprite {
    name: &'static str,
    category: &'static str,
    row: u32,
    column: u32,
}

static SHEET: LazyLock<Sheet> = LazyLock::new(|| {
    // Both files are compiled in, and a test reads them: what cannot be read is a blank sheet there, not a
    // fault at run time.
    let pixels = image::load_from_memory(include_bytes!("../../../assets/sprites.png"))
        .map(|picture| picture.to_rgba8())
        .unwrap_or_default();
    let sprites = include_str!("../../../assets/sprites.tsv").lines().skip(1).filter_map(parse).collect();
    Sheet { pixels, sprites }
});

fn parse(line: &'static str) -> Option<Sprite> {
    let mut fields = line.split('\t');
    let (name, category) = (fields.next()?, fields.next()?);
    let (row, column) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(Sprite { name, category, row, column })
}

/// How many there are.
pub fn len() -> usize {
    SHEET.sprites.len()
}

/// What number `sprite` shows, in one or two words. Numbers behind the last show nothing, which is called a
/// thing.
pub fn name(sprite: usize) -> &'static str {
    SHEET.sprites.get(sprite).map_or("thing", |sprite| sprite.name)
}

/// What kind of thing number `sprite` shows, such as animal.
pub fn category(sprite: usize) -> &'static str {
    SHEET.sprites.get(sprite).map_or("thing", |sprite| sprite.category)
}

/// Colour and opacity at a place of a sprite, which reaches from -1 to 1: the four pixels around it, weighed.
pub(super) fn sample(sprite: usize, at: [f32; 2]) -> ([f32; 3], f32) {
    let Some(&Sprite { row, column, .. }) = SHEET.sprites.get(sprite) else { return ([0.0; 3], 0.0) };
    let [x, y] = at.map(|coordinate| (coordinate + 1.0) / 2.0 * SIDE as f32 - 0.5);
    let (left, top) = (x.floor(), y.floor());
    let (mut colour, mut opacity) = ([0.0; 3], 0.0);
    for (dx, dy) in [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)] {
        let (column_x, row_y) = (left + dx, top + dy);
        if column_x < 0.0 || row_y < 0.0 || column_x >= SIDE as f32 || row_y >= SIDE as f32 {
            continue;
        }
        let pixel = SHEET.pixels.get_pixel(column * SIDE + column_x as u32, row * SIDE + row_y as u32).0;
        let weight = (1.0 - (x - column_x).abs()) * (1.0 - (y - row_y).abs()) * f32::from(pixel[3]) / 255.0;
        opacity += weight;
        for (sum, channel) in colour.iter_mut().zip(pixel) {
            *sum += weight * f32::from(channel);
        }
    }
    (colour.map(|channel| if opacity > 0.0 { channel / opacity } else { 0.0 }), opacity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_a_sprite_of_its_own() {
        let lines = include_str!("../../../assets/sprites.tsv").lines().skip(1).count();
        assert!(lines >= 200 && len() == lines);
        let names: std::collections::BTreeSet<_> = (0..len()).map(name).collect();
        assert_eq!(names.len(), len());
        for sprite in 0..len() {
            let drawn = (0..100).filter(|i| {
                let at = [0, 1].map(|axis| (if axis == 0 { i % 10 } else { i / 10 }) as f32 / 5.0 - 0.9);
                sample(sprite, at).1 > 0.5
            });
            assert!(drawn.count() > 10, "{}", name(sprite));
        }
    }

    #[test]
    fn behind_the_last_sprite_is_nothing() {
        for sprite in [len(), usize::MAX] {
            assert_eq!((name(sprite), category(sprite)), ("thing", "thing"));
            assert_eq!(sample(sprite, [0.0; 2]).1, 0.0);
        }
    }
}
