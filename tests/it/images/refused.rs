//! What is not read says what it is.

use super::{decode, folder};

#[test]
fn what_is_not_read_is_named() {
    for (bytes, expected) in [
        (&b""[..], "it is empty (0 bytes)"),
        (b"II\x2b\0\x08\0\0\0\x10\0\0\0\0\0\0\0", "BigTIFF"),
        (b"MM\0\x2b\0\x08\0\0\0\0\0\0\0\0\0\x10", "BigTIFF"),
    ] {
        let error = decode(bytes).expect_err("no picture").to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn an_overlay_of_pictures_is_called_so() {
    let mut bytes = std::fs::read(folder().join("lossy_grid.heic")).expect("reads");
    let kind = bytes.windows(4).position(|four| four == b"grid").expect("an item of that kind");
    bytes[kind..kind + 4].copy_from_slice(b"iovl");
    let error = decode(&bytes).expect_err("no picture").to_string();
    assert!(error.contains("overlay"), "{error}");
}
