//! What release 0.1 wrote is opened by this one, and gone on with. `tests/fixtures/release-0.1/make.sh` made
//! it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use gve::indexer::library_manifest;
use gve::model::LoraAdapter;
use gve::recipe::{NamedRecipe, Recipe, RecipeId};
use gve::retrieval::{Library, LibraryRow, LibraryWriter};
use gve::train::{Finish, Start, TrainConfig, Trainer};
use gve::{CancelToken, Embedder, Input};
use gve_test_support::golden::{golden_dir, max_difference, model};

/// Where the fixtures and the checkout lay when they were made.
const THERE: &str = "/tmp/release-0.1/out";
const CHECKOUT_THERE: &str = "/tmp/release-0.1/checkout";

/// A copy of one of the fixtures, in which texts name the paths that are here.
struct Fixture {
    folder: tempfile::TempDir,
}

impl Fixture {
    fn of(name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let fixture = Self { folder };
        copy(&fixtures().join("release-0.1").join(name), &fixture.path(name), &fixture.root());
        fixture
    }

    /// A library of format version 1.
    fn of_format_1() -> Self {
        let fixture = Self { folder: tempfile::tempdir().unwrap() };
        copy(&fixtures().join("format-1/library"), &fixture.path("library"), &fixture.root());
        fixture
    }

    fn root(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    /// A file of the golden media, as old as it was then.
    fn add_media(&self, name: &str, to: &str) -> PathBuf {
        let path = self.path(to);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy(golden_dir().join("media").join(name), &path).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600);
        fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        path
    }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn copy(from: &Path, to: &Path, root: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            copy(&entry.path(), &to.join(entry.file_name()), root);
        }
        return;
    }
    match String::from_utf8(fs::read(from).unwrap()) {
        Ok(text) => {
            let text = text.replace(THERE, root.to_str().unwrap());
            fs::write(to, text.replace(CHECKOUT_THERE, env!("CARGO_MANIFEST_DIR"))).unwrap();
        }
        Err(_) => drop(fs::copy(from, to).unwrap()),
    }
}

#[test]
fn a_library_is_searched_and_added_to() {
    let fixture = Fixture::of("library");
    let library = Library::open(fixture.path("library")).unwrap();
    assert!(library.damage().is_empty(), "{:?}", library.damage());
    let names: Vec<_> = library.entries().iter().map(|entry| entry.path.file_name().unwrap()).collect();
    assert_eq!(names, ["testsrc.mp4", "tiny.png"]);
    // A text finds both, and a picture finds itself.
    let two = gve::Sampling::Uniform { frames: 2 };
    let embedder = Embedder::builder(model()).sampling(two).build().unwrap();
    let text = embedder.embed_one(&Input::text("a small picture")).unwrap();
    assert_eq!(library.search(text.as_slice().into(), 9).unwrap().len(), 2);
    let picture = embedder.embed_one(&Input::image(golden_dir().join("media/tiny.png"))).unwrap();
    let best = &library.search(picture.as_slice().into(), 1).unwrap()[0];
    assert!(best.entry.path.ends_with("tiny.png") && best.score > 0.9999, "{best:?}");

    let mut entry = library.entries()[1].clone();
    entry.path = "/new.png".into();
    // Nothing is said there of a recipe: it is GVE's.
    let ours = library_manifest(&embedder);
    assert_eq!((&library.manifest().recipe, ours.recipe.as_ref()), (&None, Some(&RecipeId::gve())));
    library.require_manifest(&ours).unwrap();
    let mut others = ours.clone();
    others.recipe = Some(NamedRecipe::from(other_recipe()).id());
    let refused = library.require_manifest(&others).unwrap_err().to_string();
    assert!(refused.contains("recipe: \"gve (cbf29ce484222325)\" there, \"custom ("), "{refused}");
    let mut writer = LibraryWriter::create_or_open(fixture.path("library"), ours).unwrap();
    assert!(library.entries().iter().all(|entry| writer.is_current(&entry.path, entry.fingerprint)));
    writer.append(&[LibraryRow { entry, embedding: picture.into_vec() }]).unwrap();
    writer.finish().unwrap();
    let library = Library::open(fixture.path("library")).unwrap();
    assert!(library.damage().is_empty() && library.entries().len() == 3, "{:?}", library.damage());
}

/// Of the last release whose libraries had format version 1, with moments.
#[test]
fn a_library_of_format_version_1_is_searched_and_brought_to_this_one() {
    let fixture = Fixture::of_format_1();
    let path = fixture.path("library");
    let version = || {
        let manifest: serde_json::Value =
            serde_json::from_slice(&fs::read(path.join("library.json")).unwrap()).unwrap();
        manifest["format_version"].as_u64().unwrap()
    };
    let before = Library::open(&path).unwrap();
    assert!(before.damage().is_empty() && before.entries().iter().all(|entry| entry.content.is_none()));
    assert_eq!((before.entries().len(), version()), (11, 1), "reading changes nothing");
    let place = before.entries().iter().position(|entry| entry.path.ends_with("copy.png")).unwrap();
    let picture = before.embeddings().unwrap().row(place).to_owned();
    assert!(before.search(picture.view(), 1).unwrap()[0].score > 0.9999);

    let mut ours = before.manifest().clone();
    ours.format_version = gve::retrieval::MANIFEST_FORMAT_VERSION;
    before.require_manifest(&ours).unwrap();
    let mut writer = LibraryWriter::create_or_open(&path, ours.clone()).unwrap();
    assert_eq!((writer.format_before(), version()), (1, 2));
    assert!(before.entries().iter().all(|entry| writer.is_current(&entry.path, entry.fingerprint)));
    let copy = before.entries().iter().find(|entry| entry.path.ends_with("copy.png")).unwrap().path.clone();
    assert!(writer.rename(&copy, Path::new("/elsewhere.png")).unwrap());
    writer.finish().unwrap();
    let after = Library::open(&path).unwrap();
    assert!(after.damage().is_empty() && after.entries().len() == 11, "{:?}", after.damage());
    let mut writer = LibraryWriter::create_or_open(&path, ours).unwrap();
    assert_eq!(writer.format_before(), 2);
    writer.compact().unwrap();
    let compacted = Library::open(&path).unwrap();
    assert_eq!(compacted.entries(), after.entries());
    assert_eq!(compacted.embeddings(), after.embeddings());
}

fn other_recipe() -> Recipe {
    let mut recipe = Recipe::default();
    recipe.instruction = "Represent the input.".to_owned();
    recipe
}

#[test]
fn a_training_run_is_resumed_and_ends_as_it_did() {
    let fixture = Fixture::of("");
    fixture.add_media("tiny.png", "media/tiny.png");
    let config = TrainConfig::load(&fixture.path("train.toml")).unwrap();
    let expected = LoraAdapter::read(&fixture.path("train/final")).unwrap();
    fs::remove_dir_all(fixture.path("train/final")).unwrap();
    let (mut first, mut last) = (None, 0);
    let trainer = Trainer::new(config, &model(), &Start::Newest).unwrap();
    let finish = trainer.run(&CancelToken::new(), &mut |event| {
        if let gve::train::TrainEvent::Logged(gve::train::Entry::Step { step, .. }) = event {
            first.get_or_insert(*step);
            last = *step;
        }
    });
    assert_eq!(finish.unwrap(), Finish::Complete(fixture.path("train/final")));
    assert_eq!((first, last), (Some(3), 4));
    let found = LoraAdapter::read(&fixture.path("train/final")).unwrap();
    assert_eq!(found.module_names().collect::<Vec<_>>(), expected.module_names().collect::<Vec<_>>());
    for ((name, found), (_, expected)) in found
        .tensors(gve::model::AdapterLayout::Nested)
        .into_iter()
        .zip(expected.tensors(gve::model::AdapterLayout::Nested))
    {
        let difference = max_difference(&found, &expected);
        assert!(difference < 1e-6, "{name}: {difference}");
    }
}

#[cfg(feature = "synth")]
#[test]
fn a_world_is_gone_on_with() {
    use gve::synth::world::{WorldSettings, write_world};
    use gve::video::VideoEncoding;

    let fixture = Fixture::of("world");
    let before = fs::read(fixture.path("world/pairs_t2i.jsonl")).unwrap();
    let image = fixture.path("world/images/000000-1-000.png");
    let made = fs::read(&image).unwrap();
    fs::remove_file(&image).unwrap();
    let settings = |crf| {
        let settings = WorldSettings::new(7).with_pictures(2).with_things(1);
        settings.with_encoding(VideoEncoding::H264 { crf })
    };
    let write = |crf| write_world(&fixture.path("world"), settings(crf), &CancelToken::new(), &|_| {});
    write(20).unwrap();
    assert!(
        fs::read(&image).unwrap() == made
            && fs::read(fixture.path("world/pairs_t2i.jsonl")).unwrap() == before
    );
    let message = write(21).unwrap_err().to_string();
    assert!(message.contains("(encoding.h264.crf: 20 there, 21 here)"), "{message}");
}

#[cfg(feature = "synth")]
#[test]
fn a_run_of_v_synflow_is_gone_on_with() {
    use gve::synth::flow::{
        Captioner, CaptionerSettings, Flow, FlowPlan, FlowSettings, Prompts, SourceCaptions, Stage,
    };

    let fixture = Fixture::of("flow");
    let video = fixture.add_media("testsrc.mp4", "clips/testsrc.mp4");
    let report = fs::read(fixture.path("flow/report/quality.jsonl")).unwrap();
    // The folder of a model is part of what a run is.
    let model = model().canonicalize().unwrap();
    let plan = |seed| {
        let embedder = Embedder::load(&model).unwrap();
        FlowPlan {
            videos: vec![video.clone()],
            captions: SourceCaptions::default(),
            settings: FlowSettings::default().with_seed(seed),
            prompts: Prompts::load(None).unwrap(),
            captioner: Captioner::new(CaptionerSettings::new("http://127.0.0.1:9/v1", "none")).unwrap(),
            library_manifest: library_manifest(&embedder),
            embedder,
        }
    };
    let mut others = plan(42);
    others.library_manifest.recipe = Some(NamedRecipe::from(other_recipe()).id());
    let error = Flow::open(others, &fixture.path("flow")).err().unwrap().to_string();
    assert!(error.contains("embedder.recipe: \"cbf29ce484222325\" there"), "{error}");
    let flow = Flow::open(plan(42), &fixture.path("flow")).unwrap();
    flow.run(Stage::Quality, &CancelToken::new(), &mut |_| {}).unwrap();
    drop(flow);
    assert_eq!(fs::read(fixture.path("flow/report/quality.jsonl")).unwrap(), report);
    let error = Flow::open(plan(43), &fixture.path("flow")).err().unwrap();
    assert!(error.to_string().contains("(settings.seed: 42 there, 43 here)"), "{error}");
}
