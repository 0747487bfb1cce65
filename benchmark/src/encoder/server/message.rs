//! An input as a chat message.

use std::io::{Cursor, Read};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gve::preprocess::{ImageLimits, decode_image};
use gve::{FramesPart, ImagePart, ImageSource, Input, MediaSource, Part, PixelLimits, VideoPart};
use image::codecs::jpeg::JpegEncoder;
use image::imageops::FilterType;
use image::{ImageFormat, RgbImage};
use serde_json::{Value, json};

use super::{ServerOptions, VideoTransport};
use crate::encoder::EncodeError;
use crate::encoder::pictures::visit_pictures;

/// High enough that a model sees no difference.
const JPEG_QUALITY: u8 = 95;

/// The request for the embedding of `input`, as JSON. The instruction becomes the system turn.
pub(super) fn body(input: &Input, options: &ServerOptions) -> Result<Vec<u8>, EncodeError> {
    if input.parts.is_empty() {
        return Err(EncodeError("an input without content".into()));
    }
    let mut content = Vec::new();
    for part in &input.parts {
        push(part, options, &mut content)?;
    }
    let system = input.instruction.as_ref().map(|text| json!({"role": "system", "content": text}));
    let user = json!({"role": "user", "content": content});
    let messages: Vec<Value> = system.into_iter().chain([user]).collect();
    let mut body = json!({"model": options.model, "messages": messages, "encoding_format": "float"});
    for (key, value) in &options.extra {
        body[key] = value.clone();
    }
    Ok(body.to_string().into_bytes())
}

fn push(part: &Part, options: &ServerOptions, content: &mut Vec<Value>) -> Result<(), EncodeError> {
    match (part, &options.video) {
        (Part::Text(text), _) => content.push(json!({"type": "text", "text": text})),
        (Part::Image(ImagePart { source: ImageSource::Encoded(source), pixels, .. }), _) => {
            let bytes = read(source, options.max_file_bytes)?;
            let place = source.to_string();
            content.push(match max_pixels(*pixels, options)? {
                None => image_url(mime_type(&bytes, &place)?, &bytes),
                Some(max_pixels) => {
                    let image =
                        decode_image(&bytes, &place, &ImageLimits::default()).map_err(EncodeError::new)?;
                    jpeg(&image, Some(max_pixels))?
                }
            });
        }
        (Part::Image(ImagePart { source: ImageSource::Decoded(image), pixels, .. }), _) => {
            content.push(jpeg(image, max_pixels(*pixels, options)?)?);
        }
        (Part::Video(video), VideoTransport::File) => content.push(video_url(video, options)?),
        (
            Part::Video(VideoPart { pixels, .. }) | Part::Frames(FramesPart { pixels, .. }),
            VideoTransport::Frames(sampling),
        ) => {
            let max_pixels = max_pixels(*pixels, options)?;
            visit_pictures(part, sampling, &mut |frame| {
                content.push(jpeg(frame, max_pixels)?);
                Ok(())
            })?;
        }
        (Part::Frames(_), VideoTransport::File) => {
            return Err(EncodeError(
                "frames of a video cannot be sent as a file: send videos as frames".into(),
            ));
        }
        _ => return Err(EncodeError("an input part of unknown kind".into())),
    }
    Ok(())
}

/// The part's own bound, else that of all. Enlarging is the server's business.
fn max_pixels(part: PixelLimits, options: &ServerOptions) -> Result<Option<u64>, EncodeError> {
    match part.min_pixels {
        Some(_) => Err(EncodeError("a server takes no `min_pixels`: set them there".into())),
        None => Ok(part.max_pixels.or(options.max_pixels)),
    }
}

fn video_url(video: &VideoPart, options: &ServerOptions) -> Result<Value, EncodeError> {
    let name = video.source.to_string();
    if *video != VideoPart::new(video.source.clone()) {
        return Err(EncodeError(format!(
            "{name}: a server takes whole files and samples as it is set up: send videos as frames"
        )));
    }
    let bytes = read(&video.source, options.max_file_bytes)?;
    let extension = Path::new(&name).extension().map(|extension| extension.to_ascii_lowercase());
    let mime_type = match extension.as_ref().and_then(|extension| extension.to_str()) {
        Some("webm") => "video/webm",
        Some("mkv") => "video/x-matroska",
        Some("avi") => "video/x-msvideo",
        Some("mov") => "video/quicktime",
        Some("mpg" | "mpeg") => "video/mpeg",
        _ => "video/mp4",
    };
    Ok(json!({"type": "video_url", "video_url": {"url": data_url(mime_type, &bytes)}}))
}

fn read(source: &MediaSource, max_bytes: u64) -> Result<Vec<u8>, EncodeError> {
    let failed = |error| EncodeError(format!("cannot read {source}: {error}"));
    let reader = source.open().map_err(failed)?;
    let mut bytes = Vec::new();
    reader.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > max_bytes {
        return Err(EncodeError(format!(
            "{source} is larger than the {max_bytes} bytes that are sent to a server: raise the limit, or \
             send frames"
        )));
    }
    Ok(bytes)
}

fn mime_type(bytes: &[u8], place: &str) -> Result<&'static str, EncodeError> {
    let format = image::guess_format(bytes);
    format.map(|format| format.to_mime_type()).map_err(|error| EncodeError::new(format!("{place}: {error}")))
}

/// A picture as JPEG, reduced to at most `max_pixels`.
fn jpeg(image: &RgbImage, max_pixels: Option<u64>) -> Result<Value, EncodeError> {
    let reduced = max_pixels.and_then(|max| reduced_size(image.dimensions(), max));
    let reduced = reduced.map(|(w, h)| image::imageops::resize(image, w, h, FilterType::CatmullRom));
    let image = reduced.as_ref().unwrap_or(image);
    let mut bytes = Cursor::new(Vec::new());
    JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY).encode_image(image).map_err(EncodeError::new)?;
    Ok(image_url(ImageFormat::Jpeg.to_mime_type(), bytes.get_ref()))
}

/// Sides with the same ratio and an area of at most `max_pixels`; `None` where they are that small already.
fn reduced_size((width, height): (u32, u32), max_pixels: u64) -> Option<(u32, u32)> {
    let area = u64::from(width) * u64::from(height);
    if area <= max_pixels {
        return None;
    }
    let scale = (max_pixels as f64 / area as f64).sqrt();
    let side = |side: u32| ((f64::from(side) * scale).floor() as u32).max(1);
    Some((side(width), side(height)))
}

fn image_url(mime_type: &str, bytes: &[u8]) -> Value {
    json!({"type": "image_url", "image_url": {"url": data_url(mime_type, bytes)}})
}

fn data_url(mime_type: &str, bytes: &[u8]) -> String {
    format!("data:{mime_type};base64,{}", STANDARD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> ServerOptions {
        ServerOptions::new("http://localhost/v1", "m")
    }

    fn parsed(input: &Input, options: &ServerOptions) -> Value {
        serde_json::from_slice(&body(input, options).unwrap()).unwrap()
    }

    #[test]
    fn parts_keep_their_order_under_the_system_turn() {
        let directory = tempfile::tempdir().unwrap();
        let clip = directory.path().join("clip.WEBM");
        std::fs::write(&clip, "abc").unwrap();
        let input = Input::video(&clip).and_text("then").with_instruction("Find it.");
        let mut options = options();
        options.extra.insert("add_generation_prompt".into(), json!(true));
        let expected = json!({
            "model": "m",
            "messages": [
                {"role": "system", "content": "Find it."},
                {"role": "user", "content": [
                    {"type": "video_url", "video_url": {"url": "data:video/webm;base64,YWJj"}},
                    {"type": "text", "text": "then"},
                ]},
            ],
            "encoding_format": "float",
            "add_generation_prompt": true,
        });
        assert_eq!(parsed(&input, &options), expected);
        assert_eq!(parsed(&Input::text("a"), &options)["messages"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn pictures_are_sent_reduced() {
        let mut options = options();
        options.max_pixels = Some(100);
        options.video = VideoTransport::Frames(gve::Sampling::Uniform { frames: 8 });
        let input = Input::frames(vec![RgbImage::new(40, 10), RgbImage::new(8, 8)], 1.0);
        let body = parsed(&input, &options);
        let sizes: Vec<(u32, u32)> = body["messages"][0]["content"]
            .as_array()
            .unwrap()
            .iter()
            .map(|part| {
                let url = part["image_url"]["url"].as_str().unwrap();
                let bytes = STANDARD.decode(url.strip_prefix("data:image/jpeg;base64,").unwrap()).unwrap();
                image::load_from_memory(&bytes).unwrap().to_rgb8().dimensions()
            })
            .collect();
        assert_eq!(sizes, [(20, 5), (8, 8)]);
    }

    #[test]
    fn what_a_server_cannot_do_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let clip = directory.path().join("clip.mp4");
        std::fs::write(&clip, "abcdef").unwrap();
        let video = |change: fn(&mut VideoPart)| {
            let Some(Part::Video(mut part)) = Input::video(&clip).parts.pop() else { panic!() };
            change(&mut part);
            Input::default().and_part(Part::Video(part))
        };
        let small = ServerOptions { max_file_bytes: 5, ..options() };
        for (input, options, named) in [
            (Input::default(), options(), "without content"),
            (Input::video("nowhere.mp4"), options(), "nowhere.mp4"),
            (Input::image("nowhere.png"), options(), "nowhere.png"),
            (Input::image(&clip), options(), "clip.mp4"),
            (Input::video(&clip), small, "5 bytes"),
            (video(|part| part.range.start_seconds = Some(1.0)), options(), "as frames"),
            (video(|part| part.pixels.max_pixels = Some(1)), options(), "as frames"),
            (Input::frames(vec![RgbImage::new(1, 1)], 1.0), options(), "as frames"),
        ] {
            let error = body(&input, &options).unwrap_err().to_string();
            assert!(error.contains(named), "{error} should name {named}");
        }
    }
}
