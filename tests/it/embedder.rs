//! Whole inputs, from files to embeddings, against the reference.

use std::path::Path;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use gve::{
    CancelToken, DType, Device, EmbedError, Embedder, FramesPart, ImagePart, ImageSource, Input, Part,
    PixelLimits, Progress,
};
use gve_test_support::golden::{Case, cosine, fixture_dirs, golden_dir};
use image::RgbImage;

pub(crate) fn embedder(fixture: &Path) -> Embedder {
    Embedder::builder(fixture.join("model")).device(Device::Cpu).dtype(DType::F32).build().unwrap()
}

/// The cases this build can decode.
fn cases(fixture: &Path) -> Vec<Case> {
    let has_video = |case: &Case| case.record["video_grid_thw"].is_array();
    Case::all(fixture).into_iter().filter(|case| cfg!(feature = "video") || !has_video(case)).collect()
}

fn input_of(case: &Case) -> Input {
    Input::from_json(&case.json_line(), &golden_dir().join("media")).unwrap().1
}

#[test]
fn embeddings_equal_the_reference() {
    for fixture in fixture_dirs() {
        let embedder = embedder(&fixture);
        for case in cases(&fixture) {
            let embedding = embedder.embed_one(&input_of(&case)).unwrap();
            let cosine = cosine(embedding.as_slice(), &case.embedding());
            println!("{}: cosine {cosine:.7}", case.name);
            assert!(cosine >= case.least_cosine(), "{}: cosine {cosine}", case.name);
            assert_eq!(embedding.num_tokens(), case.input_ids().len(), "{}", case.name);
        }
    }
}

#[test]
fn many_equal_one_and_keep_their_order() {
    let fixture = golden_dir().join("tiny-a");
    let embedder = embedder(&fixture);
    let mut inputs: Vec<Input> = cases(&fixture).iter().map(input_of).collect();
    inputs.insert(3, Input::image("nowhere.png"));
    inputs.insert(7, Input::default());
    let alone: Vec<_> = inputs.iter().map(|input| embedder.embed_one(input)).collect();
    let mut told = Vec::new();
    let together = embedder.embed_with(&inputs, &CancelToken::new(), |progress| told.push(progress));
    let streamed: Vec<_> = embedder.embed_iter(inputs.clone()).collect();
    assert_eq!((together.len(), streamed.len()), (inputs.len(), inputs.len()));
    assert_eq!(told.last(), Some(&Progress { done: inputs.len(), total: inputs.len() }));
    for (i, alone) in alone.iter().enumerate() {
        match alone {
            Ok(alone) => {
                for other in [together[i].as_ref().unwrap(), streamed[i].as_ref().unwrap()] {
                    let pairs = alone.as_slice().iter().zip(other.as_slice());
                    let difference = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                    assert!(difference < 1e-5, "input {i} differs by {difference}");
                }
            }
            Err(_) => assert!(i == 3 || i == 7),
        }
    }
    assert!(together[3].as_ref().unwrap_err().to_string().contains("nowhere.png"));
    assert!(matches!(together[7], Err(EmbedError::EmptyInput)));
}

#[test]
fn frames_in_memory_embed_as_their_video() {
    let fixture = golden_dir().join("tiny-a");
    let embedder = embedder(&fixture);
    let mut with_frames = 0;
    for case in Case::all(&fixture) {
        let Some(frames) = case.tensors.get("frames") else { continue };
        with_frames += 1;
        let (count, height, width, _) = frames.dims4().unwrap();
        let frames: Vec<u8> = frames.flatten_all().unwrap().to_vec1().unwrap();
        let frames = frames.chunks(height * width * 3).map(|rgb| {
            ImageSource::Memory(RgbImage::from_raw(width as u32, height as u32, rgb.to_vec()).unwrap())
        });
        let part = &case.record["content"][0];
        let input = Input::default().and_part(Part::Frames(FramesPart {
            frames: frames.collect(),
            fps: part["sample_fps"].as_f64().unwrap(),
            pixels: PixelLimits { min_pixels: None, max_pixels: part["max_pixels"].as_u64() },
        }));
        assert_eq!(count, part["frame_indices"].as_array().unwrap().len());
        let embedding = embedder.embed_one(&input).unwrap();
        assert!(cosine(embedding.as_slice(), &case.embedding()) > 0.99999, "{}", case.name);
    }
    assert!(with_frames > 0);
}

#[cfg(not(feature = "video"))]
#[test]
fn a_build_without_video_says_so() {
    let embedder = embedder(&golden_dir().join("tiny-a"));
    let error = embedder.embed_one(&Input::video("clip.mp4")).unwrap_err().to_string();
    assert!(error.contains("clip.mp4") && error.contains("`video`"), "{error}");
}

#[test]
fn cancelling_ends_the_job() {
    let embedder = embedder(&golden_dir().join("tiny-a"));
    let inputs: Vec<Input> = (0..500).map(|i| Input::text(format!("dog {i}"))).collect();
    let cancel = CancelToken::new();
    let results = embedder.embed_with(&inputs, &cancel, |_| cancel.cancel());
    assert_eq!(results.len(), inputs.len());
    assert!(results[0].is_ok());
    assert!(matches!(results.last(), Some(Err(EmbedError::Cancelled))));

    let endless = (0..).map(|i| Input::text(format!("dog {i}")));
    assert_eq!(embedder.embed_iter(endless).take(3).filter(Result::is_ok).count(), 3);
}

/// Such as a source that asks for the next search when it has shown the last one's results.
#[test]
fn a_source_may_wait_for_results() {
    let embedder = embedder(&golden_dir().join("tiny-a"));
    let (sender, receiver) = std::sync::mpsc::channel();
    let (done, results) = std::sync::mpsc::channel();
    // On a thread of its own: should no result come, the test fails and does not hang.
    std::thread::spawn(move || {
        embedder.embed_iter(receiver).try_for_each(|result| done.send(result.is_ok()))
    });
    for i in 0..3 {
        sender.send(Input::text(format!("dog {i}"))).unwrap();
        assert_eq!(results.recv_timeout(Duration::from_secs(60)), Ok(true), "input {i}");
    }
    drop(sender);
    assert_eq!(results.recv_timeout(Duration::from_secs(60)), Err(RecvTimeoutError::Disconnected));
}

#[test]
fn a_least_size_beats_the_largest_by_default() {
    let least = PixelLimits { min_pixels: Some(210 * 28 * 28), max_pixels: None };
    let image = || ImageSource::Memory(RgbImage::new(140, 140));
    let part = |pixels| Input::default().and_part(Part::Image(ImagePart { source: image(), pixels }));
    let own = embedder(&golden_dir().join("tiny-a"));
    let tokens = |embedder: &Embedder, input: &Input| embedder.embed_one(input).unwrap().num_tokens();
    assert!(tokens(&own, &part(least)) >= 210 && tokens(&own, &part(PixelLimits::default())) < 200);
    let model = golden_dir().join("tiny-a/model");
    let larger =
        Embedder::builder(model).device(Device::Cpu).dtype(DType::F32).pixels(least).build().unwrap();
    assert!(tokens(&larger, &part(PixelLimits::default())) >= 210);
}

#[test]
fn an_instruction_changes_the_embedding() {
    let embedder = embedder(&golden_dir().join("tiny-a"));
    let plain = embedder.embed_one(&Input::text("a dog runs")).unwrap();
    let instructed =
        embedder.embed_one(&Input::text("a dog runs").with_instruction("Find the video.")).unwrap();
    assert!(plain.cosine(&instructed).unwrap() < 0.999);
}

#[test]
fn an_embedder_is_shared_between_threads() {
    fn assert_shareable<T: Send + Sync + Clone>(_: &T) {}
    let embedder = embedder(&golden_dir().join("tiny-a"));
    assert_shareable(&embedder);
    let expected = embedder.embed_one(&Input::text("a dog")).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            let embedder = embedder.clone();
            let expected = &expected;
            scope.spawn(move || {
                assert_eq!(
                    embedder.embed_one(&Input::text("a dog")).unwrap().as_slice(),
                    expected.as_slice()
                );
            });
        }
    });
}
