#!/usr/bin/env python3
"""Make a random checkpoint of Qwen2.5-VL, Qwen3-VL or SigLIP in Hugging Face layout, and one fixed input for it.

The comparison in `forward.py` is about speed, so the weights need the right shapes, not the right
values. They are drawn with a scale of 1/sqrt(fan_in), which keeps activations finite in bf16.

    python make_checkpoint.py --shape small --out target/peers/small
    python make_checkpoint.py --shape nano --out target/peers/nano
    python make_checkpoint.py --shape 3b --dtype bf16 --out target/peers/3b
    python make_checkpoint.py --shape qwen3-2b --dtype bf16 --out target/peers/qwen3-2b
    python make_checkpoint.py --shape siglip2-base --out target/peers/siglip2-base

Needs torch, numpy and safetensors; transformers is not imported. The tokenizer and the image
processor settings are those of the golden checkpoint in `tests/golden/tiny-a/model`, so token ids
are small numbers in every shape. Tensor names are those of the released checkpoints
(`visual.*`, `model.*`), which every transformers release reads.

The input file holds one video of 8 frames at the evaluation size (under 200 tokens a frame):

    pixel_values_videos  f32 [2880, 1176]   4 x 20 x 36 patches (of Qwen3-VL [2880, 1536])
    video_grid_thw       i64 [1, 3]
    input_ids            i64 [743]          720 video tokens in 23 tokens of chat template
    position_ids         i64 [3, 743]       temporal, height, width (transformers 4.51 rule)

That of SigLIP, whose checkpoint transformers makes, holds `pictures`, u8 [8, 224, 224, 3]: the frames of one video.
"""
import argparse
import json
import math
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

TOKENIZER_DIR = Path(__file__).resolve().parents[2] / "tests/golden/tiny-a/model"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
                   "vocab.json", "merges.txt", "chat_template.json", "preprocessor_config.json")

SHAPES = {
    # 3.9 million parameters: a model that a laptop trains from random weights.
    "nano": {
        "text": {"hidden_size": 192, "intermediate_size": 512, "num_hidden_layers": 6,
                 "num_attention_heads": 6, "num_key_value_heads": 2, "vocab_size": 2048},
        "vision": {"hidden_size": 128, "intermediate_size": 256, "depth": 4, "num_heads": 4,
                   "fullatt_block_indexes": [1, 3]},
        "mrope_section": [4, 6, 6],
    },
    # About 190 million parameters: large enough that matrix products dominate, small enough for a laptop.
    "small": {
        "text": {"hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 10,
                 "num_attention_heads": 8, "num_key_value_heads": 2, "vocab_size": 8192},
        "vision": {"hidden_size": 640, "intermediate_size": 1720, "depth": 12, "num_heads": 10,
                   "fullatt_block_indexes": [2, 5, 8, 11]},
    },
    # The shape of GVE-3B.
    "3b": {
        "text": {"hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36,
                 "num_attention_heads": 16, "num_key_value_heads": 2, "vocab_size": 151936},
        "vision": {"hidden_size": 1280, "intermediate_size": 3420, "depth": 32, "num_heads": 16,
                   "fullatt_block_indexes": [7, 15, 23, 31]},
    },
    # The shape of Qwen3-VL-Embedding-2B.
    "qwen3-2b": {
        "text": {"hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 28, "num_attention_heads": 16,
                 "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936},
        "vision": {"hidden_size": 1024, "intermediate_size": 4096, "depth": 24, "num_heads": 16,
                   "num_position_embeddings": 2304, "deepstack_visual_indexes": [5, 11, 17]},
        "mrope_section": [24, 20, 20],
    },
    # A tenth of it, for a look in between.
    "qwen3-small": {
        "text": {"hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 10, "num_attention_heads": 8,
                 "num_key_value_heads": 4, "head_dim": 128, "vocab_size": 8192},
        "vision": {"hidden_size": 640, "intermediate_size": 2560, "depth": 12, "num_heads": 10,
                   "num_position_embeddings": 2304, "deepstack_visual_indexes": [3, 6, 9]},
        "mrope_section": [24, 20, 20],
    },
}
# SigLIP 2 base, of 224 pixels in patches of 16; the vocabulary, which no picture needs, is that of the golden checkpoint.
SIGLIP2_BASE = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
SIGLIP2_TOKENIZER = TOKENIZER_DIR.parents[1] / "tiny-siglip2/model"
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


def is_qwen3(shape):
    return "head_dim" in shape["text"]


def patch_width(shape):
    side = 16 if is_qwen3(shape) else 14
    return 3 * 2 * side * side


SHARD_BYTES = 2 * 1024**3

# The one input: grid in patches, and the real time between two temporal patches.
GRID_THW = (4, 20, 36)
SECONDS_PER_GRID = 1.25


def token_ids():
    added = json.loads((TOKENIZER_DIR / "added_tokens.json").read_text())
    return {name.strip("<|>"): token_id for name, token_id in added.items()}


def qwen3_config(shape, dtype):
    """`config.json` of Qwen3-VL, which is nested."""
    text, vision, ids = shape["text"], shape["vision"], token_ids()
    return {
        "architectures": ["Qwen3VLForConditionalGeneration"], "model_type": "qwen3_vl",
        "dtype": {"f32": "float32", "bf16": "bfloat16"}[dtype], "tie_word_embeddings": True,
        "text_config": {
            **text, "model_type": "qwen3_vl_text", "hidden_act": "silu", "rms_norm_eps": 1e-6, "rope_theta": 5000000,
            "rope_scaling": {"mrope_interleaved": True, "mrope_section": shape["mrope_section"], "rope_type": "default"},
            "attention_bias": False, "attention_dropout": 0.0, "max_position_embeddings": 262144, "use_cache": True,
            "tie_word_embeddings": True, "bos_token_id": ids["endoftext"], "eos_token_id": ids["im_end"],
        },
        "vision_config": {
            **vision, "model_type": "qwen3_vl", "hidden_act": "gelu_pytorch_tanh", "out_hidden_size": text["hidden_size"],
            "in_channels": 3, "patch_size": 16, "spatial_merge_size": 2, "temporal_patch_size": 2,
        },
        "vision_start_token_id": ids["vision_start"], "vision_end_token_id": ids["vision_end"],
        "image_token_id": ids["image_pad"], "video_token_id": ids["video_pad"],
    }


def config(shape, dtype):
    """`config.json`, of Qwen2.5-VL in the flat form of the released checkpoints."""
    if is_qwen3(shape):
        return qwen3_config(shape, dtype)
    text, vision, ids = shape["text"], shape["vision"], token_ids()
    return {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"], "model_type": "qwen2_5_vl", **text,
        "hidden_act": "silu", "rms_norm_eps": 1e-6, "rope_theta": 1000000.0, "attention_dropout": 0.0,
        "rope_scaling": {"type": "mrope", "mrope_section": shape.get("mrope_section", [16, 24, 24])},
        "max_position_embeddings": 32768, "max_window_layers": text["num_hidden_layers"],
        "use_sliding_window": False, "sliding_window": 32768, "tie_word_embeddings": True, "use_cache": True,
        "initializer_range": 0.02, "torch_dtype": {"f32": "float32", "bf16": "bfloat16"}[dtype],
        "bos_token_id": ids["endoftext"], "eos_token_id": ids["im_end"],
        "vision_start_token_id": ids["vision_start"], "vision_end_token_id": ids["vision_end"],
        "vision_token_id": ids["vision_pad"], "image_token_id": ids["image_pad"], "video_token_id": ids["video_pad"],
        "vision_config": {
            **vision, "model_type": "qwen2_5_vl", "hidden_act": "silu", "out_hidden_size": text["hidden_size"],
            "in_channels": 3, "in_chans": 3, "patch_size": 14, "spatial_patch_size": 14, "spatial_merge_size": 2,
            "temporal_patch_size": 2, "window_size": 112, "tokens_per_second": 2,
        },
    }


def linear(name, rows, columns, bias):
    yield f"{name}.weight", (rows, columns)
    if bias:
        yield f"{name}.bias", (rows,)


def norm(name, width):
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)


def qwen3_tensor_shapes(shape):
    """Yields (name, shape) of every weight of Qwen3-VL."""
    text, vision = shape["text"], shape["vision"]
    width, inner, hidden = vision["hidden_size"], vision["intermediate_size"], text["hidden_size"]
    heads, key_heads, head = (text[key] for key in ("num_attention_heads", "num_key_value_heads", "head_dim"))

    visual = "model.visual"
    yield f"{visual}.patch_embed.proj.weight", (width, 3, 2, 16, 16)
    yield f"{visual}.patch_embed.proj.bias", (width,)
    yield f"{visual}.pos_embed.weight", (vision["num_position_embeddings"], width)
    for i in range(vision["depth"]):
        block = f"{visual}.blocks.{i}"
        yield from norm(f"{block}.norm1", width)
        yield from norm(f"{block}.norm2", width)
        yield from linear(f"{block}.attn.qkv", 3 * width, width, True)
        yield from linear(f"{block}.attn.proj", width, width, True)
        yield from linear(f"{block}.mlp.linear_fc1", inner, width, True)
        yield from linear(f"{block}.mlp.linear_fc2", width, inner, True)
    deepstack = len(vision["deepstack_visual_indexes"])
    for merger in [f"{visual}.merger"] + [f"{visual}.deepstack_merger_list.{i}" for i in range(deepstack)]:
        yield from norm(f"{merger}.norm", width if merger.endswith(".merger") else 4 * width)
        yield from linear(f"{merger}.linear_fc1", 4 * width, 4 * width, True)
        yield from linear(f"{merger}.linear_fc2", hidden, 4 * width, True)

    language = "model.language_model"
    yield f"{language}.embed_tokens.weight", (text["vocab_size"], hidden)
    for i in range(text["num_hidden_layers"]):
        layer = f"{language}.layers.{i}"
        yield f"{layer}.input_layernorm.weight", (hidden,)
        yield f"{layer}.post_attention_layernorm.weight", (hidden,)
        yield f"{layer}.self_attn.q_norm.weight", (head,)
        yield f"{layer}.self_attn.k_norm.weight", (head,)
        yield from linear(f"{layer}.self_attn.q_proj", heads * head, hidden, False)
        yield from linear(f"{layer}.self_attn.k_proj", key_heads * head, hidden, False)
        yield from linear(f"{layer}.self_attn.v_proj", key_heads * head, hidden, False)
        yield from linear(f"{layer}.self_attn.o_proj", hidden, heads * head, False)
        yield from linear(f"{layer}.mlp.gate_proj", text["intermediate_size"], hidden, False)
        yield from linear(f"{layer}.mlp.up_proj", text["intermediate_size"], hidden, False)
        yield from linear(f"{layer}.mlp.down_proj", hidden, text["intermediate_size"], False)
    yield f"{language}.norm.weight", (hidden,)


def tensor_shapes(shape):
    """Yields (name, shape) of every weight."""
    if is_qwen3(shape):
        yield from qwen3_tensor_shapes(shape)
        return
    text, vision = shape["text"], shape["vision"]
    width, inner = vision["hidden_size"], vision["intermediate_size"]
    hidden, text_inner = text["hidden_size"], text["intermediate_size"]
    key_width = hidden // text["num_attention_heads"] * text["num_key_value_heads"]

    yield "visual.patch_embed.proj.weight", (width, 3, 2, 14, 14)
    for i in range(vision["depth"]):
        block = f"visual.blocks.{i}"
        yield f"{block}.norm1.weight", (width,)
        yield f"{block}.norm2.weight", (width,)
        yield from linear(f"{block}.attn.qkv", 3 * width, width, True)
        yield from linear(f"{block}.attn.proj", width, width, True)
        yield from linear(f"{block}.mlp.gate_proj", inner, width, True)
        yield from linear(f"{block}.mlp.up_proj", inner, width, True)
        yield from linear(f"{block}.mlp.down_proj", width, inner, True)
    yield "visual.merger.ln_q.weight", (width,)
    yield from linear("visual.merger.mlp.0", 4 * width, 4 * width, True)
    yield from linear("visual.merger.mlp.2", hidden, 4 * width, True)

    yield "model.embed_tokens.weight", (text["vocab_size"], hidden)
    for i in range(text["num_hidden_layers"]):
        layer = f"model.layers.{i}"
        yield f"{layer}.input_layernorm.weight", (hidden,)
        yield f"{layer}.post_attention_layernorm.weight", (hidden,)
        yield from linear(f"{layer}.self_attn.q_proj", hidden, hidden, True)
        yield from linear(f"{layer}.self_attn.k_proj", key_width, hidden, True)
        yield from linear(f"{layer}.self_attn.v_proj", key_width, hidden, True)
        yield from linear(f"{layer}.self_attn.o_proj", hidden, hidden, False)
        yield from linear(f"{layer}.mlp.gate_proj", text_inner, hidden, False)
        yield from linear(f"{layer}.mlp.up_proj", text_inner, hidden, False)
        yield from linear(f"{layer}.mlp.down_proj", hidden, text_inner, False)
    yield "model.norm.weight", (hidden,)


def random_weight(name, shape, generator, dtype):
    weight = torch.randn(shape, generator=generator)
    if len(shape) > 1:
        weight *= 1 / math.sqrt(math.prod(shape[1:]))
    elif name.endswith("weight"):
        weight = 1 + 0.1 * weight
    else:
        weight *= 0.02
    return weight.to(dtype)


def write_weights(shape, dtype, seed, out):
    """Writes sharded safetensors with an index; returns the number of parameters."""
    generator = torch.Generator().manual_seed(seed)
    shards, current, current_bytes, parameters = [], {}, 0, 0
    for name, size in tensor_shapes(shape):
        weight = random_weight(name, size, generator, dtype)
        parameters += weight.numel()
        if current and current_bytes + weight.nbytes > SHARD_BYTES:
            shards.append(save_shard(current, len(shards), out))
            current, current_bytes = {}, 0
        current[name] = weight
        current_bytes += weight.nbytes
    shards.append(save_shard(current, len(shards), out))

    weight_map = {}
    for number, (path, names) in enumerate(shards, 1):
        final = out / f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        path.rename(final)
        weight_map.update(dict.fromkeys(names, final.name))
    index = {"metadata": {"total_size": parameters * dtype.itemsize}, "weight_map": weight_map}
    (out / "model.safetensors.index.json").write_text(json.dumps(index, indent=1))
    return parameters


def save_shard(tensors, number, out):
    path = out / f"shard-{number}.tmp"
    save_file(tensors, path, metadata={"format": "pt"})
    return path, list(tensors)


def positions(video_start, length, grid_thw, tokens_per_second=2, merge=2):
    """M-RoPE positions of one video in text, as transformers 4.51 computes them. Shape [3, length].

    Temporal ids are truncated after multiplying; text after the video starts at its largest id + 1.
    """
    time, height, width = grid_thw[0], grid_thw[1] // merge, grid_thw[2] // merge
    before = torch.arange(video_start).expand(3, -1)
    ticks = (torch.arange(time) * SECONDS_PER_GRID * tokens_per_second).long()
    video = torch.stack(torch.meshgrid(ticks, torch.arange(height), torch.arange(width), indexing="ij")).flatten(1)
    video = video + video_start
    after_length = length - video_start - video.shape[1]
    after = torch.arange(after_length).expand(3, -1) + video.max() + 1
    return torch.cat([before, video, after], dim=1)


def write_inputs(path, seed, width):
    """Writes the one input of the comparison, of patches of `width` values."""
    from tokenizers import Tokenizer
    ids, grid = token_ids(), torch.tensor([GRID_THW])
    tokenizer = Tokenizer.from_file(str(TOKENIZER_DIR / "tokenizer.json"))
    encode = lambda text: tokenizer.encode(text, add_special_tokens=False).ids
    head = encode("<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<|vision_start|>")
    tail = encode("<|vision_end|><|im_end|>\n<|im_start|>assistant\n") + [ids["endoftext"]]
    video_tokens = math.prod(GRID_THW) // 4
    input_ids = torch.tensor(head + [ids["video_pad"]] * video_tokens + tail)
    pixels = torch.randn(math.prod(GRID_THW), width, generator=torch.Generator().manual_seed(seed))
    save_file({
        "pixel_values_videos": pixels, "video_grid_thw": grid, "input_ids": input_ids,
        "position_ids": positions(len(head), len(input_ids), GRID_THW).contiguous(),
    }, path)
    return len(input_ids)


def make_siglip(dtype, seed, out):
    """Settings, weights and the input of the frame encoder."""
    from transformers import SiglipConfig, SiglipModel
    settings = json.loads((SIGLIP2_TOKENIZER / "config.json").read_text())
    config = SiglipConfig(
        text_config={**SIGLIP2_BASE, "vocab_size": settings["text_config"]["vocab_size"], "projection_size": 768},
        vision_config={**SIGLIP2_BASE, "image_size": 224, "patch_size": 16})
    generator = torch.Generator().manual_seed(seed)
    model = SiglipModel(config).to(dtype)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.copy_(random_weight(name, weight.shape, generator, dtype))
    model.save_pretrained(out)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(SIGLIP2_TOKENIZER / name, out / name)
    pictures = json.loads((SIGLIP2_TOKENIZER / "preprocessor_config.json").read_text())
    (out / "preprocessor_config.json").write_text(json.dumps(pictures | {"size": {"height": 224, "width": 224}}))
    frames = torch.randint(0, 256, (8, 224, 224, 3), generator=generator, dtype=torch.uint8)
    save_file({"pictures": frames}, out / "inputs.safetensors")
    parameters = sum(weight.numel() for weight in model.parameters())
    print(f"{out}: {parameters / 1e6:.1f} M parameters; input of {len(frames)} pictures")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--shape", choices=(*SHAPES, "siglip2-base"), default="small")
    arguments.add_argument("--dtype", choices=DTYPES, default="f32", help="dtype of the stored weights")
    arguments.add_argument("--seed", type=int, default=7)
    arguments.add_argument("--out", type=Path, required=True, help="directory of the checkpoint")
    arguments.add_argument("--inputs", type=Path, help="input file (default: OUT/inputs.safetensors)")
    arguments = arguments.parse_args()

    arguments.out.mkdir(parents=True, exist_ok=True)
    for stale in arguments.out.glob("model-*.safetensors"):
        stale.unlink()
    if arguments.shape == "siglip2-base":
        return make_siglip(DTYPES[arguments.dtype], arguments.seed, arguments.out)
    shape = SHAPES[arguments.shape]
    for name in TOKENIZER_FILES:
        shutil.copyfile(TOKENIZER_DIR / name, arguments.out / name)
    if is_qwen3(shape):
        path = arguments.out / "preprocessor_config.json"
        pictures = json.loads(path.read_text()) | {"patch_size": 16, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
        path.write_text(json.dumps(pictures, indent=1))
    (arguments.out / "config.json").write_text(json.dumps(config(shape, arguments.dtype), indent=1))
    parameters = write_weights(shape, DTYPES[arguments.dtype], arguments.seed, arguments.out)
    inputs = arguments.inputs or arguments.out / "inputs.safetensors"
    tokens = write_inputs(inputs, arguments.seed, patch_width(shape))
    print(f"{arguments.out}: {parameters / 1e6:.1f} M parameters in {arguments.dtype}; input of {tokens} tokens")


if __name__ == "__main__":
    main()
