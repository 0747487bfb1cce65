#!/usr/bin/env python3
"""Gradients of the Qwen-VL line by PyTorch, of adapters and of all weights, for some cases of a golden set.

The loss is the sum over the cases of embedding . direction, with random directions. Adapters are low-rank changes of the
weights, W + alpha / r * B A, on the seven projections of every decoder layer; both factors are random, so that both have a
gradient. Of the full gradients, those of some tensors of every kind are kept.

    v/bin/python make_gradients_qwen.py tiny-q3 tiny-q2     # the environment of make_golden_qwen3.py

Writes SET/gradients.safetensors: direction.CASE, lora.NAME and grad.lora.NAME in PEFT's names for the adapter,
grad.full.NAME in the checkpoint's.
"""
import json
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.func import functional_call
from transformers import Qwen2VLForConditionalGeneration, Qwen3VLForConditionalGeneration

CASES = {
    "tiny-q3": ["text", "text_instruction", "image_tiny", "frames_one"],
    "tiny-q2": ["gme_text", "gme_text_instruction", "gme_image_tiny"],
}
PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
R, ALPHA = 2, 4.0
KEPT = [
    "embed_tokens.weight",
    "layers.0.input_layernorm.weight",
    "layers.0.self_attn.q_proj.bias",
    "layers.0.self_attn.q_norm.weight",
    "layers.1.self_attn.k_norm.weight",
    "layers.3.self_attn.o_proj.weight",
    "norm.weight",
    "visual.patch_embed.proj.weight",
    "visual.patch_embed.proj.bias",
    "visual.pos_embed.weight",
    "visual.blocks.0.norm1.weight",
    "visual.blocks.1.norm2.bias",
    "visual.blocks.2.attn.qkv.weight",
    "visual.blocks.3.mlp.fc1.bias",
    "visual.blocks.3.mlp.linear_fc1.bias",
    "visual.merger.ln_q.bias",
    "visual.merger.norm.weight",
    "visual.deepstack_merger_list.0.norm.weight",
    "visual.deepstack_merger_list.2.linear_fc2.bias",
]


def short(name):
    """A module or tensor by the name that both layouts share."""
    for prefix in ("model.", "language_model."):
        while name.startswith(prefix):
            name = name[len(prefix):]
    return name


def main(name):
    folder = Path(name)
    is_q3 = "qwen3" in json.loads((folder / "model/config.json").read_text())["model_type"]
    kind = Qwen3VLForConditionalGeneration if is_q3 else Qwen2VLForConditionalGeneration
    model = kind.from_pretrained(folder / "model", dtype=torch.float32, attn_implementation="eager").eval()
    generator = torch.Generator().manual_seed(17)
    records = {case["name"]: case for case in json.loads((folder / "cases.json").read_text())}
    # Under the checkpoint's own names, which transformers changes while it loads.
    shards = sorted((folder / "model").glob("*.safetensors"))
    stored = {short(key): key for shard in shards for key in safe_open(shard, "pt").keys()}
    out = {}

    inputs = []
    for case in CASES[folder.name]:
        tensors, record = load_file(folder / f"cases/{case}.safetensors"), records[case]
        given = dict(input_ids=tensors["input_ids"][None], position_ids=tensors["position_ids"][:, None])
        given["attention_mask"] = torch.ones_like(given["input_ids"])
        for pixels, grid in (("pixel_values", "image_grid_thw"), ("pixel_values_videos", "video_grid_thw")):
            if pixels in tensors:
                given[pixels], given[grid] = tensors[pixels], torch.tensor(record[grid])
        direction = torch.randn(tensors["embedding"].shape, generator=generator)
        out[f"direction.{case}"] = direction
        inputs.append((given, direction, tensors["embedding"]))

    def loss(parameters, check=False):
        total = 0.0
        for given, direction, embedding in inputs:
            hidden = functional_call(model.model, parameters, (), given).last_hidden_state[0, -1]
            embedded = F.normalize(hidden, dim=-1)
            if check:
                assert torch.allclose(embedded, embedding, atol=1e-5)
            total = total + embedded @ direction
        return total

    weights = {key: value.detach().clone().requires_grad_() for key, value in model.model.named_parameters()}
    loss(weights, check=True).backward()
    for key, value in weights.items():
        if short(key) in KEPT:
            out[f"grad.full.{stored[short(key)]}"] = value.grad.clone()

    base = {key: value.detach() for key, value in weights.items()}
    changed, factors = dict(base), {}
    for key, value in base.items():
        module = short(key).removesuffix(".weight")
        if not module.startswith("layers.") or module.rsplit(".", 1)[-1] not in PROJECTIONS or value.ndim != 2:
            continue
        a = (0.2 * torch.randn(R, value.shape[1], generator=generator)).requires_grad_()
        b = (0.2 * torch.randn(value.shape[0], R, generator=generator)).requires_grad_()
        factors[f"base_model.model.model.{module}.lora_A.weight"] = a
        factors[f"base_model.model.model.{module}.lora_B.weight"] = b
        changed[key] = value + ALPHA / R * (b @ a)
    loss(changed).backward()
    for key, value in factors.items():
        out[f"lora.{key}"], out[f"grad.lora.{key}"] = value.detach(), value.grad
    save_file({key: value.detach().contiguous() for key, value in out.items()}, folder / "gradients.safetensors")
    print(name, len(factors), "factors,", sum(key.startswith("grad.full.") for key in out), "tensors")


if __name__ == "__main__":
    torch.set_num_threads(2)
    for each in sys.argv[1:]:
        main(each)
