//! Embeds frames that a program has in memory already, without FFmpeg.
//!
//! ```sh
//! cargo run --release --no-default-features --example frames_from_memory -- path/to/GVE-3B
//! ```
//!
//! A player, a camera or a renderer has its own frames. Handed over with their rate they embed as
//! a video would: here a square that moves right is compared with one that moves left.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use gve::{Embedder, Input};
use image::{Rgb, RgbImage};

/// Frames per second of the list that is handed over, not of the video it was taken from. The
/// model's sense of time rests on it, so it is never guessed.
const FPS: f64 = 2.0;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model_dir = std::env::args().nth(1).ok_or("usage: frames_from_memory MODEL_DIR")?;
    let embedder = Embedder::load(model_dir)?;

    let right: Vec<RgbImage> = (0..8).map(|i| square_at(i * 24)).collect();
    let left: Vec<RgbImage> = right.iter().rev().cloned().collect();

    let right = embedder.embed_one(&Input::frames(right, FPS))?;
    let left = embedder.embed_one(&Input::frames(left, FPS))?;
    let similarity = right.cosine(&left).ok_or("dimensions differ")?;
    println!("moving right against moving left: {similarity:.4}");
    Ok(())
}

/// A frame with a red square whose left edge is at `x`.
fn square_at(x: u32) -> RgbImage {
    RgbImage::from_fn(224, 168, |column, row| {
        let inside = (x..x + 48).contains(&column) && (60..108).contains(&row);
        if inside { Rgb([200, 30, 30]) } else { Rgb([235, 235, 230]) }
    })
}
