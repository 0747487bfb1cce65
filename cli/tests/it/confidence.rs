//! `gve search --min-confidence`: what fits is shown with how unusual it is, and nothing where nothing fits.

use std::fs;
use std::path::Path;
use std::process::Output;

use gve_test_support::files::text;
use gve_test_support::golden::model;
use gve_test_support::program::{assert_status, json_lines, stderr, stdout};
use image::{Rgb, RgbImage};

use crate::program::gve;

/// Pictures in two colours.
fn pictures(folder: &Path, count: u32) {
    fs::create_dir_all(folder).unwrap();
    for number in 0..count {
        let colour = |seed: u32| Rgb([37, 91, 151].map(|factor| (factor * (seed + 3) % 256) as u8));
        let picture = RgbImage::from_fn(56, 56, |x, y| {
            colour(if (x / 14 + y / 14) % 3 == number % 3 { number } else { number * 7 })
        });
        picture.save(folder.join(format!("{number:02}.png"))).unwrap();
    }
}

#[test]
fn what_fits_is_shown_with_its_confidence() {
    let folder = tempfile::tempdir().unwrap();
    let (few, many) = (folder.path().join("few"), folder.path().join("many"));
    pictures(&few, 4);
    pictures(&many, 60);
    let index = |pictures: &Path, library: &str| {
        let (model, library) = (model(), folder.path().join(library));
        let always = ["index", text(pictures), "--library", text(&library), "--model", text(&model)];
        assert_status(&gve(&always), 0);
    };
    index(&few, "small");
    index(&many, "large");
    let search = |library: &str, more: &[&str]| -> Output {
        let (library, image) = (folder.path().join(library), many.join("03.png"));
        gve(&[&["search", "--library", text(&library), "--image", text(&image), "--instruction", ""], more]
            .concat())
    };
    let confidence =
        |output: &Output| json_lines(output).iter().map(|hit| hit["confidence"].as_f64()).collect::<Vec<_>>();

    let plain = search("large", &["--json"]);
    assert_eq!(confidence(&plain), [None; 10], "only where it is asked for");
    let shown = search("large", &["--json", "--min-confidence", "0"]);
    assert_status(&shown, 0);
    let all = confidence(&shown);
    let best = all[0].unwrap();
    assert!(all.len() == 10 && best > 0.5 && all.is_sorted_by(|a, b| a >= b), "{all:?}");
    // Two digits, of which the last is never rounded up.
    let digits = format!("{:.2}", (best * 100.0).floor() / 100.0);
    let row = stdout(&search("large", &["--min-confidence", "0", "-k", "1"])).to_owned();
    assert!(row.contains(&format!("  {digits}  ")), "{row}");

    // Confidence stays below 1.
    let nothing = search("large", &["--json", "--min-confidence", "1"]);
    assert_status(&nothing, 1);
    assert_eq!(stdout(&nothing), "");
    let said = format!(
        "nothing here fits: the best hit is usual for this library of 60 rows (confidence {digits}, score 1.0000)"
    );
    assert!(stderr(&nothing).contains(&said), "{}", stderr(&nothing));
    // The 60 are those of the library, of which a filter leaves ten.
    let filtered = search("large", &["--min-confidence", "1", "--named", "0*.png"]);
    assert_status(&filtered, 1);
    assert!(stderr(&filtered).contains(&said), "{}", stderr(&filtered));

    let small = search("small", &["--json", "--min-confidence", "1"]);
    assert_status(&small, 0);
    assert_eq!(confidence(&small), [None; 4]);
    assert!(stderr(&small).contains("in a library of 4 rows: none is left out"), "{}", stderr(&small));

    for wrong in ["1.5", "-1", "NaN", "much"] {
        let refused = search("large", &[&*format!("--min-confidence={wrong}")]);
        assert_status(&refused, 1);
        assert!(stderr(&refused).contains("expected a number from 0 to 1"), "{}", stderr(&refused));
    }
}
