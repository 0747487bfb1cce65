//! Embedding files, beside what NumPy writes.

use std::path::{Path, PathBuf};

use gve::retrieval::{EmbeddingFormat, EmbeddingWriter, RetrievalError, read_embeddings};
use ndarray::Array2;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/retrieval").join(name)
}

/// The expected numbers are those in `make_npy.py`.
#[test]
fn npy_files_made_by_numpy_are_read() {
    let table = read_embeddings(fixture("embeddings.npy")).unwrap();
    assert_eq!(table.embeddings, ndarray::array![[0.5, -1.25, 3.0e-8], [1.0, 0.1, -0.0]]);
    assert_eq!(table.ids, ["0", "1"]);
    assert_eq!(read_embeddings(fixture("fortran.npy")).unwrap(), table);
}

/// The file NumPy writes for the same array differs from ours in the padding of the header alone.
#[test]
fn npy_files_hold_the_bytes_numpy_writes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("e.npy");
    let mut writer = EmbeddingWriter::create(&path, EmbeddingFormat::Npy, 3).unwrap();
    writer.write("x", &[0.5, -1.25, 3.0e-8]).unwrap();
    writer.write("y", &[1.0, 0.1, -0.0]).unwrap();
    assert!(!path.exists(), "the name appears with the last byte");
    writer.finish().unwrap();
    let (ours, numpy) = (std::fs::read(&path).unwrap(), std::fs::read(fixture("embeddings.npy")).unwrap());
    assert_eq!(ours, numpy);
    assert_eq!(std::fs::read_to_string(directory.path().join("e.ids.json")).unwrap(), r#"["x","y"]"#);
}

#[test]
fn every_format_comes_back_as_it_was_written() {
    let directory = tempfile::tempdir().unwrap();
    let rows = Array2::from_shape_fn((5000, 6), |(i, j)| ((i * 6 + j) as f32 * 0.01).sin());
    for (name, format) in [
        ("e.jsonl", EmbeddingFormat::JsonLines),
        ("e.npy", EmbeddingFormat::Npy),
        ("e.parquet", EmbeddingFormat::Parquet),
    ] {
        for count in [0, 1, 5000] {
            let path = directory.path().join(name);
            let mut writer = EmbeddingWriter::create(&path, format, 6).unwrap();
            assert!(writer.write("bad", &[0.0; 5]).is_err());
            assert!(writer.write("bad", &[f32::NAN; 6]).is_err());
            for (i, row) in rows.rows().into_iter().take(count).enumerate() {
                writer.write(&format!("id {i}"), row.as_slice().unwrap()).unwrap();
            }
            writer.finish().unwrap();
            let table = read_embeddings(&path).unwrap();
            assert_eq!(table.ids, (0..count).map(|i| format!("id {i}")).collect::<Vec<_>>(), "{name}");
            assert_eq!(table.embeddings.nrows(), count);
            assert!(
                table.embeddings.rows().into_iter().eq(rows.rows().into_iter().take(count)),
                "{name} is exact"
            );
        }
    }
    assert!(matches!(
        read_embeddings(directory.path().join("e.bin")),
        Err(RetrievalError::UnknownFormat { .. })
    ));
}

#[test]
fn abandoned_files_leave_the_old_one_alone() {
    let directory = tempfile::tempdir().unwrap();
    for (name, format) in [
        ("e.jsonl", EmbeddingFormat::JsonLines),
        ("e.npy", EmbeddingFormat::Npy),
        ("e.parquet", EmbeddingFormat::Parquet),
    ] {
        let path = directory.path().join(name);
        std::fs::write(&path, "old").unwrap();
        let mut writer = EmbeddingWriter::create(&path, format, 1).unwrap();
        writer.write("x", &[1.0]).unwrap();
        drop(writer);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 3, "no temporary file is left");
}

#[test]
fn broken_files_are_errors_that_say_where() {
    let directory = tempfile::tempdir().unwrap();
    let numpy = std::fs::read(fixture("embeddings.npy")).unwrap();
    let huge = String::from_utf8_lossy(&numpy[10..128]).replace("(2, 3)", "(999999999999, 999999999)");
    let huge = [&numpy[..10], &huge.as_bytes()[..118], &numpy[128..]].concat();
    for (name, bytes, expected) in [
        ("a.npy", b"\x93NUM".to_vec(), "too short"),
        ("b.npy", b"NOT NUMPY AT ALL".to_vec(), "does not begin"),
        ("c.npy", numpy[..numpy.len() - 1].to_vec(), "does not fit"),
        ("d.npy", huge, "does not fit"),
        (
            "a.jsonl",
            b"{\"id\":\"a\",\"embedding\":[1.0]}\n{\"id\":\"b\",\"embedding\":[1.0,2.0]}\n".to_vec(),
            "line 2: dimension 2, expected 1",
        ),
        ("b.jsonl", b"\n{\"id\":1}\n".to_vec(), "line 2"),
        ("a.parquet", b"PAR1PAR1PAR1PAR1".to_vec(), "a.parquet"),
    ] {
        let path = directory.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let error = read_embeddings(&path).unwrap_err().to_string();
        assert!(error.contains(expected) && error.lines().count() == 1, "{error} should say {expected}");
    }
}
