//! High dynamic range: PQ and HLG look as the SDR picture that they were made of.

use super::clips::{difference, frames, make, source};
use gve::video::{Appearance, VideoOptions, VideoReader};

/// The test picture, whose white is that of SDR, in both ranges: for HLG without colour, which zscale brightens by itself
/// where the standard goes by luminance.
#[test]
fn pictures_of_high_dynamic_range_look_like_those_of_sdr() {
    for (transfer, saturation) in [("smpte2084", 1), ("arib-std-b67", 0)] {
        let filter = format!("-vf hue=s={saturation},format=gbrp");
        let plain = format!("{filter} -c:v ffv1");
        let Some(plain) = make("sdr.mkv", &source("320x180", "5", 0.4), &plain) else { return };
        let expected = &frames(&mut VideoReader::open(&plain.path).expect("opens"), &[0])[0].image;
        let output = format!(
            "{filter},zscale=tin=iec61966-2-1:pin=709:min=gbr:rin=pc:t={transfer}:p=2020:m=2020_ncl:r=tv:npl=203,\
             format=yuv444p10le \
             -c:v ffv1 -color_trc {transfer} -color_primaries bt2020 -colorspace bt2020nc -color_range tv"
        );
        let Some(clip) = make("hdr.mkv", &source("320x180", "5", 0.4), &output) else { return };
        let picture = |appearance| {
            let options = VideoOptions::default().with_appearance(appearance);
            let mut reader = VideoReader::open_with(&clip.path, options).expect("opens");
            frames(&mut reader, &[0]).remove(0).image
        };
        let off = |appearance| difference(picture(appearance).as_raw(), expected.as_raw());
        let (mapped, coded) = (off(Appearance::AsShown), off(Appearance::AsCoded));
        println!("{transfer}: {mapped:.1} of 255 from SDR, {coded:.1} as coded");
        assert!(mapped < 14.0 && coded > 2.0 * mapped, "{transfer}: {mapped:.1} and {coded:.1}");
    }
}

/// Matrix and primaries of BT.2020 may be left out, and all of it may be said by the container alone.
#[test]
fn high_dynamic_range_is_known_however_little_is_said() {
    let filter = "-vf scale=out_color_matrix=bt2020:out_range=tv,format=yuv444p10le";
    let tags = "-color_trc smpte2084 -color_primaries bt2020 -colorspace bt2020nc -color_range tv";
    let first = |name: &str, output: &str| {
        let clip = make(name, &source("320x180", "5", 0.4), output)?;
        let mut reader = VideoReader::open(&clip.path).expect("opens");
        Some(frames(&mut reader, &[0]).remove(0).image)
    };
    let Some(told) = first("told.mkv", &format!("{filter} -c:v ffv1 {tags}")) else { return };
    let vague = format!("{filter} -c:v ffv1 -color_trc smpte2084 -color_range tv");
    assert!(first("vague.mkv", &vague).is_some_and(|vague| vague == told));

    let hevc = format!("{filter} -c:v libx265 -x265-params log-level=none:lossless=1 {tags}");
    let Some(told) = first("told.mp4", &hevc) else { return };
    let silent = "-bsf:v hevc_metadata=colour_primaries=2:transfer_characteristics=2:matrix_coefficients=2";
    for name in ["silent.mp4", "silent.mkv"] {
        assert!(first(name, &format!("{hevc} {silent}")).is_some_and(|silent| silent == told), "{name}");
    }
}
