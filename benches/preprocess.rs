//! Time from 8-bit RGB to `pixel_values`.

#![allow(clippy::expect_used)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gve::model::qwen2_5_vl::PIXEL_BUDGET;
use gve::preprocess::{ImageProcessorConfig, Patchifier, PixelSize, patchify_image};
use image::{Rgb, RgbImage};

fn picture(size: PixelSize) -> RgbImage {
    RgbImage::from_fn(size.width, size.height, |x, y| Rgb([x as u8, y as u8, (x.wrapping_mul(y) >> 3) as u8]))
}

fn config() -> ImageProcessorConfig {
    let text = r#"{"min_pixels": 3136, "max_pixels": 12845056}"#;
    ImageProcessorConfig::from_json(text, "bench".as_ref()).expect("valid settings")
}

/// 8 frames of 1280x720, 200 visual tokens each: the evaluation setting.
fn video(criterion: &mut Criterion) {
    let frame = picture(PixelSize::new(1280, 720));
    let bounds = PIXEL_BUDGET.for_video(None, Some(200 * 28 * 28), None, 8).expect("valid bounds");
    let config = config();
    let mut group = criterion.benchmark_group("preprocess");
    group.throughput(Throughput::Elements(8));
    group.bench_function("video_8x1280x720_200_tokens", |bencher| {
        bencher.iter(|| {
            let mut patchifier = Patchifier::new(&config, bounds, 8);
            for _ in 0..8 {
                patchifier.push_image(black_box(&frame)).expect("a frame");
            }
            patchifier.finish().expect("frames")
        });
    });
    group.finish();
}

/// One image of 12 megapixels, at the reference's default bounds and at 200 visual tokens.
fn image(criterion: &mut Criterion) {
    let photo = picture(PixelSize::new(4000, 3000));
    let config = config();
    let mut group = criterion.benchmark_group("preprocess");
    group.sample_size(20).throughput(Throughput::Elements(photo.len() as u64 / 3));
    for (name, max_pixels) in [("image_12mp_full", None), ("image_12mp_200_tokens", Some(200 * 28 * 28))] {
        let bounds = PIXEL_BUDGET.for_image(None, max_pixels).expect("valid bounds");
        group.bench_function(name, |bencher| {
            bencher.iter(|| patchify_image(&config, black_box(&photo), bounds).expect("patches"));
        });
    }
    group.finish();
}

criterion_group!(benches, video, image);
criterion_main!(benches);
