//! What the model cards of a run say, and which are a person's.

use std::fs;
use std::path::Path;

use gve_test_support::files::text;
use gve_test_support::golden::model;
use gve_test_support::push_hub::{PushHub, TOKEN};
use serde_json::Value;

use super::{Bench, FULL, assert_status, run, stderr};
use crate::program::{command, gve};

/// Four steps, of which each that is even is scored.
const SHORT: [(&str, &str); 4] =
    [("epochs", "1"), ("steps_per_epoch", "4"), ("evaluation.every_steps", "2"), ("negatives.mined", "0")];

fn card(directory: &Path) -> String {
    fs::read_to_string(directory.join("README.md")).unwrap()
}

fn adapter_config(directory: &Path) -> Value {
    serde_json::from_slice(&fs::read(directory.join("adapter_config.json")).unwrap()).unwrap()
}

#[track_caller]
fn assert_says(card: &str, parts: &[&str]) {
    for part in parts {
        assert!(card.contains(part), "{part:?} is not in {card}");
    }
}

/// The test checkpoint as the hub's cache has it, with a card of its own; gives the folder.
fn cached(bench: &Bench) -> std::path::PathBuf {
    let snapshot = bench.path("hub/models--acme--base/snapshots/0123456789abcdef0123456789abcdef01234567");
    fs::create_dir_all(&snapshot).unwrap();
    for entry in fs::read_dir(model()).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, snapshot.join(path.file_name().unwrap())).unwrap();
    }
    let head = "---\nlicense: other\nlicense_name: acme-terms\nlicense_link: LICENSE\n---\n# Base of Acme\n";
    fs::write(snapshot.join("README.md"), head).unwrap();
    snapshot
}

#[test]
fn a_run_says_what_it_knows_of_its_weights() {
    let bench = Bench::new();
    let more = [("loss.matryoshka_dims", "[16]"), ("lora.use_rslora", "true")];
    assert_status(&run(&bench.config("run", &[&SHORT[..], &more].concat()), &[]), 0);
    let [last, best] = ["final", "best"].map(|name| bench.path("run").join(name));
    let said = card(&last);
    assert_says(
        &said,
        &[
            "---\nlibrary_name: peft\npipeline_tag: feature-extraction\ntags:\n- gve\n",
            "- matryoshka\n",
            "A LoRA adapter of a model in a folder called `model`",
            "the weights at the end of the run, after 4 of 4 steps",
            "| may be cut to | 16 |",
            "| licence | What it was made from names no licence",
            "gve embed --text \"a dog runs\" --model BASE --adapter FOLDER",
            "from transformers import Qwen2_5_VLForConditionalGeneration",
            "| `pairs.jsonl` | pairs | 13 | - |",
            "| i2t | 4 | 4 |",
            "| t2t | 9 | 9 |",
            "| pairs in a batch | 3 |",
            "| learning rate | 1e-3, cosine, 2 steps of warm-up |",
            "| kind | rsLoRA |",
            "| also trained at widths (Matryoshka) | 16 |",
        ],
    );
    // Nothing of the machine, and nothing that is not known.
    assert!(!said.contains(text(bench.folder.path())) && !said.contains("\nbase_model"), "{said}");
    assert!(!said.contains("\nlicense") && !said.contains("\ndatasets"), "{said}");
    // Scores are those of the log.
    let log = bench.log("run");
    let at = |step: u64| {
        let line = log.iter().find(|line| line["event"] == "evaluation" && line["step"] == step).unwrap();
        line["recall"]["t2t"]["recall@1"].as_f64().unwrap()
    };
    assert_says(
        &said,
        &[
            &format!("| `recall@1/t2t` | {:.4} | {:.4} |", at(0), at(4)),
            "    - name: \"recall@1\"\n      type: recall_at_1\n",
        ],
    );
    assert_says(
        &card(&best),
        &["the best weights of the run up to here by `recall@1`", "| chosen by | `recall@1` |"],
    );
    // What PEFT and sentence-transformers look for is there.
    crate::interop::assert_described(&last, "merged");
    assert!(last.join("tokenizer.json").is_file() && !last.join("config.json").exists());
    let pictures = fs::read_to_string(last.join("preprocessor_config.json")).unwrap();
    assert_says(&pictures, &["\"processor_class\": \"Qwen2_5_VLProcessor\""]);
    assert_says(&said, &["- sentence-transformers\n", "model = SentenceTransformer(\"FOLDER\")"]);
    let base = adapter_config(&last);
    assert_eq!(Path::new(base["base_model_name_or_path"].as_str().unwrap()), model().canonicalize().unwrap());
    assert_eq!(base["revision"], Value::Null);

    // Sent with a base that others find, the card names that one throughout.
    let hub = PushHub::start(1 << 20);
    let mut push = command(&["model", "push", text(&last), "acme/run", "--base", "acme/base", "--yes"]);
    push.env("HF_ENDPOINT", &hub.endpoint).env("HF_TOKEN", TOKEN).env("HF_HOME", bench.path("cache"));
    assert_status(&push.output().unwrap(), 0);
    let sent = String::from_utf8(hub.files("acme/run", "main")["README.md"].clone()).unwrap();
    let head = "base_model: acme/base\nbase_model_relation: adapter\n---\n";
    assert_says(&sent, &[head, "--model acme/base --adapter FOLDER", "from_pretrained(\"acme/base\")"]);
    assert!(!sent.contains("BASE") && !sent.contains("on the machine of the run"), "{sent}");
    let mark = |card: &str| card.lines().last().unwrap().to_owned();
    assert!(mark(&sent).starts_with("<!-- gve ") && mark(&sent) != mark(&said), "{sent}");

    // Under other names, it says so, what it was trained on, and nothing of what does not hold any more.
    let flat = bench.path("flat");
    let rename = ["model", "adapter", "--adapter", text(&last), "--layout", "flat", "--out", text(&flat)];
    assert_status(&gve(&rename), 0);
    let renamed = card(&flat);
    let says = [
        "---\nlibrary_name: peft\npipeline_tag: feature-extraction\ntags:\n- gve\n",
        "# flat\n",
        "| names of its tensors | as in transformers up to 4.51 |",
        "--model BASE --adapter FOLDER",
        "| `pairs.jsonl` | pairs | 13 | - |",
        "| kind | rsLoRA |",
    ];
    assert_says(&renamed, &says);
    assert!(
        !renamed.contains("sentence-transformers") && !renamed.contains("SentenceTransformer"),
        "{renamed}"
    );
    fs::write(last.join("README.md"), "# Mine\n").unwrap();
    let theirs = bench.path("theirs");
    let output = gve(&["model", "adapter", "--adapter", text(&last), "--out", text(&theirs)]);
    assert_status(&output, 0);
    assert!(stderr(&output).contains("README.gve.md"), "{}", stderr(&output));
    assert_eq!(card(&theirs), "# Mine\n");
    assert_says(&fs::read_to_string(theirs.join("README.gve.md")).unwrap(), &["since 4.52"]);
}

#[test]
fn a_base_on_the_hub_is_named_with_its_terms() {
    let bench = Bench::new();
    let base = cached(&bench);
    let path = format!("{:?}", text(&base));
    let base_is = [("model.path", path.as_str())];
    assert_status(&run(&bench.config("run", &[&SHORT[..], &base_is].concat()), &[]), 0);
    let last = bench.path("run/final");
    let head = "---\nbase_model: acme/base\nbase_model_relation: adapter\nlibrary_name: peft\n";
    let terms = "license: other\nlicense_name: acme-terms\nlicense_link: \"https://huggingface.co/acme/base/blob/main/LICENSE\"\n";
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let load = format!("from_pretrained(\"acme/base\", revision=\"{commit}\")");
    assert_says(&card(&last), &[head, terms, &load, "--model acme/base --adapter FOLDER"]);
    let config = adapter_config(&last);
    assert_eq!(
        (&config["base_model_name_or_path"], &config["revision"]),
        (&"acme/base".into(), &commit.into())
    );

    // Folded in, the card goes on, and that of the base is not taken for it.
    let merged = bench.path("merged");
    let arguments =
        ["model", "merge", "--model", text(&base), "--adapter", text(&last), "--out", text(&merged)];
    assert_status(&gve(&arguments), 0);
    let said = card(&merged);
    assert_says(
        &said,
        &[
            "---\nbase_model: acme/base\nbase_model_relation: finetune\nlibrary_name: sentence-transformers\n",
            "license_name: acme-terms\n",
            "# merged\n",
            "| t2t | 9 | 9 |",
            "SentenceTransformer(\"FOLDER\")",
        ],
    );
    assert!(!said.contains("Base of Acme"), "{said}");
    // In another precision it is the same model.
    let converted = bench.path("converted");
    let arguments =
        ["model", "convert", "--model", text(&base), "--dtype", "bf16", "--out", text(&converted)];
    assert_status(&gve(&arguments), 0);
    assert_says(&card(&converted), &["# Base of Acme\n"]);

    // All weights.
    assert_status(&run(&bench.config("all", &[&SHORT[..], &base_is, &FULL].concat()), &[]), 0);
    let said = card(&bench.path("all/final"));
    assert_says(
        &said,
        &[
            "base_model_relation: finetune\nlibrary_name: sentence-transformers\npipeline_tag: sentence-similarity\n",
            "Muon",
        ],
    );
    assert!(!said.contains("LoRA") && !said.contains("Base of Acme"), "{said}");
}

#[test]
fn a_card_that_a_person_changed_stays() {
    let bench = Bench::new();
    let settings = [&SHORT[1..], &[("lora.layout", "\"flat\"")]].concat();
    assert_status(&run(&bench.config("run", &[&settings[..], &[("epochs", "1")]].concat()), &[]), 0);
    let last = bench.path("run/final");
    // sentence-transformers comes with a transformers that has other names.
    assert_says(&card(&last), &["# Up to transformers 4.51, whose names the adapter has.\n"]);
    assert!(!last.join("modules.json").exists() && !card(&last).contains("sentence"), "{}", card(&last));
    let theirs = card(&last).replace("# run", "# My model");
    fs::write(last.join("README.md"), &theirs).unwrap();
    let longer = bench.config("run", &[&settings[..], &[("epochs", "2")]].concat());
    let output = run(&longer, &["--resume", "auto"]);
    assert_status(&output, 0);
    assert!(
        stderr(&output).contains("README.md that a person wrote or changed: it stays"),
        "{}",
        stderr(&output)
    );
    assert_eq!(card(&last), theirs);
    let ours = fs::read_to_string(last.join("README.gve.md")).unwrap();
    assert_says(&ours, &["# run\n", "after 8 of 8 steps"]);
    // One that nobody changed is that of the weights beside it.
    let best = card(&bench.path("run/best"));
    assert!(!bench.path("run/best/README.gve.md").exists() && best.contains("# run\n"));
}
