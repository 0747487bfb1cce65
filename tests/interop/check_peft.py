#!/usr/bin/env python3
"""Load adapters that gve wrote in PEFT, and hold the embeddings against gve's.

PEFT binds the tensors of an adapter by name and, where a name fits nothing, leaves the adapter at zero behind a warning. So this
counts what was bound and compares what comes out, for each kind of adapter that gve trains. Where sentence-transformers is there, its
models load them, too. Run it with each line of transformers that adapters are written for:

    python3 -m venv new && new/bin/pip install torch torchvision pillow transformers==5.24.0 peft==0.21.2 sentence-transformers==6.2.0
    python3 -m venv mid && mid/bin/pip install torch torchvision pillow transformers==4.57.6 peft==0.17.1
    python3 -m venv old && old/bin/pip install torch torchvision pillow transformers==4.51.3 peft==0.17.1
    cargo build --package gve-cli
    for python in new mid old; do $python/bin/python tests/interop/check_peft.py target/debug/gve; done

With --write, it also puts the names that PEFT bound, and the `target_modules` that it bound them by, into tests/interop/peft.json under
the layout of this transformers. The tests of the repository hold what gve writes against that file.
"""
import argparse
import json
import subprocess
import tempfile
import warnings
from importlib.util import find_spec
from pathlib import Path

import peft
import torch
import transformers
from PIL import Image
from safetensors import safe_open
from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration

HERE = Path(__file__).resolve().parent
GOLDEN = HERE.parent / "golden"
MODEL = GOLDEN / "tiny-a/model"
IMAGE = GOLDEN / "media/tall.png"
TEXT = "a red bicycle in the meadow"
# Since 4.52 the language model has a name of its own within the model.
LAYOUT = "nested" if tuple(map(int, transformers.__version__.split(".")[:2])) >= (4, 52) else "flat"
# What docs/training.md says of f32.
LEAST_COSINE = 0.99999
# Above this, an adapter changes nothing.
UNCHANGED_COSINE = 0.9999
HAS_SENTENCE_TRANSFORMERS = bool(find_spec("sentence_transformers")) and int(transformers.__version__.split(".")[0]) >= 5

CONFIG = """
output = "run"
epochs = 1
steps_per_epoch = 4
[model]
path = "{model}"
device = "cpu"
[lora]
r = 4
alpha = 8.0
layout = "{layout}"
{lora}
[data]
pairs = ["pairs.jsonl"]
[batch]
size = 4
[optimizer]
learning_rate = 1e-2
[curriculum]
sampler = "uniform"
"""

# What `[lora]` says besides, by kind.
KINDS = {
    "lora": "",
    "rslora": "use_rslora = true",
    "dora": "use_dora = true",
    "vision": "vision = true\ntarget_modules = ['q_proj', 'qkv', 'gate_proj', 'attn.proj']",
    "everything": "target_modules = 'all-linear'\nuse_dora = true\nuse_rslora = true",
    "saved": "modules_to_save = ['norm', 'embed_tokens']",
    "saved, merger": "modules_to_save = ['norm', 'merger']",
}
PICTURES = ["golden/media/rabbit.png", "golden/media/tall.png", "images/baseline.jpg", "images/progressive.jpg"]


def run(*command):
    return subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE, text=True).stdout


def train(gve, folder, lora):
    """An adapter trained for a few steps; the first has a rate of 0 for no warm-up, so B is not zero behind the second."""
    def text(words):
        return {"content": [{"type": "text", "text": words}]}

    folder.mkdir()
    pairs = [{"task": "t2i", "query": text(f"a picture called {Path(picture).stem}"),
              "positive": {"content": [{"type": "image", "image": str(HERE.parent / picture)}]}} for picture in PICTURES]
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, pairs)))
    (folder / "train.toml").write_text(CONFIG.format(model=MODEL, layout=LAYOUT, lora=lora))
    run(gve, "train", "--quiet", folder / "train.toml")
    return folder / "run/final"


def our_embeddings(gve, adapter=()):
    lines = run(gve, "embed", "--quiet", "--device", "cpu", "--model", MODEL, "--text", TEXT, "--image", IMAGE, *adapter)
    return [torch.tensor(json.loads(line)["embedding"], dtype=torch.float64) for line in lines.splitlines()]


def cosine(a, b):
    """In float64, for it is told to seven digits."""
    return torch.nn.functional.cosine_similarity(a.double(), b.double(), dim=0).item()


def their_inputs():
    """The same text and image as transformers has them, up to the token that is pooled."""
    processor = AutoProcessor.from_pretrained(MODEL)
    for part in ({"type": "text", "text": TEXT}, {"type": "image"}):
        message = [{"role": "user", "content": [part]}]
        prompt = processor.apply_chat_template(message, tokenize=False, add_generation_prompt=True) + "<|endoftext|>"
        images = [Image.open(IMAGE).convert("RGB")] if part["type"] == "image" else None
        yield processor(text=[prompt], images=images, return_tensors="pt")


@torch.no_grad()
def check(name, gve, adapter):
    """Everything is bound, nothing is zero, and the embeddings are ours. Returns the names in the file."""
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(MODEL).float().eval()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = peft.PeftModel.from_pretrained(model, adapter)
        result = model.load_adapter(adapter, "again")
        model.set_adapter("default")
    complaints = [str(warning.message) for warning in caught if "missing adapter keys" in str(warning.message)]
    missing = [key for key in result.missing_keys if "lora_" in key or "modules_to_save" in key]
    assert not complaints and not missing and not result.unexpected_keys, (complaints, missing, result.unexpected_keys)
    with safe_open(adapter / "adapter_model.safetensors", "pt") as file:
        names, metadata = sorted(file.keys()), file.metadata()
    assert metadata == {"format": "pt"}, metadata
    parameters = dict(model.named_parameters())
    parts = [key for key in parameters if ".lora_" in key and ".default" in key]
    saved = [key for key in parameters if ".modules_to_save.default." in key]
    # As they were before.
    unmoved = [key for key in saved if torch.equal(parameters[key], parameters[key.replace("modules_to_save.default", "original_module")])]
    zero = [key for key in parts if not parameters[key].any()]
    assert len(parts) + len(saved) == len(names) and not zero and not unmoved, (len(parts), len(saved), len(names), zero, unmoved)

    plain, cosines = our_embeddings(gve), []
    ours = our_embeddings(gve, ["--adapter", adapter])
    for inputs, expected, base in zip(their_inputs(), ours, plain):
        hidden = model(**inputs, output_hidden_states=True).hidden_states[-1][0, -1]
        cosines.append(cosine(hidden, expected))
        assert cosines[-1] > LEAST_COSINE, (name, cosines)
        assert cosine(expected, base) < UNCHANGED_COSINE, f"{name}: the adapter changes nothing"
    modules = sum(".lora_B." in key for key in parts)
    print(f"{name}: {modules} modules and {len(saved)} saved tensors bound, none zero; cosine to gve: text {cosines[0]:.7f}, image {cosines[1]:.7f}")
    return names


def check_in_sentence_transformers(name, gve, adapter, folder):
    """The same model and adapter as sentence-transformers has them."""
    from sentence_transformers import SentenceTransformer

    base = folder / "base"
    if not base.exists():
        run(gve, "model", "convert", "--model", MODEL, "--dtype", "f32", "--out", base)
    model = SentenceTransformer(str(base), device="cpu", model_kwargs={"dtype": torch.float32})
    plain = [model.encode(part, convert_to_tensor=True) for part in (TEXT, {"image": str(IMAGE)})]
    model.load_adapter(str(adapter))
    cosines = []
    for part, expected, base in zip((TEXT, {"image": str(IMAGE)}), our_embeddings(gve, ["--adapter", adapter]), plain):
        found = model.encode(part, convert_to_tensor=True)
        cosines.append(cosine(found, expected))
        assert cosines[-1] > LEAST_COSINE, (name, cosines, cosine(found, base))
    # The folder of the adapter alone, which names its base and says how it embeds.
    model = SentenceTransformer(str(adapter), device="cpu", model_kwargs={"dtype": torch.float32})
    for part, expected in zip((TEXT, {"image": str(IMAGE)}), our_embeddings(gve, ["--adapter", adapter])):
        found = model.encode(part, convert_to_tensor=True)
        cosines.append(cosine(found, expected))
        assert cosines[-1] > LEAST_COSINE, (name, cosines)
    print(f"{name} in sentence-transformers: cosine to gve: {', '.join(f'{cosine:.7f}' for cosine in cosines)} (text, image; by its folder alone: text, image)")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gve", type=Path, help="the program gve")
    parser.add_argument("--write", action="store_true", help="put what was bound into peft.json")
    arguments = parser.parse_args()
    gve = arguments.gve.resolve()
    print(f"transformers {transformers.__version__}, PEFT {peft.__version__}: layout {LAYOUT}")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for kind, lora in KINDS.items():
            adapter = train(gve, folder / kind, lora)
            found = check(f"trained by gve, {kind}", gve, adapter)
            if kind == "lora":
                trained, names = adapter, found
            # transformers 5.24 takes the names of the vision tower for the language model's there.
            if HAS_SENTENCE_TRANSFORMERS and not any("visual" in name for name in found):
                check_in_sentence_transformers(kind, gve, adapter, folder)
        # As gve 0.1.0 and others wrote them: flat names, and `target_modules` that fit the vision tower too.
        run(gve, "model", "adapter", "--adapter", GOLDEN / "tiny-a/train/adapter_final", "--layout", LAYOUT, "--out", folder / "renamed")
        check("renamed by gve", gve, folder / "renamed")
        targets = json.loads((trained / "adapter_config.json").read_text())["target_modules"]
    if arguments.write:
        path = HERE / "peft.json"
        pinned = json.loads(path.read_text()) if path.exists() else {}
        pinned[LAYOUT] = {"transformers": transformers.__version__, "peft": peft.__version__, "target_modules": targets, "names": names}
        path.write_text(json.dumps(pinned, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
