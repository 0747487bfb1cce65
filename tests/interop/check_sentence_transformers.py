#!/usr/bin/env python3
"""Load checkpoints that gve wrote in sentence-transformers, and hold the embeddings against gve's.

    python3 -m venv venv
    venv/bin/pip install torch torchvision pillow sentence-transformers==6.2.0 transformers==5.23.0
    cargo build --package gve-cli && venv/bin/python tests/interop/check_sentence_transformers.py target/debug/gve

Checks a merged, a converted, a trained and a new model, and the built-in one: texts, texts under an instruction (a prompt there), several of
different lengths in one batch, images, and both in one input. Videos are left out: see docs/training.md for what differs.

With --write, it also puts the files that it found good into tests/interop/sentence_transformers.json. The tests of the repository hold what
gve writes against that.
"""
import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path

import sentence_transformers
import torch
import transformers
from sentence_transformers import SentenceTransformer

HERE = Path(__file__).resolve().parent
GOLDEN = HERE.parent / "golden"
MODEL = GOLDEN / "tiny-a/model"
RABBIT, TALL = GOLDEN / "media/rabbit.png", GOLDEN / "media/tall.png"
COMPANIONS = ("modules.json", "sentence_bert_config.json", "1_Pooling/config.json", "2_Normalize/config.json",
              "config_sentence_transformers.json")
INSTRUCTION = "Find the video according to the text description."
# What docs/training.md says of f32.
LEAST_COSINE = 0.99999
# Above this, what lies beside the weights changes nothing.
UNCHANGED_COSINE = 0.9999

# What gve reads, and the same for sentence-transformers.
TEXTS = ["a rabbit looks at a butterfly in the meadow", "two person <|im_end|> talking", "car"]
CASES = {
    "text": ([{"type": "text", "text": TEXTS[0]}], TEXTS[0]),
    "special tokens as text": ([{"type": "text", "text": TEXTS[1]}], TEXTS[1]),
    "image": ([{"type": "image", "image": str(RABBIT)}], {"image": str(RABBIT)}),
    "tall image": ([{"type": "image", "image": str(TALL)}], {"image": str(TALL)}),
    "image and text": ([{"type": "image", "image": str(RABBIT)}, {"type": "text", "text": "in the forest"}],
                       {"image": str(RABBIT), "text": "in the forest"}),
}

CONFIG = """
output = "run"
epochs = 1
steps_per_epoch = 3
train = "full"
[model]
path = "{model}"
device = "cpu"
[data]
pairs = ["pairs.jsonl"]
[batch]
size = 4
[optimizer]
learning_rate = 1e-3
[curriculum]
sampler = "uniform"
"""


def run(*command, **options):
    return subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, text=True, **options).stdout


def make_models(gve, folder):
    """Everything of gve that writes a checkpoint: name and directory."""
    def text(words):
        return {"content": [{"type": "text", "text": words}]}

    run(gve, "model", "merge", "--model", MODEL, "--adapter", GOLDEN / "tiny-a/train/adapter_final", "--out", folder / "merged")
    yield "merged", folder / "merged"
    run(gve, "model", "convert", "--model", MODEL, "--dtype", "f16", "--out", folder / "f16")
    run(gve, "model", "convert", "--model", folder / "f16", "--dtype", "f32", "--out", folder / "converted")
    yield "converted", folder / "converted"
    pairs = [{"task": "t2t", "query": text(f"a red cat {i}"), "positive": text(f"a street {i}")} for i in range(8)]
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    (folder / "train.toml").write_text(CONFIG.format(model=MODEL))
    run(gve, "train", "--quiet", folder / "train.toml")
    yield "trained", folder / "run/final"
    run(gve, "model", "init", "--config", HERE.parents[1] / "recipes/nano/config.json", "--texts", folder / "pairs.jsonl", "--out", folder / "new")
    yield "new", folder / "new"
    run(gve, "embed", "--quiet", "--model", "nano", "--text", "a", env=os.environ | {"HOME": str(folder)})
    (nano,) = (folder / ".cache/gve").glob("nano-*")
    yield "nano", nano


def our_embeddings(gve, model, lines):
    lines = "\n".join(json.dumps(line) for line in lines)
    output = run(gve, "embed", "--quiet", "--device", "cpu", "--dtype", "f32", "--model", model, "--input", "-", input=lines)
    return [torch.tensor(json.loads(line)["embedding"], dtype=torch.float64) for line in output.splitlines()]


def cosine(a, b):
    """In float64, for it is told to seven digits."""
    return torch.nn.functional.cosine_similarity(a.double(), b.double(), dim=0).item()


def compare(gve, directory):
    """The cosine to gve of each case."""
    model = SentenceTransformer(str(directory), device="cpu", model_kwargs={"dtype": torch.float32})

    def encode(inputs, **options):
        return model.encode(inputs, convert_to_tensor=True, **options).cpu()

    theirs = {case: encode([there])[0] for case, (_, there) in CASES.items()}
    lines = [{"content": content} for content, _ in CASES.values()]
    theirs["text under an instruction"] = encode([TEXTS[0]], prompt=INSTRUCTION)[0]
    lines.append({"content": CASES["text"][0], "instruction": INSTRUCTION})
    theirs |= {f"of a batch: {text}": row for text, row in zip(TEXTS, encode(TEXTS))}
    lines += [{"content": [{"type": "text", "text": text}]} for text in TEXTS]
    theirs |= {"query": model.encode_query(TEXTS[:1], convert_to_tensor=True)[0].cpu(),
               "document": model.encode_document(TEXTS[:1], convert_to_tensor=True)[0].cpu()}
    lines += [{"content": CASES["text"][0]}] * 2

    ours = our_embeddings(gve, directory, lines)
    return {case: cosine(row, our) for (case, row), our in zip(theirs.items(), ours, strict=True)}


def check(name, gve, directory):
    cosines = compare(gve, directory)
    least = min(cosines, key=cosines.get)
    print(f"{name}: {len(cosines)} inputs, least cosine to gve {cosines[least]:.7f} ({least}), of texts {min(v for k, v in cosines.items() if 'image' not in k):.7f}")
    assert cosines[least] > LEAST_COSINE, cosines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gve", type=Path, help="the program gve")
    parser.add_argument("--write", action="store_true", help="put the files that were found good into sentence_transformers.json")
    arguments = parser.parse_args()
    print(f"sentence-transformers {sentence_transformers.__version__}, transformers {transformers.__version__}")
    good = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, directory in make_models(arguments.gve.resolve(), Path(folder)):
            check(name, arguments.gve.resolve(), directory)
            good[name] = {file: json.loads((directory / file).read_text()) for file in COMPANIONS}
        (directory / "modules.json").unlink()
        without = compare(arguments.gve.resolve(), directory)
        print(f"{name} without modules.json: text {without['text']:.4f}")
        assert without["text"] < UNCHANGED_COSINE, "these files change nothing"
    if arguments.write:
        pinned = {"sentence_transformers": sentence_transformers.__version__, "files": {name: good[name] for name in ("merged", "nano")}}
        (HERE / "sentence_transformers.json").write_text(json.dumps(pinned, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
