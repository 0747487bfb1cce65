//! The fuzz targets over the kept corpus: seeds, and whatever a fuzzer found once.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::fs;
use std::path::{Path, PathBuf};

use gve_fuzz_targets::{TARGETS, run};

fn corpus(target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn every_target_reads_and_refuses() {
    for (name, target) in TARGETS {
        let files = corpus(name);
        let (read, refused): (Vec<_>, Vec<_>) =
            files.iter().partition(|file| run(target, &fs::read(file).unwrap()).is_ok());
        println!("{name}: {} read, {} refused", read.len(), refused.len());
        // A target that reads nothing looks at nothing but the first bytes.
        assert!(!read.is_empty() && !refused.is_empty(), "{name}: {read:?} are read, {refused:?} refused");
    }
}

#[test]
fn every_file_is_read_up_to_any_cut() {
    for (name, target) in TARGETS {
        for file in corpus(name) {
            let bytes = fs::read(file).unwrap();
            for part in 0..16 {
                let _refused = run(target, &bytes[..bytes.len() * part / 16]);
            }
        }
    }
}

#[test]
fn every_target_has_its_program() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    for (name, _) in TARGETS {
        let program = fs::read_to_string(folder.join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(program.contains(&format!("gve_fuzz_targets::{name}")), "{name}");
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
    }
}
