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
