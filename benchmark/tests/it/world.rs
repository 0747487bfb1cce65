//! The benchmark that `gve synth uvrb-mini` makes is one this harness reads, and asks as it asks.

use std::collections::HashSet;

use gve::CancelToken;
use gve::synth::world::{MiniSettings, instructions, write_mini};
use gve::video::VideoEncoding;
use uvrb::dataset::{LoadOptions, load};
use uvrb::manifest::Manifest;

#[test]
fn the_harness_reads_every_data_set_and_every_relevant_video_exists() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path().join("mini");
    let settings = MiniSettings::new(9).with_videos(3).with_encoding(VideoEncoding::H264 { crf: 40 });
    let made = write_mini(&root, settings, &CancelToken::new(), &|_| {}).unwrap();
    let manifest = Manifest::builtin();
    let ids: Vec<&str> = made.iter().map(|set| set.id).collect();
    assert_eq!(ids, manifest.datasets().iter().map(|spec| spec.id.as_str()).collect::<Vec<_>>());
    for (set, spec) in made.iter().zip(manifest.datasets()) {
        let dataset = load(spec, &root, &LoadOptions::default()).unwrap();
        assert_eq!((dataset.queries.len(), dataset.corpus.len()), (set.queries, set.videos), "{}", set.id);
        assert!(dataset.queries.iter().all(|query| !query.positives.is_empty()), "{}", set.id);
        let composed = set.id.starts_with("MS-");
        assert!(dataset.queries.iter().all(|query| query.candidates.is_some() == composed), "{}", set.id);
    }
}

#[test]
fn training_introduces_queries_as_the_benchmark_does() {
    let prompts: HashSet<&str> =
        Manifest::builtin().datasets().iter().map(|spec| spec.prompt.as_str()).collect();
    for instruction in instructions::all() {
        assert!(prompts.contains(instruction), "{instruction}");
    }
}
