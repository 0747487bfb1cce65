#!/usr/bin/env python3
"""Makes settings.json: what keys of config.json do to the model in tiny-a, by transformers 4.51.3. Every case lists the keys that it changes
and holds the final hidden state of the last token of the case `text`, and the first rows of the vision tower's output for the case `image`.

    pip install torch transformers==4.51.3
    python make_settings_fixture.py > settings.json

With `--check settings.json`, the installed release, whichever it is, is held against the file instead.
"""
import argparse, json, pathlib, sys
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, Qwen2_5_VLForConditionalGeneration

TINY = pathlib.Path(__file__).parent / "tiny-a"
SECTION = {"mrope_section": [2, 3, 3]}
ACTIVATIONS = ["gelu", "gelu_new", "gelu_pytorch_tanh", "quick_gelu", "relu", "swish"]

def rope(kind, **keys):
    return {"rope_scaling": {"rope_type": kind, "type": kind, **SECTION, **keys}}

CASES = [
    {},
    rope("linear", factor=4.0),
    rope("yarn", factor=4.0),
    {**rope("yarn", factor=4.0, original_max_position_embeddings=16), "max_position_embeddings": 64},
    {**rope("yarn", factor=8.0, original_max_position_embeddings=32, beta_fast=4, beta_slow=2), "max_position_embeddings": 256},
    {**rope("yarn", factor=2.0, attention_factor=1.5), "max_position_embeddings": 128},
    {**rope("yarn", factor=4.0, mscale=0.7, mscale_all_dim=1.0), "max_position_embeddings": 128},
    *({"hidden_act": name} for name in ACTIVATIONS),
    *({"vision_config": {"hidden_act": name}} for name in ACTIVATIONS),
]

def run(changes):
    config = AutoConfig.from_pretrained(TINY / "model")
    raw = json.loads((TINY / "model/config.json").read_text())
    for key, value in changes.items():
        raw[key] = {**raw[key], **value} if key == "vision_config" else value
    config = type(config)(**raw)
    config._attn_implementation = "eager"
    model = Qwen2_5_VLForConditionalGeneration.from_pretrained(TINY / "model", config=config, torch_dtype=torch.float32, attn_implementation="eager").eval()
    text, image = (load_file(TINY / f"cases/{name}.safetensors") for name in ("text", "image"))
    pixels = next(image[key] for key in ("pixel_values", "pixel_values_videos") if key in image)
    grids = next(case for case in json.loads((TINY / "cases.json").read_text()) if case["name"] == "image")["image_grid_thw"]
    with torch.no_grad():
        ids = text["input_ids"].long().reshape(1, -1)
        language = model.model
        hidden = language(input_ids=ids, attention_mask=torch.ones_like(ids), position_ids=text["position_ids"].long().reshape(3, 1, -1)).last_hidden_state
        tower = getattr(model, "visual", None) or model.model.visual
        rows = tower(pixels.float().reshape(-1, pixels.shape[-1]), grid_thw=torch.tensor(grids))
        rows = getattr(rows, "pooler_output", rows)
    return {"hidden": hidden[0, -1].tolist(), "vision": rows[:2].flatten().tolist()}

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", type=pathlib.Path)
    arguments = parser.parse_args()
    if arguments.check is None:
        round_all = lambda values: {key: [float(f"{v:.7g}") for v in row] for key, row in values.items()}
        cases = [{"changes": changes, **round_all(run(changes))} for changes in CASES]
        print("[" + ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases) + "]")
        sys.exit()
    for case in json.loads(arguments.check.read_text()):
        got = run(case["changes"])
        off = {key: max(abs(a - b) for a, b in zip(got[key], case[key])) for key in got}
        print(case["changes"], off)
        assert all(value < 1e-4 for value in off.values())
