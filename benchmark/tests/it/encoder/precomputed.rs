//! Files of embeddings, good and bad.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use gve::Input;
use safetensors::{Dtype, tensor::TensorView};
use uvrb::encoder::{Encoder, Item, PrecomputedEncoder, Request, Role};

use super::{encode, try_encode};

fn folder() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("D")).unwrap();
    directory
}

fn open(directory: &tempfile::TempDir) -> PrecomputedEncoder {
    PrecomputedEncoder::open(directory.path(), "acme/other", "r1").unwrap()
}

fn ids(ids: &[&'static str]) -> Vec<(&'static str, Input)> {
    ids.iter().map(|id| (*id, Input::text(*id))).collect()
}

fn safetensors(path: &Path, dtype: Dtype, shape: &[usize], data: &[u8], ids: Option<&str>) {
    let tensor = TensorView::new(dtype, shape.to_vec(), data).unwrap();
    let metadata = ids.map(|ids| HashMap::from([("ids".to_owned(), ids.to_owned())]));
    safetensors::serialize_to_file([("embeddings", tensor)], metadata, path).unwrap();
}

#[test]
fn safetensors_in_three_precisions_with_ids_inside_or_beside() {
    // 1.5, -2, 0.25 and 3 are exact in all three.
    let f32s: Vec<u8> = [1.5_f32, -2.0, 0.25, 3.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    let bytes = |bits: [u16; 4]| bits.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    for (dtype, data) in [
        (Dtype::F32, f32s),
        (Dtype::F16, bytes([0x3e00, 0xc000, 0x3400, 0x4200])),
        (Dtype::BF16, bytes([0x3fc0, 0xc000, 0x3e80, 0x4040])),
    ] {
        for inside in [true, false] {
            let directory = folder();
            let path = directory.path().join("D/corpus.safetensors");
            let ids_json = r#"["a", "b"]"#;
            safetensors(&path, dtype, &[2, 2], &data, inside.then_some(ids_json));
            if !inside {
                fs::write(path.with_extension("ids.json"), ids_json).unwrap();
            }
            let found = encode(&open(&directory), &ids(&["b", "a", "c"]));
            assert_eq!(found[0].as_deref(), Ok([0.25, 3.0].as_slice()), "{dtype:?}");
            assert_eq!(found[1].as_deref(), Ok([1.5, -2.0].as_slice()));
            assert!(found[2].as_ref().unwrap_err().to_string().contains("`c`"));
        }
    }
}

#[test]
fn faults_of_files_are_named() {
    let jsonl = |lines: &str| ("corpus.jsonl", lines.as_bytes().to_vec());
    let row = r#"{"id": "a", "embedding": [1, 2]}"#;
    for (files, named) in [
        (vec![], "no file corpus.npy"),
        (vec![jsonl(row), ("corpus.npy", Vec::new())], "is there too"),
        (vec![jsonl(&format!("{row}\n{row}"))], "both have the id `a`"),
        (vec![jsonl("{")], "corpus.jsonl"),
        (vec![("corpus.npy", Vec::new())], "corpus.ids.json"),
        (vec![("corpus.parquet", b"PAR1".to_vec())], "corpus.parquet"),
        (vec![("corpus.safetensors", b"12345678".to_vec())], "corpus.safetensors"),
    ] {
        let directory = folder();
        for (name, content) in files {
            fs::write(directory.path().join("D").join(name), content).unwrap();
        }
        let error = try_encode(&open(&directory), &ids(&["a"])).unwrap_err().to_string();
        assert!(error.contains(named) && error.contains("D") && !error.contains('\n'), "{error}");
    }
    let error = PrecomputedEncoder::open("nowhere", "m", "r").err().unwrap().to_string();
    assert!(error.contains("nowhere"), "{error}");
}

#[test]
fn faults_of_safetensors_are_named() {
    let data = [0; 16];
    for (dtype, shape, ids_json, named) in [
        (Dtype::F32, vec![4], Some("[]"), "[rows, dim]"),
        (Dtype::I32, vec![2, 2], Some("[]"), "I32"),
        (Dtype::F32, vec![2, 2], Some(r#"["a"]"#), "1 ids for 2"),
        (Dtype::F32, vec![2, 2], Some("a"), "`ids`"),
        (Dtype::F32, vec![2, 2], None, "corpus.ids.json"),
    ] {
        let directory = folder();
        safetensors(&directory.path().join("D/corpus.safetensors"), dtype, &shape, &data, ids_json);
        let error = try_encode(&open(&directory), &ids(&["a"])).unwrap_err().to_string();
        assert!(error.contains(named), "{error} should name {named}");
    }
}

#[test]
fn a_row_of_zeros_is_the_fault_of_its_item() {
    let directory = folder();
    let lines = "{\"id\": \"a\", \"embedding\": [0, 0]}\n{\"id\": \"b\", \"embedding\": [0, 1]}";
    fs::write(directory.path().join("D/corpus.jsonl"), lines).unwrap();
    let found = encode(&open(&directory), &ids(&["a", "b"]));
    let error = found[0].as_ref().unwrap_err().to_string();
    assert!(error.contains("corpus.jsonl") && error.contains("zero") && error.contains("`a`"), "{error}");
    assert!(found[1].is_ok());
}

#[test]
fn queries_and_corpus_must_agree_in_width() {
    let directory = folder();
    for (name, values) in [("queries", "[1, 2, 3]"), ("corpus", "[1, 2]")] {
        let line = format!("{{\"id\": \"a\", \"embedding\": {values}}}");
        fs::write(directory.path().join(format!("D/{name}.jsonl")), line).unwrap();
    }
    let encoder = open(&directory);
    encode(&encoder, &ids(&["a"]));
    let input = Input::text("a");
    let items = [Item { id: "a", input: &input }];
    let request = Request { dataset: "D", role: Role::Query, items: &items };
    let error = encoder.encode(request, &mut |_, _| Ok(())).unwrap_err().to_string();
    for named in ["queries.jsonl", "dimension 3", "corpus.jsonl", "have 2"] {
        assert!(error.contains(named), "{error} should name {named}");
    }
}
