//! A miniature of the 16 data sets in their real layout, made of clips of a few frames.
//!
//! Clips are raw YUV4MPEG2 written here, so no program is needed and bytes are the same everywhere; two are
//! H.264 files of the golden media. Data sets that share a corpus in truth share it here, under other names
//! but with the same bytes.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use image::{Rgb, RgbImage};
use serde_json::{Value, json};

/// Pixels of a generated clip.
pub(crate) const SIZE: (u32, u32) = (64, 48);
/// Frames of a generated clip, and how many there are a second.
const FRAMES: usize = 8;

/// One data set of the miniature.
pub(crate) struct Mini {
    /// The id in the manifest.
    pub(crate) id: &'static str,
    /// Number of queries.
    pub(crate) queries: usize,
    /// The clips of the corpus by number; equal numbers are equal bytes.
    pub(crate) clips: Range<usize>,
    /// Whether it lies in `<id>/UVRB/<id>` instead of `<id>`.
    pub(crate) nested: bool,
    /// What queries are made of.
    query: Content,
}

#[derive(Clone, Copy, PartialEq)]
enum Content {
    Text,
    Image,
    Clip,
    TextAndImage,
    TextAndClip,
}

const fn mini(id: &'static str, queries: usize, clips: Range<usize>, nested: bool, query: Content) -> Mini {
    Mini { id, queries, clips, nested, query }
}

/// The 16 data sets, in the order of the manifest.
pub(crate) const MINI: [Mini; 16] = [
    mini("MSRVTT", 4, 0..4, false, Content::Text),
    mini("DiDeMo", 4, 4..8, true, Content::Text),
    mini("CRB-G", 5, 8..13, false, Content::Text),
    mini("CRB-S", 5, 8..13, true, Content::Text),
    mini("VDC-O", 4, 13..17, false, Content::Text),
    mini("CRB-T", 5, 8..13, false, Content::Text),
    mini("CMRB", 3, 17..23, true, Content::Text),
    mini("DREAM-E", 6, 23..27, false, Content::Text),
    mini("LoVR-TH", 4, 27..31, false, Content::Text),
    mini("PEV-K", 5, 31..37, false, Content::Text),
    mini("LoVR-V", 3, 27..31, true, Content::Text),
    mini("VDC-D", 3, 13..17, false, Content::Text),
    mini("MS-TI", 4, 37..43, false, Content::TextAndImage),
    mini("MS-TV", 4, 37..43, true, Content::TextAndClip),
    mini("MSRVTT-I2V", 4, 0..4, false, Content::Image),
    mini("LoVR-C2V", 4, 27..31, false, Content::Clip),
];

/// Writes all 16 data sets under `root`.
pub(crate) fn make(root: &Path) {
    for mini in &MINI {
        make_one(root, mini);
    }
}

/// Writes one data set under `root` and returns its directory, which holds `jsonl/` and the media.
pub(crate) fn make_one(root: &Path, mini: &Mini) -> PathBuf {
    let mut directory = root.join(mini.id);
    if mini.nested {
        directory = directory.join("UVRB").join(mini.id);
    }
    for folder in ["jsonl", "videos", "images"] {
        fs::create_dir_all(directory.join(folder)).unwrap();
    }
    let corpus: Vec<Value> = mini
        .clips
        .clone()
        .enumerate()
        .map(|(row, number)| {
            let (bytes, suffix) = clip(number);
            let name = format!("{}_{row}.{suffix}", mini.id.to_lowercase());
            fs::write(directory.join("videos").join(&name), bytes).unwrap();
            // Half of the copies name the folder in the path, half do not.
            let video = if mini.nested { name } else { format!("videos/{name}") };
            json!({"id": document_id(mini, row), "video": video})
        })
        .collect();
    let queries: Vec<Value> = (0..mini.queries).map(|query| query_line(&directory, mini, query)).collect();
    write_lines(&directory.join("jsonl/queries.jsonl"), &queries);
    write_lines(&directory.join("jsonl/corpus.jsonl"), &corpus);
    write_lines(&directory.join("jsonl/instances.jsonl"), &instances(mini));
    directory
}

/// Writes JSON lines.
pub(crate) fn write_lines(path: &Path, lines: &[Value]) {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(path, text).unwrap();
}

/// The row of the document that query `query` looks for.
fn target(mini: &Mini, query: usize) -> usize {
    query % mini.clips.len()
}

fn document_id(mini: &Mini, row: usize) -> Value {
    // Some copies number their documents.
    if mini.id == "VDC-O" { json!(100 + row) } else { json!(format!("d{row}")) }
}

fn query_line(directory: &Path, mini: &Mini, query: usize) -> Value {
    let number = mini.clips.start + target(mini, query);
    let mut line = json!({"id": format!("q{query}")});
    if matches!(mini.query, Content::Text | Content::TextAndImage | Content::TextAndClip) {
        line["text"] = json!(caption(number, query));
    }
    if matches!(mini.query, Content::Image | Content::TextAndImage) {
        let name = format!("query_{query}.png");
        frame(number, 3).save(directory.join("images").join(&name)).unwrap();
        line["image"] = json!(format!("images/{name}"));
    }
    if matches!(mini.query, Content::Clip | Content::TextAndClip) {
        let name = format!("query_{query}.y4m");
        fs::write(directory.join("videos").join(&name), y4m(number, 2..6)).unwrap();
        line["video"] = json!(format!("videos/{name}"));
    }
    line
}

fn instances(mini: &Mini) -> Vec<Value> {
    let documents = mini.clips.len();
    let mut lines = Vec::new();
    for query in 0..mini.queries {
        let row = target(mini, query);
        let mut line = json!({"qid": format!("q{query}"), "pos": [document_id(mini, row)], "split": "test"});
        let others: Vec<Value> = (1..4).map(|step| document_id(mini, (row + step) % documents)).collect();
        match mini.id {
            "MS-TI" => {
                let mut candidates = others;
                candidates.insert(query % 4, document_id(mini, row));
                line["candidates"] = json!(candidates);
            }
            "MS-TV" => line["neg"] = json!(others),
            _ => {}
        }
        lines.push(line);
    }
    if mini.id == "LoVR-TH" {
        // Several positives, once in a line of their own and once graded.
        lines.push(json!({"qid": "q0", "pos": ["d1"]}));
        lines[1] = json!({"qid": "q1", "pos": ["d1", "d2"], "grades": [2, 1]});
    }
    lines
}

fn caption(number: usize, query: usize) -> String {
    let [red, green, blue] = colour(number);
    let side = if number.is_multiple_of(2) { "right" } else { "left" };
    format!("Scene {query}: a bar moves {side} over a ground of red {red}, green {green} and blue {blue}.")
}

/// The bytes of clip `number` and the suffix of its name.
pub(crate) fn clip(number: usize) -> (Vec<u8>, &'static str) {
    let golden = |name: &str| {
        let media = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/media");
        (fs::read(media.join(name)).unwrap(), "mp4")
    };
    match number {
        0 => golden("testsrc.mp4"),
        27 => golden("ntsc.mp4"),
        _ => (y4m(number, 0..FRAMES), "y4m"),
    }
}

/// Some frames of clip `number` as YUV4MPEG2: full range, BT.601, 4:2:0.
fn y4m(number: usize, frames: Range<usize>) -> Vec<u8> {
    let (width, height) = SIZE;
    let mut bytes = format!("YUV4MPEG2 W{width} H{height} F8:1 Ip A1:1 C420jpeg\n").into_bytes();
    for index in frames {
        let picture = frame(number, index);
        bytes.extend(b"FRAME\n");
        bytes.extend(picture.pixels().map(|pixel| luma_chroma(pixel.0)[0]));
        for plane in 1..3 {
            for y in (0..height).step_by(2) {
                bytes.extend((0..width).step_by(2).map(|x| luma_chroma(picture.get_pixel(x, y).0)[plane]));
            }
        }
    }
    bytes
}

fn luma_chroma([red, green, blue]: [u8; 3]) -> [u8; 3] {
    let (red, green, blue) = (f32::from(red), f32::from(green), f32::from(blue));
    let luma = 0.299 * red + 0.587 * green + 0.114 * blue;
    let chroma = [0.564 * (blue - luma) + 128.0, 0.713 * (red - luma) + 128.0];
    [luma, chroma[0], chroma[1]].map(|level| level.round() as u8)
}

/// A bar that moves over a ground of the clip's own colour.
pub(crate) fn frame(number: usize, index: usize) -> RgbImage {
    let (width, height) = SIZE;
    let ground = colour(number);
    let bar = ground.map(|level| 255 - level);
    let step = index as u32 * 6;
    let left = if number.is_multiple_of(2) { step } else { width - 12 - step };
    let top = number as u32 * 7 % (height - 16);
    RgbImage::from_fn(width, height, |x, y| {
        let inside = (left..left + 12).contains(&x) && (top..top + 16).contains(&y);
        Rgb(if inside { bar } else { ground })
    })
}

fn colour(number: usize) -> [u8; 3] {
    [number * 67 + 20, number * 131 + 90, number * 29 + 160].map(|level| (level % 256) as u8)
}
