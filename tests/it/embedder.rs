//! Whole inputs, from files to embeddings, against the reference.

use std::path::Path;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use gve::{
    CancelToken, DType, Device, EmbedError, Embedder, Embedding, FramesPart, ImagePart, ImageSource, Input,
    MediaSource, Part, PixelLimits, Progress,
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
    let told: Vec<_> = told.into_iter().map(|Progress { done, total, .. }| (done, total)).collect();
    assert_eq!(told.last(), Some(&(inputs.len(), inputs.len())));
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
            ImageSource::Decoded(RgbImage::from_raw(width as u32, height as u32, rgb.to_vec()).unwrap())
        });
        let part = &case.record["content"][0];
        let pixels = PixelLimits::default().with_max_pixels(part["max_pixels"].as_u64());
        let frames = FramesPart::new(frames.collect(), part["sample_fps"].as_f64().unwrap());
        let input = Input::default().and_part(Part::Frames(frames.with_pixels(pixels)));
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
    let least = PixelLimits::default().with_min_pixels(Some(210 * 28 * 28));
    let image = || ImagePart::new(RgbImage::new(140, 140));
    let part = |pixels| Input::default().and_part(Part::Image(image().with_pixels(pixels)));
    let own = embedder(&golden_dir().join("tiny-a"));
    let tokens = |embedder: &Embedder, input: &Input| embedder.embed_one(input).unwrap().num_tokens();
    assert!(tokens(&own, &part(least)) >= 210 && tokens(&own, &part(PixelLimits::default())) < 200);
    let model = golden_dir().join("tiny-a/model");
    let larger =
        Embedder::builder(model).device(Device::Cpu).dtype(DType::F32).pixels(least).build().unwrap();
    assert!(tokens(&larger, &part(PixelLimits::default())) >= 210);
}

#[test]
fn bytes_and_readers_embed_as_their_files() {
    let embedder = embedder(&golden_dir().join("tiny-a"));
    let mut files = vec!["rabbit.png", "tall.png", "tiny.png"];
    if cfg!(feature = "video") {
        files.extend(["bunny.mp4", "ntsc.mp4", "testsrc.mp4"]);
    }
    for name in files {
        let path = golden_dir().join("media").join(name);
        let bytes = std::fs::read(&path).unwrap();
        let input = |source: MediaSource| match name.ends_with(".png") {
            true => Input::image(source),
            false => Input::video(source),
        };
        let reader = input(MediaSource::reader(std::io::Cursor::new(bytes.clone())));
        // One that breaks off tells the same.
        let half = bytes[..bytes.len() * 2 / 3].to_vec();
        let broken = tempfile::tempdir().unwrap();
        std::fs::write(broken.path().join(name), &half).unwrap();
        let (half, half_file) = (MediaSource::bytes(half), broken.path().join(name));
        let said = half_file.display().to_string();
        let inputs = [
            input(path.into()),
            input(MediaSource::bytes(bytes)),
            // Twice, and both at once.
            reader.clone(),
            reader,
            input(half_file.into()),
            input(half.named(said)),
        ];
        let of = |result: &Result<Embedding, EmbedError>| match result {
            Ok(found) => Ok((found.as_slice().to_vec(), found.time_range(), found.warnings().to_vec())),
            Err(error) => Err(error.to_string()),
        };
        // Alone, as numbers depend on what is in a batch.
        let found: Vec<_> = inputs.iter().map(|input| of(&embedder.embed_one(input))).collect();
        assert!(found[0].is_ok(), "{name}: {:?}", found[0]);
        assert!(found[1..4].iter().all(|other| *other == found[0]), "{name}: {found:?}");
        assert_eq!(found[4], found[5], "{name}");
        assert!(embedder.embed(&inputs).iter().take(4).all(Result::is_ok), "{name}");
    }
}

/// Bytes that are there once and then panic.
struct Vanishing(std::sync::atomic::AtomicUsize);

impl AsRef<[u8]> for Vanishing {
    fn as_ref(&self) -> &[u8] {
        let times = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if times == 0 { b"some bytes" } else { panic!("gone") }
    }
}

#[test]
fn a_panic_over_a_file_is_one_error_that_names_it() {
    let embedder = embedder(&golden_dir().join("tiny-a"));
    let vanishing = || MediaSource::bytes(Vanishing(0.into())).named("upload 17");
    let frames = vec![ImageSource::Decoded(RgbImage::new(56, 56)), ImageSource::Encoded(vanishing())];
    let inputs = [
        Input::text("a dog runs"),
        Input::image(vanishing()).and_text("a dog"),
        Input::default().and_part(Part::Frames(FramesPart::new(frames, 1.0))),
        Input::text("a cat runs"),
    ];
    let together = embedder.embed(&inputs);
    for (i, (input, together)) in inputs.iter().zip(together).enumerate() {
        let results = [embedder.embed_one(input), together];
        for result in results {
            if i == 0 || i == 3 {
                assert!(result.is_ok_and(|embedding| embedding.warnings().is_empty()));
                continue;
            }
            let error = result.unwrap_err();
            assert!(
                matches!(&error, EmbedError::File { reason, .. } if matches!(**reason, EmbedError::Panicked))
            );
            let expected = "upload 17: reading it panicked, which is a fault of a library";
            assert!(error.to_string().starts_with(expected), "{error}");
        }
    }
}

#[cfg(feature = "video")]
#[test]
fn a_reader_that_fails_takes_nothing_with_it() {
    struct Failing(std::io::Cursor<Vec<u8>>, fn() -> std::io::Result<usize>);
    impl std::io::Read for Failing {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            if self.0.position() > 2000 { (self.1)() } else { std::io::Read::read(&mut self.0, buffer) }
        }
    }
    impl std::io::Seek for Failing {
        fn seek(&mut self, to: std::io::SeekFrom) -> std::io::Result<u64> {
            std::io::Seek::seek(&mut self.0, to)
        }
    }
    let embedder = embedder(&golden_dir().join("tiny-a"));
    for (kind, file) in [("video", "ntsc.mp4"), ("image", "rabbit.png")] {
        let bytes = std::fs::read(golden_dir().join("media").join(file)).unwrap();
        let behaviours: [(fn() -> std::io::Result<usize>, &str); 2] = [
            (|| Err(std::io::Error::other("unplugged")), "unplugged"),
            (|| panic!("torn"), "the reader panicked: torn"),
        ];
        for (then, said) in behaviours {
            let reader = Failing(std::io::Cursor::new(bytes.clone()), then);
            let source = MediaSource::reader(reader).named("tape 4");
            let failing = if kind == "video" { Input::video(source) } else { Input::image(source) };
            let results = embedder.embed(&[Input::text("a dog"), failing.clone(), Input::text("a cat")]);
            assert!(results[0].is_ok() && results[2].is_ok());
            let alone = embedder.embed_one(&failing).unwrap_err().to_string();
            let line = results[1].as_ref().unwrap_err().to_string();
            assert_eq!(line, alone);
            assert!(line.contains("tape 4: ") && line.contains("at byte ") && line.contains(said), "{line}");
        }
    }
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
