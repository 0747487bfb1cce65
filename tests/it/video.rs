//! The video room against the `ffmpeg` command.

mod aspect;
mod bad_input;
mod clips;
mod damage;
mod decode;
mod endings;
mod hdr;
mod in_memory;
mod matrix;
mod memory;
mod pictures;
mod sample;
mod shots;
mod write;
