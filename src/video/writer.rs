//! Frames to a file: the way back from pictures to a video.

use super::{Limits, VideoError, demux::initialise};
use crate::options::shown_by;
use crate::store::AtomicFile;
use ffmpeg_next::{
    Codec, Dictionary, Error as FfmpegError, Packet, Rational, codec, color, encoder,
    format::{
        self, Pixel,
        context::{Output, StreamIo},
    },
    frame,
    software::scaling,
    threading,
};
use image::RgbImage;
use std::{fs::File, path::Path};

/// The worst quality that libx264 has.
const MAX_CRF: u8 = 51;
/// Matroska counts in milliseconds: at a higher rate frames would share one.
const MAX_FPS: u32 = 1000;
const CHANNELS: usize = 3;

/// The codec and container of a [`VideoWriter`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum VideoEncoding {
    /// H.264 in MP4: 4:2:0, BT.601 in limited range, a key frame every second or sooner. Width and height
    /// must be even.
    H264 {
        /// Constant rate factor of libx264: 0 to 51, more is smaller and worse, 18 is hard to tell from the
        /// original.
        crf: u8,
    },
    /// FFV1 in Matroska: every pixel comes back as it was, and every frame is a key frame.
    Ffv1,
}

impl VideoEncoding {
    /// What names of such files end in, without the dot. The writer does not insist on it.
    pub fn extension(self) -> &'static str {
        match self {
            Self::H264 { .. } => "mp4",
            Self::Ffv1 => "mkv",
        }
    }

    fn encoder(self) -> &'static str {
        match self {
            Self::H264 { .. } => "libx264",
            Self::Ffv1 => "ffv1",
        }
    }

    fn container(self) -> &'static str {
        match self {
            Self::H264 { .. } => "mp4",
            Self::Ffv1 => "matroska",
        }
    }

    fn pixel(self) -> Pixel {
        match self {
            Self::H264 { .. } => Pixel::YUV420P,
            Self::Ffv1 => Pixel::BGRZ,
        }
    }

    fn options(self) -> Dictionary<'static> {
        match self {
            // With mbtree, x264 0.164 reads memory that nothing has written where it uses AVX-512, and its
            // files differ from run to run.
            Self::H264 { crf } => {
                [("preset", "veryfast"), ("crf", &crf.to_string()), ("mbtree", "0")].into_iter().collect()
            }
            // The version with checksums.
            Self::Ffv1 => [("level", "3")].into_iter().collect(),
        }
    }
}

/// Writes pictures of one size to a video file at a constant rate.
///
/// The file gets its name in [`Self::finish`], on disk and whole. Dropped before that, the writer removes it.
///
/// Encoding takes one thread, and the same pictures give the same bytes with the same build of FFmpeg on the
/// same kind of processor.
///
/// ```no_run
/// use gve::video::{VideoEncoding, VideoWriter};
///
/// # fn main() -> Result<(), gve::video::VideoError> {
/// let mut writer = VideoWriter::create("grey.mp4", VideoEncoding::H264 { crf: 18 }, (224, 168), 24)?;
/// for level in 0..48 {
///     writer.write(&image::RgbImage::from_pixel(224, 168, image::Rgb([level * 5; 3])))?;
/// }
/// writer.finish()
/// # }
/// ```
pub struct VideoWriter {
    encoder: encoder::Video,
    scaler: scaling::Context,
    /// The pictures as FFmpeg takes them.
    rgb: frame::Video,
    frames: usize,
    time_base: Rational,
    // Closed before the file it writes to is removed, as fields are dropped in this order.
    output: Output,
    file: AtomicFile,
}

shown_by!(VideoWriter |it| { frames: it.frames });

impl VideoWriter {
    /// Starts a file for pictures of `width x height` pixels, `fps` of them a second. A file of that name is
    /// replaced at the end.
    ///
    /// # Errors
    /// [`VideoError::InvalidEncoding`] for a size, rate or quality that cannot be had,
    /// [`VideoError::Encoder`] where FFmpeg lacks the encoder, [`VideoError::Write`] where the file cannot be
    /// made.
    pub fn create(
        path: impl AsRef<Path>,
        encoding: VideoEncoding,
        (width, height): (u32, u32),
        fps: u32,
    ) -> Result<Self, VideoError> {
        let path = path.as_ref();
        check(path, encoding, (width, height), fps)?;
        initialise();
        let name = encoding.encoder();
        let refused = |error| encoder_error(path, name, error);
        let encoder =
            open_encoder(find_encoder(path, name)?, encoding, (width, height), fps).map_err(refused)?;
        // The matrix and ranges that swscale takes by default are those of BT.601 that the encoder is told.
        let scaler = scaling::Context::get(
            Pixel::RGB24,
            width,
            height,
            encoding.pixel(),
            width,
            height,
            scaling::Flags::BICUBIC | scaling::Flags::ACCURATE_RND | scaling::Flags::BITEXACT,
        )
        .map_err(refused)?;
        let file = AtomicFile::create(path)?;
        let output =
            open_output(file.handle()?, encoding, &encoder, fps).map_err(|error| write_error(path, error))?;
        let time_base = output.stream(0).map_or(Rational(1, 1), |stream| stream.time_base());
        let rgb = frame::Video::new(Pixel::RGB24, width, height);
        Ok(Self { encoder, scaler, rgb, frames: 0, time_base, output, file })
    }

    /// Adds a picture.
    ///
    /// # Errors
    /// [`VideoError::InvalidEncoding`] for a picture of another size, [`VideoError::Write`] where it cannot
    /// be encoded or the file cannot be written.
    pub fn write(&mut self, picture: &RgbImage) -> Result<(), VideoError> {
        let (width, height) = (self.rgb.width(), self.rgb.height());
        if picture.dimensions() != (width, height) {
            return Err(VideoError::InvalidEncoding {
                path: self.file.path().to_owned(),
                what: format!("frame {}", self.frames),
                expected: format!("{width}x{height} pixels"),
                got: format!("{}x{}", picture.width(), picture.height()),
            });
        }
        let row_bytes = width as usize * CHANNELS;
        let stride = self.rgb.stride(0);
        let rows = self.rgb.data_mut(0).chunks_exact_mut(stride);
        for (row, pixels) in rows.zip(picture.as_raw().chunks_exact(row_bytes)) {
            row[..row_bytes].copy_from_slice(pixels);
        }
        self.encode().map_err(|error| write_error(self.file.path(), error))?;
        self.frames += 1;
        Ok(())
    }

    /// Completes the file and gives it its name.
    ///
    /// # Errors
    /// [`VideoError::InvalidEncoding`] where no frame was written, [`VideoError::Write`] where the file
    /// cannot be written or renamed.
    pub fn finish(mut self) -> Result<(), VideoError> {
        if self.frames == 0 {
            return Err(invalid(self.file.path(), "the number of frames", "at least 1", 0));
        }
        self.drain().map_err(|error| write_error(self.file.path(), error))?;
        let Self { output, file, .. } = self;
        drop(output);
        Ok(file.finish()?)
    }

    fn encode(&mut self) -> Result<(), FfmpegError> {
        // The encoder may hold on to pictures, so each is one of its own.
        let mut picture = frame::Video::empty();
        self.scaler.run(&self.rgb, &mut picture)?;
        picture.set_pts(i64::try_from(self.frames).ok());
        self.encoder.send_frame(&picture)?;
        self.write_packets()
    }

    fn drain(&mut self) -> Result<(), FfmpegError> {
        self.encoder.send_eof()?;
        self.write_packets()?;
        self.output.write_trailer()
    }

    /// Writes what the encoder has ready.
    fn write_packets(&mut self) -> Result<(), FfmpegError> {
        let mut packet = Packet::empty();
        loop {
            match self.encoder.receive_packet(&mut packet) {
                Ok(()) => {}
                Err(FfmpegError::Eof | FfmpegError::Other { errno: ffmpeg_next::error::EAGAIN }) => {
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
            packet.set_stream(0);
            packet.set_duration(1);
            packet.rescale_ts(self.encoder.time_base(), self.time_base);
            packet.write_interleaved(&mut self.output)?;
        }
    }
}

/// Refuses what FFmpeg would answer with a riddle, or not at all.
fn check(
    path: &Path,
    encoding: VideoEncoding,
    (width, height): (u32, u32),
    fps: u32,
) -> Result<(), VideoError> {
    let size = format!("{width}x{height}");
    if width == 0 || height == 0 {
        return Err(invalid(path, "the size", "at least 1x1 pixels", size));
    }
    let limit = Limits::default().max_pixels;
    if u64::from(width) * u64::from(height) > limit {
        return Err(invalid(path, "the size", &format!("at most {limit} pixels"), size));
    }
    if !(1..=MAX_FPS).contains(&fps) {
        return Err(invalid(path, "the frames a second", &format!("1 to {MAX_FPS}"), fps));
    }
    let VideoEncoding::H264 { crf } = encoding else {
        return Ok(());
    };
    if !width.is_multiple_of(2) || !height.is_multiple_of(2) {
        return Err(invalid(path, "the size", "even in width and height for H.264 (FFV1 takes any)", size));
    }
    if crf > MAX_CRF {
        return Err(invalid(path, "the constant rate factor", &format!("0 to {MAX_CRF}"), crf));
    }
    Ok(())
}

fn find_encoder(path: &Path, name: &'static str) -> Result<Codec, VideoError> {
    encoder::find_by_name(name).ok_or_else(|| encoder_error(path, name, FfmpegError::EncoderNotFound))
}

fn open_encoder(
    codec: Codec,
    encoding: VideoEncoding,
    (width, height): (u32, u32),
    fps: u32,
) -> Result<encoder::Video, FfmpegError> {
    let mut video = codec::Context::new_with_codec(codec).encoder().video()?;
    video.set_width(width);
    video.set_height(height);
    video.set_format(encoding.pixel());
    let rate = frame_rate(fps);
    video.set_time_base(rate.invert());
    video.set_frame_rate(Some(rate));
    // Without references across key frames, any of them is a place to begin at.
    video.set_flags(codec::Flags::GLOBAL_HEADER | codec::Flags::BITEXACT | codec::Flags::CLOSED_GOP);
    video.set_threading(threading::Config::count(1));
    match encoding {
        VideoEncoding::H264 { .. } => {
            video.set_gop(fps);
            // BT.601 is also what decoders assume that do not look at the matrix.
            video.set_colorspace(color::Space::SMPTE170M);
            video.set_color_range(color::Range::MPEG);
        }
        VideoEncoding::Ffv1 => video.set_gop(1),
    }
    video.open_with(encoding.options())
}

/// A container with its header written.
fn open_output(
    file: File,
    encoding: VideoEncoding,
    encoder: &encoder::Video,
    fps: u32,
) -> Result<Output, FfmpegError> {
    let stream = StreamIo::from_write_seek(file)?;
    let mut output = format::output_to_stream(stream, None, Some(encoding.container()))?;
    let mut track = output.add_stream_with(encoder)?;
    track.set_time_base(frame_rate(fps).invert());
    track.set_avg_frame_rate(frame_rate(fps));
    // Else headers hold random numbers and the version of FFmpeg.
    output.write_header_with([("fflags", "+bitexact")].into_iter().collect())?;
    Ok(output)
}

fn frame_rate(fps: u32) -> Rational {
    Rational(i32::try_from(fps).unwrap_or(i32::MAX), 1)
}

fn invalid(path: &Path, what: &str, expected: &str, got: impl ToString) -> VideoError {
    VideoError::InvalidEncoding {
        path: path.into(),
        what: what.to_owned(),
        expected: expected.to_owned(),
        got: got.to_string(),
    }
}

fn encoder_error(path: &Path, encoder: &'static str, error: FfmpegError) -> VideoError {
    VideoError::Encoder { path: path.into(), encoder, reason: error.to_string() }
}

fn write_error(path: &Path, reason: impl ToString) -> VideoError {
    VideoError::Write { path: path.into(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_encoders_are_named() {
        initialise();
        let found = find_encoder(Path::new("clip.mp4"), "libnothing").map(|codec| codec.id());
        assert_eq!(
            found.expect_err("there is none").to_string(),
            "clip.mp4: cannot encode with libnothing: Encoder not found; \
             install an FFmpeg built with it or choose another encoding"
        );
    }
}
