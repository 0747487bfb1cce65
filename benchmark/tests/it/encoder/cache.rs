//! The cache: what is kept, what is not, and what becomes of it when processes die.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gve::Input;
use uvrb::Error;
use uvrb::encoder::{
    CacheStatistics, CachedEncoder, Emit, EncodeError, Encoder, EncoderInfo, Item, Request, Role,
};

use super::{Encoded, encode, try_encode};

/// The length and the first byte of the text; texts that begin with `bad` fail. Counts what it is asked for.
struct Toy {
    info: EncoderInfo,
    asked: AtomicUsize,
    delay: Duration,
}

impl Toy {
    fn new() -> Self {
        Self::of_revision("r1")
    }

    fn of_revision(revision: &str) -> Self {
        let info = EncoderInfo {
            name: "acme/toy".into(),
            revision: revision.into(),
            settings: BTreeMap::from([("frames".into(), 8.into())]),
            recipe: None,
            cacheable: true,
        };
        Self { info, asked: AtomicUsize::new(0), delay: Duration::ZERO }
    }

    fn embedding(input: &Input) -> Encoded {
        let Some(gve::Part::Text(text)) = input.parts.first() else { panic!("texts only") };
        if text.starts_with("bad") {
            return Err(EncodeError(format!("{text} is bad")));
        }
        Ok(vec![text.len() as f32, text.bytes().map(f32::from).sum()])
    }
}

impl Encoder for Toy {
    fn info(&self) -> &EncoderInfo {
        &self.info
    }

    fn encode(&self, request: Request<'_>, emit: &mut Emit<'_>) -> Result<(), Error> {
        for (index, item) in request.items.iter().enumerate().rev() {
            self.asked.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(self.delay);
            emit(index, Self::embedding(item.input))?;
        }
        Ok(())
    }
}

fn cached(directory: &Path) -> CachedEncoder<Toy> {
    CachedEncoder::new(Toy::new(), directory)
}

fn asked(encoder: &CachedEncoder<Toy>) -> usize {
    encoder.inner().asked.load(Ordering::SeqCst)
}

fn texts(texts: &[&'static str]) -> Vec<(&'static str, Input)> {
    texts.iter().map(|text| (*text, Input::text(*text))).collect()
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries =
        |path: &Path| fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    entries(directory).iter().flat_map(|folder| entries(folder)).collect()
}

#[test]
fn what_is_kept_is_not_asked_for_again() {
    let directory = tempfile::tempdir().unwrap();
    let inputs = texts(&["one", "two", "bad three"]);
    let first = cached(directory.path());
    let results = encode(&first, &inputs);
    assert_eq!(results[0], Ok(vec![3.0, 322.0]));
    assert_eq!(first.statistics(), CacheStatistics { hits: 0, misses: 3, shared: 0, failed: 1 });
    assert_eq!(encode(&first, &inputs), results);
    assert_eq!(asked(&first), 4, "the failure is tried again, and nothing else");

    let second = cached(directory.path());
    assert_eq!(encode(&second, &inputs), results);
    assert_eq!(second.statistics(), CacheStatistics { hits: 2, misses: 1, shared: 0, failed: 1 });
}

#[test]
fn keys_are_of_model_content_and_prompt_but_not_of_ids() {
    let directory = tempfile::tempdir().unwrap();
    encode(&cached(directory.path()), &texts(&["one"]));
    let hits = |encoder: &CachedEncoder<Toy>, input: &Input| {
        let items = [Item { id: "another", input }];
        let request = Request { dataset: "OTHER", role: Role::Query, items: &items };
        encoder.encode(request, &mut |_, _| Ok(())).unwrap();
        encoder.statistics().hits
    };
    assert_eq!(hits(&cached(directory.path()), &Input::text("one")), 1);
    assert_eq!(hits(&cached(directory.path()), &Input::text("one").with_instruction("Find.")), 0);
    let other = CachedEncoder::new(Toy::of_revision("r2"), directory.path());
    assert_eq!(hits(&other, &Input::text("one")), 0);
    let mut toy = Toy::new();
    toy.info.settings.insert("frames".into(), 9.into());
    assert_eq!(hits(&CachedEncoder::new(toy, directory.path()), &Input::text("one")), 0);
}

#[test]
fn equal_contents_are_encoded_once() {
    let directory = tempfile::tempdir().unwrap();
    let encoder = cached(directory.path());
    // Far enough apart to be looked up separately, too.
    let many: Vec<(&str, Input)> =
        (0..1500).map(|i| ("id", Input::text(format!("text {}", i % 600)))).collect();
    let results = encode(&encoder, &many);
    for (result, (_, input)) in results.iter().zip(&many) {
        assert_eq!(*result, Toy::embedding(input));
    }
    assert_eq!(asked(&encoder), 600);
    let CacheStatistics { hits, misses, shared, failed } = encoder.statistics();
    assert_eq!((hits + misses + shared, misses, failed), (1500, 600, 0));

    let failing = encode(&encoder, &texts(&["bad", "good", "bad"]));
    assert!(failing[0].is_err() && failing[1].is_ok() && failing[2].is_err());
}

#[test]
fn an_encoder_that_has_its_embeddings_at_hand_is_passed_through() {
    let directory = tempfile::tempdir().unwrap();
    let mut toy = Toy::new();
    toy.info.cacheable = false;
    let encoder = CachedEncoder::new(toy, directory.path());
    for _ in 0..2 {
        encode(&encoder, &texts(&["one"]));
    }
    assert_eq!(asked(&encoder), 2);
    assert_eq!(encoder.statistics(), CacheStatistics::default());
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn a_damaged_file_is_embedded_again() {
    let directory = tempfile::tempdir().unwrap();
    let inputs = texts(&["one"]);
    let right = encode(&cached(directory.path()), &inputs);
    let [file] = <[PathBuf; 1]>::try_from(files(directory.path())).unwrap();
    let whole = fs::read(&file).unwrap();
    let cut = (0..whole.len()).map(|length| whole[..length].to_vec());
    let changed = (0..whole.len()).map(|place| {
        let mut bytes = whole.clone();
        bytes[place] ^= 0x40;
        bytes
    });
    let other =
        [b"".to_vec(), b"not of ours at all".to_vec(), vec![0; whole.len()], [&whole[..], &[0]].concat()];
    for bytes in cut.chain(changed).chain(other) {
        fs::write(&file, bytes).unwrap();
        let encoder = cached(directory.path());
        assert_eq!(encode(&encoder, &inputs), right);
        assert_eq!(encoder.statistics().misses, 1);
        assert_eq!(fs::read(&file).unwrap(), whole, "repaired");
    }
}

#[test]
fn a_cache_that_cannot_be_written_is_an_error_with_its_path() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let error = try_encode(&cached(&file), &texts(&["one"])).unwrap_err().to_string();
    assert!(error.contains(&file.display().to_string()), "{error}");
}

#[test]
fn many_write_the_same_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let inputs: Vec<(&str, Input)> = (0..200).map(|i| ("id", Input::text(format!("text {i}")))).collect();
    let expected: Vec<Encoded> = inputs.iter().map(|(_, input)| Toy::embedding(input)).collect();
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| assert_eq!(encode(&cached(directory.path()), &inputs), expected));
        }
    });
    let after = cached(directory.path());
    assert_eq!(encode(&after, &inputs), expected);
    assert_eq!((after.statistics().hits, asked(&after)), (200, 0));
    assert_eq!(files(directory.path()).len(), 200, "no temporary file is left");
}

const CHILD_DIRECTORY: &str = "UVRB_TEST_CACHE_DIRECTORY";
const CHILD_ITEMS: usize = 2000;

fn child_inputs() -> Vec<(&'static str, Input)> {
    (0..CHILD_ITEMS).map(|i| ("id", Input::text(format!("text {i}")))).collect()
}

/// The other process of the test below; a test of its own only in name.
#[test]
fn child_process() {
    if let Some(directory) = std::env::var_os(CHILD_DIRECTORY) {
        let toy = Toy { delay: Duration::from_millis(3), ..Toy::new() };
        encode(&CachedEncoder::new(toy, directory), &child_inputs());
    }
}

#[test]
fn a_killed_process_loses_only_what_was_under_way() {
    let directory = tempfile::tempdir().unwrap();
    let spawn = || -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "encoder::cache::child_process"])
            .env(CHILD_DIRECTORY, directory.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    };
    let kept = || files(directory.path()).iter().filter(|path| path.file_name().unwrap().len() == 64).count();
    for _ in 0..3 {
        let before = kept();
        let mut children = [spawn(), spawn()];
        while kept() < before + 40 {
            for child in &mut children {
                assert!(child.try_wait().unwrap().is_none_or(|status| status.success()));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        for mut child in children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
    let kept = kept();
    let encoder = cached(directory.path());
    let expected: Vec<Encoded> = child_inputs().iter().map(|(_, input)| Toy::embedding(input)).collect();
    assert_eq!(encode(&encoder, &child_inputs()), expected);
    assert!((120..CHILD_ITEMS).contains(&kept), "{kept}");
    assert_eq!(encoder.statistics().hits, kept);
    assert_eq!(asked(&encoder), CHILD_ITEMS - kept);
}
