//! Tables of ids and embeddings as pyarrow, pandas, polars and NumPy write them; `make_tables.py` beside the
//! files made them.

use std::path::{Path, PathBuf};

use gve::retrieval::{EmbeddingTable, ParquetTable, RetrievalError, read_embeddings};
use ndarray::array;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tables").join(name)
}

/// The names of fixtures with such a beginning and ending.
fn fixtures(start: &str, end: &str) -> Vec<String> {
    let names = std::fs::read_dir(fixture("")).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.into_string().unwrap());
    names.filter(|name| name.starts_with(start) && name.ends_with(end)).collect()
}

fn expected(ids: [&str; 3]) -> EmbeddingTable {
    let embeddings = array![[0.5, -1.25, 2.0], [1.0, 0.25, -4.0], [3.0, 0.125, 0.0]];
    EmbeddingTable { ids: ids.map(str::to_owned).into(), embeddings }
}

fn refusal(name: &str) -> String {
    let error = read_embeddings(fixture(name)).unwrap_err().to_string();
    assert!(error.contains(name) && !error.contains('\n'), "{error}");
    error
}

/// What is refused, or holds something else, and why.
const OTHERS: [(&str, &str); 9] = [
    ("pyarrow_codec_brotli.parquet", "write it with snappy, zstd, gzip or lz4"),
    ("pyarrow_ragged.parquet", "row 2: 1 values, those before have 2"),
    ("pyarrow_no_embedding.parquet", "row 2: it has no embedding"),
    ("pyarrow_no_value.parquet", "row 2: a value of its embedding is missing"),
    ("pyarrow_no_id.parquet", "row 2: its id is missing"),
    ("pyarrow_bytes.parquet", "UInt8"),
    ("pyarrow_texts.parquet", "Utf8"),
    ("pyarrow_whole.parquet", ""),
    ("pyarrow_not_finite.parquet", ""),
];

#[test]
fn every_table_of_pyarrow_pandas_and_polars_is_read() {
    let mut read = 0;
    for name in fixtures("", ".parquet") {
        if OTHERS.iter().any(|(other, _)| *other == name) {
            continue;
        }
        let table = read_embeddings(fixture(&name)).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(table, expected(["1", "2", "30"]), "{name}");
        read += 1;
    }
    assert!(read >= 40, "{read} tables");
}

#[test]
fn what_is_no_table_of_embeddings_is_refused_by_row() {
    for (name, said) in OTHERS.iter().filter(|(_, said)| !said.is_empty()) {
        let error = refusal(name);
        assert!(error.contains(said), "{error} should say {said}");
    }
    let whole = read_embeddings(fixture("pyarrow_whole.parquet")).unwrap();
    assert_eq!(whole.embeddings, array![[1.0, 0.0, -4.0]]);
    // The fault of these rows alone, which whoever searches them names.
    let table = read_embeddings(fixture("pyarrow_not_finite.parquet")).unwrap();
    assert!(table.embeddings[[1, 0]].is_nan() && table.embeddings[[2, 0]].is_infinite());
    assert_eq!(table.embeddings[[0, 0]], 1.0);
    let error = refusal("beir_pandas/queries.parquet");
    assert!(error.contains("no column embedding, it has _id, text"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let parts = folder.path().join("parts.parquet");
    std::fs::create_dir(&parts).unwrap();
    assert!(read_embeddings(&parts).unwrap_err().to_string().contains("a folder"));
}

#[test]
fn every_array_of_numpy_is_read_or_refused() {
    let arrays = fixtures("", ".npy").into_iter().filter(|name| !name.starts_with("refused"));
    let mut read = 0;
    for name in arrays {
        let ids = if name == "f32.npy" { ["1", "2", "30"] } else { ["0", "1", "2"] };
        assert_eq!(read_embeddings(fixture(&name)).unwrap(), expected(ids), "{name}");
        read += 1;
    }
    assert_eq!(read, 9);
    for (name, said) in [
        ("refused_vector.npy", "expected (rows, dim)"),
        ("refused_scalar.npy", "expected (rows, dim)"),
        ("refused_cube.npy", "expected (rows, dim)"),
        ("refused_bytes.npy", "|u1"),
        ("refused_objects.npy", "numpy.stack"),
    ] {
        let error = refusal(name);
        assert!(error.contains(said), "{error} should say {said}");
    }
}

/// A shape that no byte of data contradicts must not be taken for so many rows.
#[test]
fn an_array_without_columns_has_no_rows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    let text = "{'descr': '<f4', 'fortran_order': False, 'shape': (999999999999999999, 0), }\n";
    let bytes = [b"\x93NUMPY\x01\0", &(text.len() as u16).to_le_bytes()[..], text.as_bytes()].concat();
    std::fs::write(&path, bytes).unwrap();
    let error = read_embeddings(&path).unwrap_err().to_string();
    assert!(error.contains("does not fit"), "{error}");
}

#[test]
fn json_lines_of_embeddings_are_read_as_others_write_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    let line = |id: &str| format!("{{\"id\": {id}, \"embedding\": [1, 0.5], \"model\": \"m\"}}");
    let text = format!("\u{feff}{}\r\n\r\n{}\r\n{}", line("7"), line("8.0"), line("\"nine\""));
    std::fs::write(&path, text).unwrap();
    let table = read_embeddings(&path).unwrap();
    assert_eq!(table.ids, ["7", "8", "nine"]);
    let utf16: Vec<u8> = line("7").encode_utf16().flat_map(u16::to_le_bytes).collect();
    std::fs::write(&path, [b"\xff\xfe".to_vec(), utf16].concat()).unwrap();
    let error = read_embeddings(&path).unwrap_err().to_string();
    assert!(error.contains("line 1") && error.contains("save it as UTF-8"), "{error}");
}

#[test]
fn tables_of_texts_are_rows_of_json() {
    for library in ["pandas", "polars", "pyarrow"] {
        let table = ParquetTable::open(fixture(&format!("beir_{library}/corpus.parquet"))).unwrap();
        assert_eq!(table.columns().take(3).collect::<Vec<_>>(), ["_id", "title", "text"], "{library}");
        let mut rows = Vec::new();
        let read = table.for_each_row::<RetrievalError>(&["_id", "title"], |row| {
            rows.push(serde_json::to_string(&row.unwrap()).unwrap());
            Ok(())
        });
        read.unwrap();
        assert_eq!(rows, [r#"{"_id":1,"title":"Dogs"}"#, r#"{"_id":2,"title":""}"#, r#"{"_id":3}"#]);
    }
}
