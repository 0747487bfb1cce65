#!/usr/bin/env python3
"""Make the golden fixtures: a tiny random checkpoint and the reference tensors of every stage.

The reference is `Qwen2_5_VLForConditionalGeneration` of transformers 4.51.3, the release that the
GVE authors' code was written for, with qwen-vl-utils 0.0.11 for reading and resizing. On top come
the conventions of GVE: the chat template with a generation prompt, `<|endoftext|>` appended after
truncation, the final hidden state of that token, L2-normalised.

    python3 -m venv venv
    venv/bin/pip install torch torchvision decord pillow av safetensors transformers==4.51.3 qwen-vl-utils==0.0.11
    venv/bin/python tests/golden/make_golden.py --preset a --seed 7 --out tests/golden/tiny-a

Written to --out:

    model/                    checkpoint in Hugging Face layout, sharded, with tokenizer and processor
    cases.json                one record per case: the input, the prompt, grids, frame indices, lengths
    cases/NAME.safetensors    input_ids, position_ids [3, n], vision_embeds.{image,video},
                              last_hidden_state [n, hidden], embedding [hidden]; the cases of
                              KEEP_PIXELS also have pixel_values or pixel_values_videos, and frames

    train/train.json          pairs, settings, and per step learning rate, loss and gradient norm
    train/adapter_init/       the adapter that training starts from, in PEFT's layout, and
    train/adapter_final/      the one it ends with
    train/step0.safetensors   embeddings q, p, n of the first step, and grad.NAME of every factor
    train/loss.safetensors    random queries and targets with planted duplicates and false negatives, and
    train/loss.json           their loss by its settings

The numbers depend on the versions above and, in the last bits, on the CPU.
"""
import argparse
import json
import math
import random
import shutil
from pathlib import Path

import decord
import torch
from qwen_vl_utils import process_vision_info
from qwen_vl_utils.vision_process import smart_nframes
from safetensors.torch import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor,
                          Qwen2TokenizerFast, Qwen2VLImageProcessor)

# Checkpoints of one family in three shapes. They differ where loaders tend to assume: head counts,
# M-RoPE sections, window size, full-attention blocks, tied embeddings, tokens per second.
PRESETS = {
    "a": {
        "text": {"hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 4, "num_attention_heads": 4,
                 "num_key_value_heads": 2, "vocab_size": 640, "tie_word_embeddings": True},
        "mrope_section": [2, 3, 3],
        "vision": {"depth": 4, "hidden_size": 32, "num_heads": 4, "intermediate_size": 72,
                   "fullatt_block_indexes": [1, 3], "window_size": 112, "tokens_per_second": 2},
    },
    "b": {
        "text": {"hidden_size": 96, "intermediate_size": 200, "num_hidden_layers": 3, "num_attention_heads": 6,
                 "num_key_value_heads": 3, "vocab_size": 900, "tie_word_embeddings": False},
        "mrope_section": [2, 2, 4],
        "vision": {"depth": 6, "hidden_size": 48, "num_heads": 6, "intermediate_size": 100,
                   "fullatt_block_indexes": [2, 5], "window_size": 112, "tokens_per_second": 2},
    },
    "c": {
        "text": {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 5, "num_attention_heads": 8,
                 "num_key_value_heads": 1, "vocab_size": 700, "tie_word_embeddings": False},
        "mrope_section": [4, 2, 2],
        "vision": {"depth": 5, "hidden_size": 64, "num_heads": 4, "intermediate_size": 120,
                   "fullatt_block_indexes": [4], "window_size": 56, "tokens_per_second": 4},
    },
}

# ---- tokenizer ----------------------------------------------------------------------------------

# In the order of Qwen's tokenizer, so that ids grow in the same order.
SPECIAL_TOKENS = [f"<|{name}|>" for name in (
    "endoftext", "im_start", "im_end", "object_ref_start", "object_ref_end", "box_start", "box_end",
    "quad_start", "quad_end", "vision_start", "vision_end", "vision_pad", "image_pad", "video_pad")]

# Qwen's pre-tokenizer: contractions, words, single digits, punctuation, line ends, blanks.
SPLIT_PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
                 r"|\s*[\r\n]+|\s+(?!\S)|\s+")

# The merges are learned from shuffles of these words. Order and repeats matter: they fix the merges.
TRAINING_WORDS = (
    "system user assistant you are a helpful assistant find the video according to text description "
    "general spatial temporal camera motion keywords image clip long original detailed object theme "
    "person dog cat bicycle red blue green rides runs jumps left right up down slowly quickly street "
    "forest sea sky zoom pan tilt dolly then while before after near behind two three many rabbit "
    "butterfly meadow car phone talking window tree").split()
SENTENCES, WORDS_PER_SENTENCE = 4000, 12

# Qwen2.5-VL's chat template, less tool calls and the numbering of pictures.
CHAT_TEMPLATE = "".join((
    "{% set ns = namespace() %}",
    "{% for message in messages %}",
    "{% if loop.first and message['role'] != 'system' %}",
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n",
    "{% endif %}",
    "<|im_start|>{{ message['role'] }}\n",
    "{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n",
    "{% else %}{% for content in message['content'] %}",
    "{% if content['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>",
    "{% elif content['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>",
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}",
    "{% endfor %}<|im_end|>\n{% endif %}{% endfor %}",
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
))


def make_tokenizer(vocab_size, seed):
    """A byte-level BPE with Qwen's rules and a small vocabulary learned from random sentences."""
    rng = random.Random(seed)
    sentences = [" ".join(rng.choices(TRAINING_WORDS, k=WORDS_PER_SENTENCE)) for _ in range(SENTENCES)]
    tokenizer = Tokenizer(models.BPE(unk_token=None, fuse_unk=False, byte_fallback=False))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(SPLIT_PATTERN), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 32,  # leaves room for the special tokens, and some ids unused
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(sentences, trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    return Qwen2TokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>", bos_token=None,
        unk_token=None, model_max_length=32768, chat_template=CHAT_TEMPLATE)


# ---- checkpoint ---------------------------------------------------------------------------------

def make_config(preset, tokenizer):
    text, vision = preset["text"], preset["vision"]
    token_id = tokenizer.convert_tokens_to_ids
    return Qwen2_5_VLConfig(
        **text, max_position_embeddings=32768, rms_norm_eps=1e-6, rope_theta=1e6,
        rope_scaling={"type": "mrope", "mrope_section": preset["mrope_section"]},
        use_sliding_window=False, max_window_layers=text["num_hidden_layers"],
        bos_token_id=token_id("<|endoftext|>"), eos_token_id=token_id("<|im_end|>"),
        vision_start_token_id=token_id("<|vision_start|>"), vision_end_token_id=token_id("<|vision_end|>"),
        vision_token_id=token_id("<|vision_pad|>"), image_token_id=token_id("<|image_pad|>"),
        video_token_id=token_id("<|video_pad|>"),
        vision_config={
            **vision, "out_hidden_size": text["hidden_size"], "in_chans": 3, "in_channels": 3, "patch_size": 14,
            "spatial_patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2, "hidden_act": "silu"})


@torch.no_grad()
def make_model(config, seed):
    """Random weights, large enough that a mistake in any branch shows in the embedding."""
    torch.manual_seed(seed)
    model = Qwen2_5_VLForConditionalGeneration._from_config(config, attn_implementation="eager").float().eval()
    for name, weight in model.named_parameters():
        noise = torch.randn_like(weight)
        if weight.ndim > 1:
            weight.copy_(noise * (1.2 / math.sqrt(weight[0].numel())))
        else:
            is_norm = "norm" in name or "ln_q" in name
            weight.copy_(noise * 0.1 + (1.0 if is_norm else 0.0))
    return model


def make_checkpoint(preset, seed, directory):
    """Writes the checkpoint; returns the model and the processor that go with it."""
    tokenizer = make_tokenizer(preset["text"]["vocab_size"], seed)
    model = make_model(make_config(preset, tokenizer), seed)
    image_processor = Qwen2VLImageProcessor(min_pixels=4 * 28 * 28, max_pixels=256 * 28 * 28)
    directory.mkdir(parents=True)
    model.save_pretrained(directory, max_shard_size="400KB")  # small, so that there are several shards
    tokenizer.save_pretrained(directory)
    image_processor.save_pretrained(directory)
    (directory / "chat_template.json").write_text(json.dumps({"chat_template": CHAT_TEMPLATE}))
    return model, Qwen2_5_VLProcessor(image_processor, tokenizer, chat_template=CHAT_TEMPLATE)


# ---- the reference forward pass -----------------------------------------------------------------

def vision_inputs(processor, messages):
    """Pixel values, grids and seconds per temporal grid step of one conversation."""
    images, videos, options = process_vision_info([messages], return_video_kwargs=True)
    inputs = {}
    if images:
        done = processor.image_processor(images=images, videos=None, return_tensors="pt")
        inputs |= {key: done[key] for key in ("pixel_values", "image_grid_thw")}
    if videos:
        done = processor.image_processor(images=None, videos=videos, return_tensors="pt")
        inputs |= {key: done[key] for key in ("pixel_values_videos", "video_grid_thw")}
        inputs["second_per_grid_ts"] = torch.tensor([2.0 / fps for fps in options["fps"]], dtype=torch.float64)
    return inputs


def expand_placeholders(text, token, grids):
    """Repeats each visual token as often as its grid has merged patches."""
    pieces = text.split(token)
    counts = [int(grid.prod()) // 4 for grid in grids]
    if len(pieces) != len(counts) + 1:
        raise SystemExit(f"make_golden: {len(pieces) - 1} x {token} in the prompt, {len(counts)} grids")
    return pieces[0] + "".join(token * count + piece for count, piece in zip(counts, pieces[1:]))


def encode(processor, messages, max_length=8192):
    """Returns the prompt and the model inputs of one conversation."""
    vision = vision_inputs(processor, messages)
    prompt = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    for token, grids in (("<|image_pad|>", "image_grid_thw"), ("<|video_pad|>", "video_grid_thw")):
        prompt = expand_placeholders(prompt, token, vision.get(grids, []))
    tokenizer = processor.tokenizer
    ids = tokenizer(prompt, truncation=True, max_length=max_length - 1)["input_ids"]
    ids = torch.tensor([ids + [tokenizer.convert_tokens_to_ids("<|endoftext|>")]])
    return prompt, {"input_ids": ids, "attention_mask": torch.ones_like(ids), **vision}


@torch.no_grad()
def reference_tensors(model, inputs):
    """Runs the model and returns the tensors of every stage."""
    positions, _ = model.get_rope_index(
        inputs["input_ids"], inputs.get("image_grid_thw"), inputs.get("video_grid_thw"),
        inputs.get("second_per_grid_ts"), inputs["attention_mask"])
    tensors = {"input_ids": inputs["input_ids"][0], "position_ids": positions[:, 0]}
    if "pixel_values" in inputs:
        tensors["vision_embeds.image"] = model.visual(inputs["pixel_values"], grid_thw=inputs["image_grid_thw"])
    if "pixel_values_videos" in inputs:
        tensors["vision_embeds.video"] = model.visual(inputs["pixel_values_videos"], grid_thw=inputs["video_grid_thw"])
    hidden = model(**inputs, output_hidden_states=True).hidden_states[-1][0]
    tensors["last_hidden_state"] = hidden
    tensors["embedding"] = torch.nn.functional.normalize(hidden[-1], dim=-1)
    return tensors


def sampled_frames(part):
    """What the reference samples from a video: (record fields, frames as u8 [n, height, width, 3])."""
    reader = decord.VideoReader(part["video"])
    total, fps = len(reader), reader.get_avg_fps()
    wanted = {key: part[key] for key in ("fps", "nframes", "min_frames", "max_frames") if key in part}
    count = smart_nframes(wanted, total, fps)
    indices = torch.linspace(0, total - 1, count).round().long().tolist()
    fields = {"total_frames": total, "avg_fps": fps, "frame_indices": indices,
              "sample_fps": count / max(total, 1e-6) * fps}
    return fields, torch.from_numpy(reader.get_batch(indices).asnumpy())


# ---- cases --------------------------------------------------------------------------------------

def text(string):
    return {"type": "text", "text": string}


def image(name, max_tokens=48):
    return {"type": "image", "image": name, "max_pixels": max_tokens * 28 * 28}


def video(name, max_tokens=16, **sampling):
    return {"type": "video", "video": name, "max_pixels": max_tokens * 28 * 28, **sampling}


# name: (system turn or None, content)
CASES = {
    "text": (None, [text("a rabbit looks at a butterfly in the meadow")]),
    "text_instruction": (
        "Find the video according to the text description.",
        [text("two person talking in a car by the window, then 3 birds — naïve café 你好 🎬")]),
    "text_empty": (None, [text("")]),
    "image": (None, [image("rabbit.png")]),
    "image_tall": (None, [image("tall.png", max_tokens=64)]),
    "image_tiny": (None, [image("tiny.png")]),
    "two_images": (None, [image("rabbit.png"), image("tall.png"), text("find the clip near both image")]),
    "video_8": (None, [video("bunny.mp4", nframes=8)]),
    "video_200tok": (None, [video("bunny.mp4", nframes=8, max_tokens=200)]),
    "video_fps1": (None, [video("bunny.mp4", fps=1.0)]),
    "video_fps1_minmax": (None, [video("testsrc.mp4", fps=4.0, min_frames=4, max_frames=10)]),
    "video_ntsc": (None, [video("ntsc.mp4", nframes=6)]),
    "text_video": (
        "Find the video clip that corresponds to the given text and the given video.",
        [video("bunny.mp4", nframes=4), text("then the rabbit runs left")]),
    "text_image": (
        "Find the video clip that corresponds to the given text and the given image.",
        [image("rabbit.png"), text("now in the forest")]),
}

# Cases that keep their pixels, so that resizing and patching can be checked apart from the model.
KEEP_PIXELS = {"image", "video_8", "video_ntsc"}
MAX_FRAME_BYTES = 4_000_000
MAX_PROMPT_CHARACTERS = 3000


def make_case(name, system, content, media, model, processor):
    """Runs one case; returns its record and its tensors."""
    paths = [part | {kind: str(media / part[kind]) for kind in ("image", "video") if kind in part} for part in content]
    messages = [{"role": "system", "content": system}] if system else []
    prompt, inputs = encode(processor, messages + [{"role": "user", "content": paths}])
    tensors = reference_tensors(model, inputs)

    record = {"name": name, "system": system, "content": [],
              "prompt": prompt if len(prompt) < MAX_PROMPT_CHARACTERS else None}
    for part, path in zip(content, paths):
        fields = {}
        if "video" in part:
            fields, frames = sampled_frames(path)
            if name in KEEP_PIXELS and frames.numel() < MAX_FRAME_BYTES:
                tensors["frames"] = frames
        record["content"].append(part | fields)
    for key in ("pixel_values", "pixel_values_videos"):
        if key in inputs:
            pixels = inputs[key].double()
            record[f"{key}_stats"] = {"shape": list(pixels.shape), "mean": float(pixels.mean()), "std": float(pixels.std())}
            if name in KEEP_PIXELS:
                tensors[key] = inputs[key]
    for key in ("image_grid_thw", "video_grid_thw", "second_per_grid_ts"):
        if key in inputs:
            record[key] = inputs[key].tolist()
    record["sequence_length"] = inputs["input_ids"].shape[1]
    return record, tensors


# ---- training -----------------------------------------------------------------------------------

TRAINED = {"self_attn": ["q_proj", "k_proj", "v_proj"], "mlp": ["gate_proj", "up_proj", "down_proj"]}
SETTINGS = {"r": 4, "alpha": 8, "lr": 1e-3, "weight_decay": 0.1, "tau": 0.03, "v2t_weight": 0.5}
STEPS = 6

# Query i belongs to positive i; the negatives are everybody's.
PAIRS = {
    "query": [[text("a rabbit in the meadow")], [text("red blue green window zoom")],
              [image("rabbit.png"), text("then it runs")], [text("person talking in a car")]],
    "positive": [[video("bunny.mp4", nframes=4)], [video("testsrc.mp4", nframes=4)],
                 [video("bunny.mp4", nframes=6)], [video("ntsc.mp4", nframes=4)]],
    "negative": [[video("ntsc.mp4", nframes=4)], [video("bunny.mp4", nframes=2)],
                 [video("testsrc.mp4", nframes=2)], [text("a dog near the sea")]],
}


class Adapted(torch.nn.Module):
    """A linear layer with a low-rank adapter. B does not start at zero, so that A has a gradient at once."""

    def __init__(self, layer, generator):
        super().__init__()
        self.layer = layer
        self.scale = SETTINGS["alpha"] / SETTINGS["r"]
        rank = SETTINGS["r"]
        a = torch.randn(rank, layer.in_features, generator=generator) / math.sqrt(layer.in_features)
        b = torch.randn(layer.out_features, rank, generator=generator) * 0.02
        self.factors = torch.nn.ParameterDict({"lora_A": a, "lora_B": b})

    def forward(self, x):
        return self.layer(x) + self.scale * (x @ self.factors["lora_A"].T @ self.factors["lora_B"].T)


def adapt(model, seed):
    """Puts adapters on the language layers of a frozen model; returns all factors by PEFT's names."""
    model.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed + 1)
    factors = {}
    for number, layer in enumerate(model.model.layers):
        for part, names in TRAINED.items():
            parent = getattr(layer, part)
            for name in names:
                adapted = Adapted(getattr(parent, name), generator)
                setattr(parent, name, adapted)
                prefix = f"base_model.model.model.layers.{number}.{part}.{name}"
                factors |= {f"{prefix}.{factor}.weight": value for factor, value in adapted.factors.items()}
    return factors


def save_adapter(directory, factors):
    directory.mkdir(parents=True)
    save_file({name: value.detach().clone() for name, value in factors.items()}, directory / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "task_type": "FEATURE_EXTRACTION", "r": SETTINGS["r"],
              "lora_alpha": SETTINGS["alpha"], "lora_dropout": 0.0, "bias": "none", "fan_in_fan_out": False,
              "target_modules": sum(TRAINED.values(), []), "base_model_name_or_path": "model", "inference_mode": True}
    (directory / "adapter_config.json").write_text(json.dumps(config, indent=1))


def info_nce(queries, targets, tau, v2t_weight=0.5, mask_duplicates=True, mask_false_negatives=True):
    """Symmetric InfoNCE. Target i is query i's own; targets beyond the queries are hard negatives."""
    count = len(queries)
    own = torch.arange(count)
    scores = queries @ targets.T
    hidden = torch.zeros_like(scores, dtype=torch.bool)
    if mask_duplicates:
        alike = (targets[:count] @ targets.T).detach()
        hidden |= torch.isclose(alike, torch.ones_like(alike), atol=1e-5)
        hidden[own, own] = False
    if mask_false_negatives:
        hidden |= (scores > scores[own, own].unsqueeze(1) + 0.1).detach()
    scores = scores.masked_fill(hidden, -torch.inf) / tau
    cross_entropy = torch.nn.functional.cross_entropy
    return (1 - v2t_weight) * cross_entropy(scores, own) + v2t_weight * cross_entropy(scores[:, :count].T, own)


def make_trajectory(model, processor, media, seed, out):
    """A few steps of LoRA on PAIRS, one batch."""
    factors = adapt(model, seed)
    save_adapter(out / "adapter_init", factors)

    def encoded(content):
        paths = [part | {kind: str(media / part[kind]) for kind in ("image", "video") if kind in part} for part in content]
        return encode(processor, [{"role": "user", "content": paths}])[1]

    inputs = {role: [encoded(content) for content in contents] for role, contents in PAIRS.items()}

    def embed(role):
        last = [model(**one, output_hidden_states=True).hidden_states[-1][:, -1] for one in inputs[role]]
        return torch.nn.functional.normalize(torch.cat(last), dim=-1)

    optimizer = torch.optim.AdamW(factors.values(), lr=SETTINGS["lr"], weight_decay=SETTINGS["weight_decay"])
    log = []
    for step in range(STEPS):
        rate = SETTINGS["lr"] * (1 + math.cos(math.pi * step / STEPS)) / 2
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        queries, positives, negatives = (embed(role) for role in PAIRS)
        loss = info_nce(queries, torch.cat([positives, negatives]), SETTINGS["tau"], SETTINGS["v2t_weight"])
        loss.backward()
        if step == 0:
            first = {"q": queries, "p": positives, "n": negatives}
            first |= {f"grad.{name}": value.grad for name, value in factors.items()}
            save_file({name: value.detach().clone() for name, value in first.items()}, out / "step0.safetensors")
        norm = math.sqrt(sum(float(value.grad.double().square().sum()) for value in factors.values()))
        log.append({"step": step, "lr": rate, "loss": loss.item(), "grad_norm": norm})
        optimizer.step()
    save_adapter(out / "adapter_final", factors)
    record = {"pairs": PAIRS, **SETTINGS, "schedule": "cosine to 0 over steps, no warmup", "log": log}
    (out / "train.json").write_text(json.dumps(record, indent=1))


def make_losses(seed, out):
    """The loss under all its settings, on vectors with duplicates and near misses planted."""
    torch.manual_seed(seed + 2)
    normalize = torch.nn.functional.normalize
    queries, targets = (normalize(torch.randn(rows, 16), dim=-1) for rows in (6, 12))
    targets[:6] = normalize(0.6 * queries + 0.8 * targets[:6], dim=-1)
    targets[4] = targets[1]
    targets[9] = targets[2]
    targets[7] = normalize(3 * queries[3] + targets[7], dim=-1)
    losses = {}
    for weight in (0.0, 0.5):
        for duplicates in (False, True):
            for false_negatives in (False, True):
                name = f"v2t={weight},conflict={duplicates},false_neg={false_negatives}"
                losses[name] = float(info_nce(queries, targets, SETTINGS["tau"], weight, duplicates, false_negatives))
    save_file({"q": queries, "d": targets}, out / "loss.safetensors")
    (out / "loss.json").write_text(json.dumps({"tau": SETTINGS["tau"], "losses": losses}, indent=1))


def main():
    here = Path(__file__).resolve().parent
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--out", type=Path, required=True, help="directory to make; model/, cases/, train/ and cases.json in it are replaced")
    arguments.add_argument("--media", type=Path, default=here / "media")
    arguments.add_argument("--preset", choices=PRESETS, default="a")
    arguments.add_argument("--seed", type=int, default=7)
    arguments = arguments.parse_args()

    torch.set_num_threads(2)
    out = arguments.out
    for stale in ("model", "cases", "train"):
        shutil.rmtree(out / stale, ignore_errors=True)
    model, processor = make_checkpoint(PRESETS[arguments.preset], arguments.seed, out / "model")
    (out / "cases").mkdir()
    records = []
    for name, (system, content) in CASES.items():
        record, tensors = make_case(name, system, content, arguments.media, model, processor)
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, out / "cases" / f"{name}.safetensors")
        records.append(record)
        print(f"{name}: {record['sequence_length']} tokens")
    (out / "cases.json").write_text(json.dumps(records, indent=1, ensure_ascii=False))
    make_trajectory(model, processor, arguments.media, arguments.seed, out / "train")
    make_losses(arguments.seed, out / "train")


if __name__ == "__main__":
    main()
