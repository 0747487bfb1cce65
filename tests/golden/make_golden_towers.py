#!/usr/bin/env python3
"""Make the golden fixtures of the frame encoders: tiny random CLIP and SigLIP checkpoints and what they embed.

The reference is `CLIPModel` and `SiglipModel` of transformers 4.57.6 with their slow image processors (Pillow before
13, which resizes columns first) and fast tokenizers. A video is the mean of its normalised frames, an input of a text
and a picture the mean of both; embeddings have length 1.

    python3 -m venv venv
    venv/bin/pip install torch "pillow<13" safetensors transformers==4.57.6 peft==0.17.1 sentencepiece
    for set in clip clip-b siglip siglip2; do
        venv/bin/python tests/golden/make_golden_towers.py --set $set --out tests/golden/tiny-$set
    done

    clip      texts pooled by the old rule (eos_token_id 2), towers of different widths, settings as OpenAI's files have them
    clip-b    texts pooled at eos_token_id, GELU, equal widths, a picture larger than what is cropped of it
    siglip2   Gemma's tokenizer, bilinear filter, patches that leave a rest
    siglip    SigLIP 1: sentencepiece and its canonical texts, bicubic filter

Written to --out:

    model/                   checkpoint in Hugging Face layout
    cases.json               one record per case: text, image, and crops of the image that are the frames of a video
    cases.safetensors        NAME.embedding [dim]; NAME.input_ids of texts, NAME.pixel_values of images
    epsilon.safetensors      NAME [dim]: two of the cases with layer_norm_eps 0.05, as the usual ones turn an embedding by less
                             than tests can see
    train.safetensors        direction [cases, dim]; full.NAME, the gradients of sum(direction * embedding) over the first
                             texts, image, video and text with image; lora.NAME, those of the adapter's factors, and
                             lora.embedding [cases, dim] with the adapter
    adapter/                 the adapter, in PEFT's layout

The numbers depend on the versions above and, in the last bits, on the CPU.
"""
import argparse
import json
import math
import random
import shutil
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizerFast, GemmaTokenizerFast, SiglipConfig,
                          SiglipImageProcessor, SiglipModel, SiglipTokenizer)

MEDIA = Path(__file__).parent / "media"
# Head widths, depths and biases differ between the towers, so that no mix-up goes unseen.
TEXT = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 3}
VISION = {"hidden_size": 32, "intermediate_size": 56, "num_hidden_layers": 2, "num_attention_heads": 4}
EQUAL = {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
TARGETS = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"]

# ---- tokenizers ---------------------------------------------------------------------------------

TRAINING_WORDS = (
    "a photo of the red green blue dog cat rabbit butterfly person rides runs jumps slowly quickly left right up "
    "down in on under street forest meadow sea sky window tree two three many then while before after near").split()


def sentences(seed):
    rng = random.Random(seed)
    return [" ".join(rng.choices(TRAINING_WORDS, k=10)) for _ in range(2000)]


def byte_symbols():
    """The printable stand-ins of GPT-2's bytes, in the order of CLIP's vocabulary."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    others = [b for b in range(256) if b not in plain]
    return [chr(b) for b in plain] + [chr(256 + i) for i in range(len(others))]


def clip_tokenizer(out, seed):
    tokenizer = Tokenizer(models.BPE(unk_token="<|endoftext|>", end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.train_from_iterator(sentences(seed), trainers.BpeTrainer(
        vocab_size=620, end_of_word_suffix="</w>", initial_alphabet=byte_symbols(), show_progress=False))
    merges = [tuple(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]
    symbols = byte_symbols()
    tokens = symbols + [symbol + "</w>" for symbol in symbols] + ["".join(pair) for pair in merges]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    (out / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}, ensure_ascii=False))
    (out / "merges.txt").write_text("#version: 0.2\n" + "".join(" ".join(pair) + "\n" for pair in merges))
    return CLIPTokenizerFast(vocab_file=str(out / "vocab.json"), merges_file=str(out / "merges.txt"), model_max_length=77)


def gemma_tokenizer(out, seed):
    """A BPE that knows blanks as letters and falls back to bytes, as Gemma's."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    tokenizer.train_from_iterator(sentences(seed), trainers.BpeTrainer(vocab_size=130, show_progress=False))
    trained = json.loads(tokenizer.to_str())["model"]
    tokens = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"] + [f"<0x{b:02X}>" for b in range(256)]
    tokens += [token for token in sorted(trained["vocab"], key=trained["vocab"].get)]
    tokenizer = Tokenizer(models.BPE(
        vocab={token: i for i, token in enumerate(tokens)}, merges=[tuple(pair) for pair in trained["merges"]],
        fuse_unk=True, unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in tokens[:5]])
    tokenizer.save(str(out / "tokenizer.json"))
    return GemmaTokenizerFast(
        tokenizer_file=str(out / "tokenizer.json"), add_bos_token=False, add_eos_token=True, padding_side="right",
        mask_token="<mask>", model_max_length=64, model_input_names=["input_ids"])


def sentencepiece_tokenizer(out, seed):
    """SigLIP 1's tokenizer, and the same as `tokenizer.json`; transformers 4.57 has no fast one of its own."""
    import sentencepiece
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences(seed)), model_prefix=str(out / "spiece"), vocab_size=60, model_type="unigram",
        unk_id=2, eos_id=1, pad_id=0, bos_id=-1, unk_piece="<unk>", eos_piece="</s>", pad_piece="<pad>",
        character_coverage=1.0, minloglevel=2, num_threads=1)
    (out / "spiece.vocab").unlink()
    slow = SiglipTokenizer(vocab_file=str(out / "spiece.model"), model_max_length=64, model_input_names=["input_ids"])
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(out / "spiece.model"))
    scores = [(pieces.id_to_piece(i), pieces.get_score(i)) for i in range(len(pieces))]
    tokenizer = Tokenizer(models.Unigram(scores, unk_id=2, byte_fallback=False))
    # What is canonical about a text, its capitals and signs, is not in the file.
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace("  ", " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in ("<pad>", "</s>", "<unk>")])
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.save(str(out / "tokenizer.json"))
    return slow


# ---- checkpoints --------------------------------------------------------------------------------

def make_clip(out, seed, variant):
    tokenizer = clip_tokenizer(out, seed)
    tokenizer.save_pretrained(out)
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "vocab_size": len(tokenizer)}
    if variant == "b":
        text, vision = {**EQUAL, **ids}, {**EQUAL, "image_size": 32, "patch_size": 8}
        act = {"hidden_act": "gelu"}
        config = CLIPConfig(text_config={**text, **act}, vision_config={**vision, **act}, projection_dim=24)
        images = CLIPImageProcessor(size={"shortest_edge": 37}, crop_size={"height": 32, "width": 32})
    else:
        text = {**TEXT, **ids, "bos_token_id": 0, "eos_token_id": 2}
        config = CLIPConfig(text_config=text, vision_config={**VISION, "image_size": 32, "patch_size": 8},
                            projection_dim=20)
        images = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    images.save_pretrained(out)
    if variant == "a":
        # As the files of 2021 have it.
        settings = {"crop_size": 32, "do_center_crop": True, "do_normalize": True, "do_resize": True, "resample": 3,
                    "feature_extractor_type": "CLIPFeatureExtractor", "image_mean": images.image_mean,
                    "image_std": images.image_std, "size": 32}
        (out / "preprocessor_config.json").write_text(json.dumps(settings, indent=2))
    encode = lambda text: tokenizer(text, truncation=True, return_tensors="pt").input_ids
    return CLIPModel, config, encode, images


def make_siglip(out, seed, variant):
    if variant == "2":
        tokenizer = gemma_tokenizer(out, seed)
        tokenizer.save_pretrained(out)
        # The models were trained on lower-case texts (README_siglip2.md of big_vision). transformers does so since its
        # `Siglip2Tokenizer` of release 5; the files say nothing of it.
        backend = tokenizer.backend_tokenizer
        backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), backend.normalizer])
        images = SiglipImageProcessor(size={"height": 30, "width": 30}, resample=2, image_mean=[0.5] * 3, image_std=[0.5] * 3)
        vision = {**VISION, "image_size": 30, "patch_size": 8}
    else:
        tokenizer = sentencepiece_tokenizer(out, seed)
        tokenizer.save_pretrained(out)
        images = SiglipImageProcessor(size={"height": 32, "width": 32}, resample=3, image_mean=[0.5] * 3, image_std=[0.5] * 3)
        vision = {**VISION, "image_size": 32, "patch_size": 16}
    config = SiglipConfig(text_config={**TEXT, "vocab_size": len(tokenizer), "projection_size": 32}, vision_config=vision)
    images.save_pretrained(out)
    encode = lambda text: tokenizer(
        text, padding="max_length", max_length=64, truncation=True, return_tensors="pt").input_ids
    return SiglipModel, config, encode, images


@torch.no_grad()
def make_model(kind, config, out, seed):
    """Random weights, rounded to bf16, large enough that a mistake in any branch shows in the embedding."""
    torch.manual_seed(seed)
    config._attn_implementation = "eager"
    model = kind(config).float().eval()
    for name, weight in model.named_parameters():
        noise = torch.randn_like(weight)
        if "norm" in name:
            weight.copy_(noise * 0.2 + (1.0 if name.endswith("weight") else 0.0))
        elif "embedding" in name and "patch" not in name or "probe" in name:
            weight.copy_(noise)
        elif weight.ndim > 1:
            weight.copy_(noise * (1.3 / math.sqrt(weight[0].numel())))
        else:
            weight.copy_(noise * 0.3)
        weight.copy_(weight.bfloat16().float())
    model.bfloat16().save_pretrained(out)
    # Checkpoints of earlier releases have these numbers in them.
    if kind is CLIPModel and config.text_config.eos_token_id == 2:
        tensors = load_file(out / "model.safetensors")
        tensors["text_model.embeddings.position_ids"] = torch.arange(77).expand(1, -1).clone()
        save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    return model.float()


# ---- cases --------------------------------------------------------------------------------------

LONG = " ".join(TRAINING_WORDS * 4)
# Windows of the image, each a frame.
CROPS = [[0, 0, 150, 110], [60, 30, 150, 110], [200, 90, 150, 110]]
CASES = [
    {"name": "short", "text": "a red dog runs in the forest"},
    {"name": "image", "image": "rabbit.png"},
    {"name": "video", "image": "rabbit.png", "crops": CROPS},
    {"name": "composed", "text": "now in the Meadow", "image": "tall.png"},
    {"name": "signs", "text": "  Two DOGS, it's 42\n\t(caf\u00e9: \u00c5ngstr\u00f6m, \u4e2d\u6587 \U0001f98a)!  "},
    {"name": "empty", "text": ""},
    {"name": "long", "text": LONG},
    {"name": "tall", "image": "tall.png"},
    {"name": "tiny", "image": "tiny.png"},
    {"name": "alpha", "image": "alpha.png"},
]
# Gradients are taken of these.
TRAINED = 4
EPSILON = 0.05
EPSILON_CASES = {case["name"]: case for case in CASES[:2]}


def normalised(rows):
    return rows / rows.norm(dim=-1, keepdim=True)


def pictures_of(case):
    if "image" not in case:
        return []
    image = Image.open(MEDIA / case["image"])
    return [image.crop((x, y, x + w, y + h)) for x, y, w, h in case.get("crops", [])] or [image]


def embed(model, encode, images, case):
    """The case's embedding, and the tensors the model was given."""
    parts, tensors = [], {}
    if "text" in case:
        tensors["input_ids"] = encode(case["text"])
        parts.append(model.get_text_features(tensors["input_ids"]))
    if pictures := pictures_of(case):
        tensors["pixel_values"] = images([p.convert("RGB") for p in pictures], return_tensors="pt").pixel_values
        frames = model.get_image_features(tensors["pixel_values"])
        parts.append(normalised(frames).mean(0, keepdim=True))
    return normalised(torch.stack([normalised(part) for part in parts]).mean(0))[0], tensors


def alpha_picture(path):
    """Colours that only show where alpha is dropped."""
    image = Image.new("RGBA", (48, 33))
    image.putdata([(5 * x, 7 * y, 255 - 3 * x, 0 if x < 24 else 4 * y) for y in range(33) for x in range(48)])
    image.save(path)


def make_cases(model, encode, images, out):
    tensors = {}
    with torch.no_grad():
        for case in CASES:
            embedding, given = embed(model, encode, images, case)
            tensors[f"{case['name']}.embedding"] = embedding
            if "input_ids" in given:
                tensors[f"{case['name']}.input_ids"] = given["input_ids"][0].int()
            if case["name"] in ("image", "tiny"):
                tensors[f"{case['name']}.pixel_values"] = given["pixel_values"][0].contiguous()
    (out / "cases.json").write_text(json.dumps(CASES, indent=1) + "\n")
    save_file(tensors, out / "cases.safetensors")


def make_epsilon(kind, encode, images, out):
    model = with_epsilon(kind, out / "model", EPSILON)
    with torch.no_grad():
        tensors = {name: embed(model, encode, images, case)[0] for name, case in EPSILON_CASES.items()}
    save_file(tensors, out / "epsilon.safetensors")


def with_epsilon(kind, model_dir, epsilon):
    config = kind.config_class.from_pretrained(model_dir)
    config.text_config.layer_norm_eps = config.vision_config.layer_norm_eps = epsilon
    return kind.from_pretrained(model_dir, config=config, attn_implementation="eager").float().eval()


def make_train(model, encode, images, out, seed):
    torch.manual_seed(seed + 1)
    forward = lambda m: torch.stack([embed(m, encode, images, case)[0] for case in CASES[:TRAINED]])
    direction = torch.randn_like(forward(model))
    tensors = {"direction": direction}
    (forward(model) * direction).sum().backward()
    tensors |= {f"full.{n}": p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.requires_grad_(False)
    towers = r"(text_model|vision_model)\.encoder\.layers\.\d+\.(self_attn|mlp)\.(" + "|".join(TARGETS) + ")"
    adapted = get_peft_model(model, LoraConfig(r=2, lora_alpha=3, target_modules=towers))
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            parameter.data = torch.randn_like(parameter) * 0.3
    embedding = forward(adapted.base_model.model)
    (embedding * direction).sum().backward()
    tensors["lora.embedding"] = embedding.detach()
    for name, parameter in adapted.named_parameters():
        if parameter.grad is not None and "lora_" in name:
            tensors[f"lora.{name.replace('.default', '')}"] = parameter.grad.clone()
    adapted.save_pretrained(out / "adapter")
    (out / "adapter/README.md").unlink(missing_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, out / "train.safetensors")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--set", choices=("clip", "clip-b", "siglip", "siglip2"), required=True)
    arguments.add_argument("--seed", type=int, default=7)
    arguments.add_argument("--out", type=Path, required=True)
    options = arguments.parse_args()
    torch.use_deterministic_algorithms(True)
    shutil.rmtree(options.out, ignore_errors=True)
    model_dir = options.out / "model"
    model_dir.mkdir(parents=True)
    alpha_picture(MEDIA / "alpha.png")
    make, variant = {"clip": (make_clip, "a"), "clip-b": (make_clip, "b"), "siglip": (make_siglip, "1"),
                     "siglip2": (make_siglip, "2")}[options.set]
    kind, config, encode, images = make(model_dir, options.seed, variant)
    model = make_model(kind, config, model_dir, options.seed)
    make_cases(model, encode, images, options.out)
    make_epsilon(kind, encode, images, options.out)
    make_train(model, encode, images, options.out, options.seed)


if __name__ == "__main__":
    main()
