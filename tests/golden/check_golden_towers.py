#!/usr/bin/env python3
"""Plant mistakes in the reference of the frame encoders, and see which case of the golden fixtures shows each.

    venv/bin/python tests/golden/check_golden_towers.py            # of all sets; the packages are those of make_golden_towers.py

Prints for each mistake and each set the case whose embedding moves most, and by how much (the largest difference of a value). The
tests allow 1e-5: a mistake that moves nothing by more in a set would go unseen there, and is an error here.
"""
import json
import sys
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoImageProcessor, CLIPModel, SiglipModel

import make_golden_towers as golden

HERE = Path(__file__).parent
SETS = ("clip", "clip-b", "siglip", "siglip2")
ALLOWED = 1e-5


class Side:
    """One set, as it is, to make a mistake in."""

    def __init__(self, name):
        self.name, self.is_clip = name, name.startswith("clip")
        model_dir = HERE / f"tiny-{name}/model"
        kind = CLIPModel if self.is_clip else SiglipModel
        self.model = kind.from_pretrained(model_dir, attn_implementation="eager").float().eval()
        self.images = AutoImageProcessor.from_pretrained(model_dir, use_fast=False)
        self.tokenizer = Tokenizer.from_file(str(model_dir / "tokenizer.json"))
        self.pad = {"siglip": 1, "siglip2": 0}.get(name)
        self.length = 77 if self.is_clip else 64
        self.canonical = {"siglip": canonical, "siglip2": str.lower}.get(name, lambda text: text)
        self.convert = lambda image: image.convert("RGB")
        self.frames = lambda frames: golden.normalised(frames).mean(0, keepdim=True)
        self.parts = lambda parts: torch.stack([golden.normalised(part) for part in parts]).mean(0)
        self.keep_end = True
        self.epsilon = golden.EPSILON

    def encode(self, text):
        ids = self.tokenizer.encode(self.canonical(text)).ids
        if len(ids) > self.length:
            ids = ids[:self.length - 1] + ids[-1:] if self.keep_end else ids[:self.length]
        if self.pad is not None:
            ids = ids + [self.pad] * (self.length - len(ids))
        return torch.tensor([ids])

    @torch.no_grad()
    def embed(self, case):
        parts = []
        if "text" in case:
            parts.append(self.model.get_text_features(self.encode(case["text"])))
        if pictures := golden.pictures_of(case):
            pixels = self.images([self.convert(p) for p in pictures], return_tensors="pt").pixel_values
            parts.append(self.frames(self.model.get_image_features(pixels)))
        return golden.normalised(self.parts(parts))[0]

    def embeddings(self):
        found = {case["name"]: self.embed(case) for case in golden.CASES}
        self.set_epsilon(self.epsilon)
        return found | {epsilon_of(name): self.embed(case) for name, case in golden.EPSILON_CASES.items()}

    def set_epsilon(self, value):
        for module in self.model.modules():
            if isinstance(module, torch.nn.LayerNorm):
                module.eps = value


def epsilon_of(name):
    return f"{name}, epsilon {golden.EPSILON}"


def expected_of(name):
    """The embeddings of a set, by their cases."""
    of = lambda file: load_file(HERE / f"tiny-{name}/{file}.safetensors").items()
    cases = {case.removesuffix(".embedding"): e for case, e in of("cases") if case.endswith(".embedding")}
    return cases | {epsilon_of(case): e for case, e in of("epsilon")}


def canonical(text):
    import re
    import string
    return re.sub(r"\s+", " ", text.lower().translate(str.maketrans("", "", string.punctuation))).strip()


# ---- mistakes: each takes a side, and says whether it can be made there ---------------------------

def activation(name):
    def plant(side):
        from transformers.activations import ACT2FN
        if side.model.config.text_config.hidden_act == name:
            return False
        for module in side.model.modules():
            if hasattr(module, "activation_fn"):
                module.activation_fn = ACT2FN[name]
    return plant


def causal(side):
    import transformers.models.clip.modeling_clip as clip
    if side.is_clip:
        saved = clip._create_4d_causal_attention_mask
        clip._create_4d_causal_attention_mask = lambda *a, **k: None
        return lambda: setattr(clip, "_create_4d_causal_attention_mask", saved)
    text = side.model.text_model
    forward = text.encoder.forward
    mask = torch.full((64, 64), float("-inf")).triu(1)[None, None]
    text.encoder.forward = lambda inputs_embeds, attention_mask=None, **k: forward(inputs_embeds, mask, **k)


def pooled_at_the_start(side):
    norm = side.model.text_model.final_layer_norm
    norm.register_forward_hook(lambda module, given, out: out[:, :1].expand_as(out))


def bypass(path):
    def plant(side):
        module = side.model
        for name in path.split("."):
            module = getattr(module, name, None)
            if module is None:
                return False
        module.forward = lambda x, *a, **k: x
    return plant


def without(path):
    """The layer's result is nothing."""
    def plant(side):
        module = side.model
        for name in path.split("."):
            module = getattr(module, name, None)
            if module is None:
                return False
        module.register_forward_hook(lambda m, given, out: torch.zeros_like(out))
    return plant


def zeroed(path):
    """The bias is nothing; CLIP has none there."""
    def plant(side):
        if side.is_clip:
            return False
        side.model.get_parameter(path).data.zero_()
    return plant


def setting(name, value, when=lambda side: True):
    def plant(side):
        if not when(side):
            return False
        setattr(side, name, value)
    return plant


def epsilon(value):
    """Whatever config.json says."""
    def plant(side):
        side.epsilon = value
        side.set_epsilon(value)
    return plant


def heads(side):
    for module in side.model.modules():
        if hasattr(module, "num_heads") and hasattr(module, "head_dim") and hasattr(module, "scale"):
            module.num_heads, module.head_dim = module.num_heads * 2, module.head_dim // 2
            module.scale = module.head_dim ** -0.5


def shifted_positions(side):
    for tower in (side.model.text_model, side.model.vision_model):
        weight = tower.embeddings.position_embedding.weight
        weight.data = weight.data.roll(1, 0)


def resample(side):
    side.images.resample = 2 if side.images.resample == 3 else 3


def squeezed(side):
    if not side.is_clip:
        return False
    side.images.size, side.images.do_center_crop = {"height": 32, "width": 32}, False


def crop_beside(side):
    """A crop one pixel off the middle."""
    if side.name != "clip-b":
        return False
    side.images.center_crop = lambda image, size, **k: image[3:35, (image.shape[1] - 32) // 2 + 1:][:, :32]


def channels_last(side):
    weight = side.model.vision_model.embeddings.patch_embedding.weight
    out, _, p, _ = weight.shape
    weight.data = weight.data.reshape(out, p, p, 3).permute(0, 3, 1, 2).contiguous()


def bgr(side):
    weight = side.model.vision_model.embeddings.patch_embedding.weight
    weight.data = weight.data.flip(1)


def mean_and_deviation(side):
    side.images.image_mean, side.images.image_std = ([0.5] * 3, [0.5] * 3) if side.is_clip else ([0.48, 0.46, 0.41], [0.27, 0.26, 0.28])


def over_white(image):
    if image.mode != "RGBA":
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")


def rest_of_the_picture(side):
    """Patches from the end of a picture that leaves a rest, not from its start."""
    if side.name != "siglip2":
        return False
    convolve = side.model.vision_model.embeddings.patch_embedding
    forward = convolve.forward
    convolve.forward = lambda pixels: forward(pixels[..., 6:, 6:])


def in_proj_order(side):
    if side.is_clip:
        return False
    attention = side.model.vision_model.head.attention
    q, k, v = attention.in_proj_weight.data.chunk(3)
    attention.in_proj_weight.data = torch.cat([k, q, v])


MISTAKES = {
    "GELU for the activation": activation("gelu"),
    "GELU by a tangent for the activation": activation("gelu_pytorch_tanh"),
    "quick GELU for the activation": activation("quick_gelu"),
    "causality of texts": causal,
    "a text is its first token": pooled_at_the_start,
    "no norm behind the text tower": bypass("text_model.final_layer_norm"),
    "no norm before the picture tower": bypass("vision_model.pre_layrnorm"),
    "no norm behind the picture tower": bypass("vision_model.post_layernorm"),
    "no feed-forward layer in the pooling": without("vision_model.head.mlp"),
    "no projection bias of texts": zeroed("text_model.head.bias"),
    "no bias of patches": zeroed("vision_model.embeddings.patch_embedding.bias"),
    "order of the pooling's projections": in_proj_order,
    "epsilon 1e-5": epsilon(1e-5),
    "epsilon 1e-6": epsilon(1e-6),
    "twice the heads": heads,
    "positions off by one": shifted_positions,
    "texts are not filled up": setting("pad", None, lambda side: not side.is_clip),
    "texts are filled up with another token": lambda side: False if side.is_clip else setattr(side, "pad", 1 - side.pad),
    "capitals and signs stay": setting("canonical", lambda text: text, lambda side: not side.is_clip),
    "signs stay": setting("canonical", str.lower, lambda side: side.name == "siglip"),
    "a text that is cut loses its end": setting("keep_end", False),
    "the other filter": resample,
    "pictures squeezed instead of cropped": squeezed,
    "a crop beside the middle": crop_beside,
    "what is left over is at the start": rest_of_the_picture,
    "pixels of a patch before channels": channels_last,
    "blue before red": bgr,
    "mean and deviation of the other family": mean_and_deviation,
    "transparency over white": setting("convert", over_white),
    "frames are not normalised": setting("frames", lambda frames: frames.mean(0, keepdim=True)),
    "parts are not normalised": setting("parts", lambda parts: torch.stack(parts).mean(0)),
}


def main():
    expected = {name: expected_of(name) for name in SETS}
    off = lambda name, found: {case: float((e - expected[name][case]).abs().max()) for case, e in found.items()}
    for name in SETS:
        moved = off(name, Side(name).embeddings())
        assert max(moved.values()) < 1e-6, (name, moved)
    unseen = 0
    for mistake, plant in MISTAKES.items():
        shown = []
        for name in SETS:
            side = Side(name)
            undo = plant(side)
            if undo is False:
                continue
            moved = off(name, side.embeddings())
            case = max(moved, key=moved.get)
            shown.append((moved[case], name, case))
            if callable(undo):
                undo()
        # What the sets share shows in all of them.
        weakest = min(shown)
        unseen += weakest[0] <= ALLOWED
        print(f"{mistake}: " + ", ".join(f"{name} {case} {by:.1e}" for by, name, case in shown))
    sys.exit(f"{unseen} mistakes show in no case" if unseen else 0)


if __name__ == "__main__":
    main()
