//! Embeds one video and a few texts, and prints how close each text is to it.
//!
//! ```sh
//! cargo run --release --example embed_video -- path/to/GVE-3B clip.mp4 "a dog runs" "a cat sleeps"
//! ```
//!
//! The model is a directory in Hugging Face layout: `config.json`, `preprocessor_config.json`,
//! `tokenizer.json` and the safetensors files.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use gve::{Embedder, Input};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(model_dir), Some(video)) = (arguments.next(), arguments.next()) else {
        return Err("usage: embed_video MODEL_DIR VIDEO [TEXT]...".into());
    };
    let texts: Vec<String> = arguments.collect();

    // Loading takes the longest. An embedder can be cloned and shared between threads freely.
    let embedder = Embedder::load(model_dir)?;

    // Eight frames, evenly spread, of at most 200 visual tokens each: the defaults, and the
    // setting in which the published models were evaluated.
    let video = embedder.embed_one(&Input::video(video))?;
    println!("{} values from {} tokens", video.dim(), video.num_tokens());

    // Queries carry the task as an instruction; documents do not.
    let queries: Vec<Input> = texts
        .iter()
        .map(|text| Input::text(text).with_instruction("Find the video according to the text description."))
        .collect();

    // One result each, in order: a query that fails would take nothing else with it.
    for (text, embedding) in texts.iter().zip(embedder.embed(&queries)) {
        let similarity = embedding?.cosine(&video).ok_or("dimensions differ")?;
        println!("{similarity:.4}  {text}");
    }
    Ok(())
}
