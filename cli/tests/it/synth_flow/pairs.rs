//! What is in the pairs, and what is not and why.

use super::*;

/// The clips of a finished run, by id: each as a part of an input, where it begins, and its length in
/// seconds.
fn clips(site: &Site) -> BTreeMap<String, (Value, f64, f64)> {
    let mut clips = BTreeMap::new();
    let videos: BTreeMap<String, Value> = site.journal("videos").into_iter().collect();
    for (number, (path, facts)) in videos.iter().enumerate() {
        for (i, clip) in facts["clips"].as_array().unwrap().iter().enumerate() {
            let mut part = json!({"type": "video", "video": path});
            for side in ["start", "end"].into_iter().filter(|side| !clip[side].is_null()) {
                part[side] = clip[side].clone();
            }
            let start = clip["start"].as_f64().unwrap_or(0.0);
            let end = clip["end"].as_f64().or(facts["seconds"].as_f64()).unwrap();
            clips.insert(format!("v{number:05}-c{i:03}"), (part, start, end - start));
        }
    }
    clips
}

/// The frame of a clip as a part of an input.
fn frame(clip: &str) -> Value {
    json!({"type": "image", "image": format!("frames/{clip}.jpg")})
}

fn words(text: &Value) -> Value {
    json!({"type": "text", "text": text})
}

impl Site {
    /// The facts of a journal.
    fn journal(&self, name: &str) -> Vec<(String, Value)> {
        let text = std::fs::read_to_string(self.out().join(format!("journal/{name}.jsonl"))).unwrap();
        let line = |line: &str| {
            let line: Value = serde_json::from_str(line).unwrap();
            (line["key"].as_str().unwrap().to_owned(), line["value"].clone())
        };
        text.lines().map(line).collect()
    }

    /// What the captioner said, by question: `captions v00000-c000`, `frame v00000-c000 frame`, `composed
    /// ti2v v00000-c000`.
    fn said(&self) -> HashMap<String, Value> {
        let said = self.journal("replies").into_iter().map(|(key, reply)| {
            let (question, _hash) = key.rsplit_once(' ').unwrap();
            (question.to_owned(), serde_json::from_str(reply.as_str().unwrap()).unwrap())
        });
        said.collect()
    }
}

#[test]
fn every_pair_leads_from_what_its_kind_says_to_its_clip() {
    let (site, stub) = (Site::new(), good());
    assert_status(&site.run(&stub.base_url, &[]), 0);
    let (clips, said, composed) = (clips(&site), site.said(), site.report("extension"));
    assert_eq!((clips.len(), composed.len()), (CLIPS, 2 * CLIPS));
    let caption = |clip: &str, style: &str| match &said[&format!("captions {clip}")][style] {
        Value::Array(keywords) => {
            json!(keywords.iter().map(|keyword| keyword.as_str().unwrap()).collect::<Vec<_>>().join(", "))
        }
        text => text.clone(),
    };
    let partner = |clip: &str, task: &str| {
        let of = |verdict: &&Value| {
            verdict["style"] == task && verdict["item"].as_str().unwrap().starts_with(clip)
        };
        let item = composed.iter().find(of).unwrap()["item"].as_str().unwrap();
        item.split_once(" from ").unwrap().1.to_owned()
    };
    for line in site.pairs().lines() {
        let pair: Value = serde_json::from_str(line).unwrap();
        let (task, source) = (pair["task"].as_str().unwrap(), pair["source"].as_str().unwrap());
        let (clip, rest) = source.split_once(' ').unwrap_or((source, ""));
        let (part, start, seconds) = &clips[clip];
        let (query, target) = match task {
            "t2v" => (json!([words(&caption(clip, rest))]), part.clone()),
            "t2t" => {
                let (from, to) = rest.split_once(" to ").unwrap();
                assert_ne!(from, to);
                (json!([words(&caption(clip, from))]), words(&caption(clip, to)))
            }
            "t2i" => (json!([words(&said[&format!("frame {clip} frame")]["caption"])]), frame(clip)),
            "i2v" => (json!([frame(clip)]), part.clone()),
            "v2v" => {
                let piece = &pair["query"]["content"][0];
                let [from, to] = ["start", "end"].map(|side| piece[side].as_f64().unwrap());
                // Times are in milliseconds.
                assert!(from >= start - 2e-3 && to <= start + seconds + 2e-3, "{line}");
                assert!((0.24..0.51).contains(&((to - from) / seconds)), "{line}");
                let video = &part["video"];
                (json!([{"type": "video", "video": video, "start": from, "end": to}]), part.clone())
            }
            _ => {
                let from = partner(clip, task);
                assert_ne!(from, clip);
                let reference = if task == "ti2v" { frame(&from) } else { clips[&from].0.clone() };
                let text = words(&said[&format!("composed {task} {clip}")]["query"]);
                (json!([reference, text]), part.clone())
            }
        };
        assert_eq!(pair["query"], json!({"content": query}), "{line}");
        assert_eq!(pair["positive"], json!({"content": [target]}), "{line}");
        assert!(pair.get("negatives").is_none());
    }
}

#[test]
fn queries_are_composed_of_what_was_said_of_both_clips() {
    let (site, stub) = (Site::new(), good());
    assert_status(&site.run(&stub.base_url, &[]), 0);
    let (said, composed) = (site.said(), site.report("extension"));
    for request in stub.requests().iter().filter(|request| name(request) == "composed") {
        let query = serde_json::from_str::<Value>(&reply(request)).unwrap()["query"].clone();
        let verdict = composed.iter().find(|verdict| verdict["text"] == query).unwrap();
        let (to, from) = verdict["item"].as_str().unwrap().split_once(" from ").unwrap();
        let told = match verdict["style"].as_str().unwrap() {
            "ti2v" => &said[&format!("frame {from} frame")]["caption"],
            _ => &said[&format!("captions {from}")]["summary"],
        };
        let (told, summary) =
            (told.as_str().unwrap(), said[&format!("captions {to}")]["summary"].as_str().unwrap());
        let prompt = parts(request)[0]["text"].as_str().unwrap();
        assert!(prompt.contains(&format!(", which shows: {told}\nThe target is a clip of ")), "{prompt}");
        assert!(prompt.contains(&format!(" seconds, which shows: {summary}\n")), "{prompt}");
    }
}

/// What an item was dropped by, and why.
fn dropped(verdicts: &[Value], style: &str) -> Vec<(String, String)> {
    let of_style = verdicts.iter().filter(|verdict| verdict["style"] == style);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    of_style.map(|verdict| (text(&verdict["dropped_by"]), text(&verdict["reason"]))).collect()
}

#[test]
fn composed_queries_that_are_none_are_dropped_and_named() {
    let site = Site::new();
    // Declines to compose with a picture, and gives the caption of the target where it is to compose with a
    // clip.
    let stub = Stub::start(|_, request| {
        let mut said: Value = serde_json::from_str(&reply(request)).unwrap();
        let prompt = parts(request)[0]["text"].as_str().unwrap();
        match name(request) {
            "captions" => {
                let summary = said["summary"].as_str().unwrap().to_owned();
                said["summary"] = json!(format!("{summary} the wooden bridge before sunset"));
            }
            "composed" if prompt.contains("The reference is a picture,") => {
                said = json!({"usable": false, "query": "", "from_reference": "", "from_text": ""});
            }
            "composed" => {
                let (_, told) = prompt.rsplit_once(" seconds, which shows: ").unwrap();
                said["query"] = json!(told.lines().next().unwrap());
            }
            _ => {}
        }
        says(&said.to_string())
    });
    let output = site.run(&stub.base_url, &[]);
    assert_status(&output, 0);
    assert!(stdout(&output).contains("declined 4, tells_all 4"), "{}", stdout(&output));
    let verdicts = site.report("extension");
    for (style, filter, why) in [
        ("ti2v", "declined", "unrelated, or the same"),
        ("tv2v", "tells_all", "all that the target's caption"),
    ] {
        let dropped = dropped(&verdicts, style);
        assert_eq!(dropped.len(), CLIPS);
        assert!(dropped.iter().all(|(by, reason)| by == filter && reason.contains(why)), "{dropped:?}");
    }
    assert!(!site.pairs().contains("ti2v") && !site.pairs().contains("tv2v"));

    // Where there is one clip, there is nothing to compose its query with.
    let site = Site::new();
    std::fs::remove_file(site.videos().join("testsrc.mp4")).unwrap();
    assert_status(&site.run(&good().base_url, &["--clips-per-video", "1"]), 0);
    for style in ["ti2v", "tv2v"] {
        let expected = ("no_partner".to_owned(), "there is no other clip".to_owned());
        assert_eq!(dropped(&site.report("extension"), style), [expected]);
    }
}

#[test]
fn clips_that_are_dropped_take_what_was_said_of_them_along() {
    let (site, stub) = (Site::new(), good());
    let captions = site.folder.path().join("captions.jsonl");
    let line = json!({"video": "videos/bunny.mp4", "caption": "a rabbit in the grass"});
    std::fs::write(&captions, line.to_string()).unwrap();
    let more = ["--captions", text(&captions), "--min-motion", "0.9", "--until", "quality"];
    assert_status(&site.run(&stub.base_url, &more), 0);
    let expected = ("clip_dropped".to_owned(), "its clip was dropped".to_owned());
    assert_eq!(dropped(&site.report("quality"), "source"), [expected]);

    // A frame that is damaged before it is embedded.
    let site = Site::new();
    assert_status(&site.run(&stub.base_url, &["--until", "quality"]), 0);
    std::fs::remove_dir_all(site.out().join("clips")).unwrap();
    std::fs::write(site.out().join("frames/v00000-c000.jpg"), "no picture").unwrap();
    let output = site.run(&stub.base_url, &["--quiet"]);
    assert_status(&output, 2);
    assert!(stderr(&output).contains("v00000-c000") && stderr(&output).lines().count() == 1);
    let of = |verdict: &Value| verdict["dropped_by"] == "not_embedded" && verdict["item"] == "v00000-c000";
    assert!(site.report("quality").iter().any(of));
    assert!(!site.pairs().contains("v00000-c000") && site.pairs().contains("v00000-c001"));
    assert_eq!(stub.requests().len(), QUESTIONS - 4);
}
