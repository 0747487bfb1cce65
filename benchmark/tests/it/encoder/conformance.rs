//! What the contract of `Encoder` promises, asked of every implementation.

use gve::retrieval::{EmbeddingFormat, EmbeddingWriter};
use gve::{DType, Device, Embedder, Input, Sampling};
use gve_test_support::stub::{Answer, Stub};
use uvrb::Error;
use uvrb::encoder::{
    CachedEncoder, Encoder, Item, MeanColourEncoder, ModelEncoder, PrecomputedEncoder, RandomEncoder,
    Request, Role, ServerEncoder, ServerOptions, VideoTransport,
};

use super::{encode, golden};

const BAD: &str = "bad";
const SAMPLING: Sampling = Sampling::Uniform { frames: 4 };

/// One of every kind, two of one kind, and one whose file is missing.
fn inputs() -> Vec<(&'static str, Input)> {
    let image = golden("media/rabbit.png");
    let mut inputs = vec![
        ("text", Input::text("a dog catches a ball")),
        ("prompted", Input::text("a dog catches a ball").with_instruction("Find the video.")),
        ("image", Input::image(&image)),
        (BAD, Input::image("nowhere/missing.png")),
        ("composed", Input::image(&image).and_text("now in the forest")),
        ("image-again", Input::image(&image)),
    ];
    if cfg!(feature = "video") {
        inputs.insert(2, ("video", Input::video(golden("media/testsrc.mp4"))));
    }
    inputs
}

fn assert_close(left: &[f32], right: &[f32], what: &str) {
    assert_eq!(left.len(), right.len(), "{what}");
    let difference = left.iter().zip(right).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(difference < 1e-5, "{what}: differs by {difference}");
}

/// `bad` is what the error of the bad item must name.
fn assert_conforms(encoder: &dyn Encoder, bad: &str) {
    let inputs = inputs();
    let info = encoder.info().clone();
    assert!(!info.name.is_empty() && !info.revision.is_empty());

    let together = encode(encoder, &inputs);
    let dim = together[0].as_ref().unwrap().len();
    for ((id, _), result) in inputs.iter().zip(&together) {
        match result {
            Ok(values) => {
                assert_ne!(*id, BAD);
                assert_eq!(values.len(), dim, "{id}");
                assert!(values.iter().all(|value| value.is_finite()), "{id}");
                assert!(values.iter().any(|&value| value != 0.0), "{id}");
            }
            Err(error) => {
                assert_eq!(*id, BAD, "{error}");
                let message = error.to_string();
                assert!(message.contains(bad) && !message.contains('\n'), "{message}");
            }
        }
    }
    let by_id = |id: &str| {
        let index = inputs.iter().position(|(other, _)| *other == id).unwrap();
        together[index].as_ref().unwrap()
    };
    assert_close(by_id("image"), by_id("image-again"), "the same input twice");

    let reversed: Vec<_> = inputs.iter().rev().cloned().collect();
    for ((id, _), result) in reversed.iter().zip(encode(encoder, &reversed)) {
        if *id != BAD {
            assert_close(by_id(id), &result.unwrap(), id);
        }
    }
    for (id, input) in &inputs {
        let alone = encode(encoder, &[(*id, input.clone())]).remove(0);
        match alone {
            Ok(alone) => assert_close(by_id(id), &alone, id),
            Err(_) => assert_eq!(*id, BAD),
        }
    }

    assert_eq!(encode(encoder, &[]), []);
    assert_emit_error_stops(encoder, &inputs);
    assert_eq!(*encoder.info(), info);
}

fn assert_emit_error_stops(encoder: &dyn Encoder, inputs: &[(&str, Input)]) {
    let items: Vec<Item<'_>> = inputs.iter().map(|(id, input)| Item { id, input }).collect();
    let mut emitted = 0;
    let request = Request { dataset: "D", role: Role::Document, items: &items };
    let error = encoder.encode(request, &mut |_, _| {
        emitted += 1;
        if emitted == 2 { Err(Error::Settings("enough".into())) } else { Ok(()) }
    });
    assert!(matches!(error, Err(Error::Settings(reason)) if reason == "enough"));
    assert_eq!(emitted, 2);
}

fn model() -> ModelEncoder {
    let embedder = Embedder::builder(golden("tiny-a/model"))
        .device(Device::Cpu)
        .dtype(DType::F32)
        .sampling(SAMPLING)
        .tokens_per_frame(50)
        .build()
        .unwrap();
    ModelEncoder::new(embedder, "acme/tiny", "r1")
}

fn server(video: VideoTransport) -> ServerEncoder {
    let stub = Stub::start(|_, request| Answer::embedding(request));
    let options = ServerOptions { video, ..ServerOptions::new(stub.base_url, "acme/tiny") };
    ServerEncoder::new(options, "acme/tiny", "r1").unwrap()
}

#[test]
fn an_adapter_makes_another_revision() {
    let adapted = Embedder::builder(golden("tiny-a/model"))
        .device(Device::Cpu)
        .adapter(golden("tiny-a/train/adapter_final"))
        .build()
        .unwrap();
    let adapted = ModelEncoder::new(adapted, "acme/tiny", "r1");
    assert!(adapted.info().revision.starts_with("r1+"), "{:?}", adapted.info());
    assert_ne!(adapted.info().revision, model().info().revision);
}

#[test]
fn the_model() {
    let model = model();
    assert_conforms(&model, "nowhere/missing.png");
    let settings = &model.info().settings;
    for (key, expected) in [
        ("device", serde_json::json!("cpu")),
        ("dtype", "f32".into()),
        ("max_length", 8192.into()),
        ("max_pixels", (50 * 28 * 28).into()),
        ("instruction", serde_json::Value::Null),
        ("sampling", serde_json::json!({"uniform": {"frames": 4}})),
    ] {
        assert_eq!(settings[key], expected, "{key}");
    }
}

#[test]
fn the_baselines() {
    assert_conforms(&RandomEncoder::new(16, 0).unwrap(), "nowhere/missing.png");
    assert_conforms(&MeanColourEncoder::new(SAMPLING), "nowhere/missing.png");
}

#[test]
fn a_server() {
    assert_conforms(&server(VideoTransport::File), "nowhere/missing.png");
    assert_conforms(&server(VideoTransport::Frames(SAMPLING)), "nowhere/missing.png");
}

#[test]
fn files() {
    let random = RandomEncoder::new(16, 0).unwrap();
    let inputs = inputs();
    for (name, format) in [
        ("corpus.npy", EmbeddingFormat::Npy),
        ("corpus.parquet", EmbeddingFormat::Parquet),
        ("corpus.jsonl", EmbeddingFormat::JsonLines),
    ] {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("D")).unwrap();
        let path = directory.path().join("D").join(name);
        let mut writer = EmbeddingWriter::create(&path, format, 16).unwrap();
        for ((id, _), values) in inputs.iter().zip(encode(&random, &inputs)) {
            if let Ok(values) = values {
                writer.write(id, &values).unwrap();
            }
        }
        writer.finish().unwrap();
        let encoder = PrecomputedEncoder::open(directory.path(), "acme/other", "r1").unwrap();
        // No file of the input is opened: what is missing is its row.
        assert_conforms(&encoder, &path.display().to_string());
        assert_eq!(encode(&encoder, &inputs)[0], encode(&random, &inputs)[0]);
    }
}

#[test]
fn the_cache_before_any_of_them() {
    fn assert_cached<E: Encoder>(make: impl Fn() -> E) {
        let directory = tempfile::tempdir().unwrap();
        let cold = CachedEncoder::new(make(), directory.path());
        assert_conforms(&cold, "nowhere/missing.png");
        assert!(cold.statistics().hits > 0 && cold.statistics().misses > 0, "{:?}", cold.statistics());
        let warm = CachedEncoder::new(make(), directory.path());
        assert_conforms(&warm, "nowhere/missing.png");
        let statistics = warm.statistics();
        assert_eq!(statistics.misses, statistics.failed, "only what fails is tried again: {statistics:?}");
        assert_eq!(encode(&warm, &inputs())[0], encode(&cold, &inputs())[0]);
    }
    assert_cached(model);
    assert_cached(|| MeanColourEncoder::new(SAMPLING));
    let stub = server(VideoTransport::Frames(SAMPLING));
    assert_cached(|| &stub);
    let boxed: Box<dyn Encoder> = Box::new(RandomEncoder::new(16, 0).unwrap());
    assert_conforms(&CachedEncoder::new(boxed, "never/made"), "nowhere/missing.png");
}
