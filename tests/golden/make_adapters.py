#!/usr/bin/env python3
"""Make adapters of every kind that PEFT trains, on the tiny checkpoint, and what comes out with them in PEFT.

    python3 -m venv venv
    venv/bin/pip install torch==2.7.1 torchvision==0.22.1 pillow safetensors transformers==5.24.0 peft==0.21.2
    venv/bin/python tests/golden/make_adapters.py

Each kind is put on `Qwen2_5_VLForConditionalGeneration` by PEFT, gets random values, is saved by PEFT, and is loaded again. Written to
tiny-a/adapters/:

    picture.png               of a size that nobody resizes
    KIND/                     adapter_config.json and adapter_model.safetensors
    adapters.json             by kind: the tensors in the file, and the embeddings of a text and a picture
    gradients.safetensors     of the kinds in GRADIENTS: gradients of sum(embeddings * direction), as KIND.NAME, and the direction
    dora.safetensors          one layer with DoRA: x, weight, bias, A, B, magnitude, the output y, and gradients of sum(y * direction)

An embedding is the final hidden state of the last token, L2-normalised. Numbers depend on the versions above and, in the last
bits, on the CPU.
"""
import json
import shutil
from pathlib import Path

import peft
import torch
import transformers
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoProcessor, Qwen2_5_VLForConditionalGeneration

HERE = Path(__file__).resolve().parent
MODEL = HERE / "tiny-a/model"
OUT = HERE / "tiny-a/adapters"
IMAGE = OUT / "picture.png"
TEXT = "a red bicycle in the meadow"

LANGUAGE = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
KINDS = {
    "rslora": {"r": 4, "lora_alpha": 6, "use_rslora": True, "target_modules": ["q_proj", "v_proj"]},
    "dora": {"r": 2, "lora_alpha": 4, "use_dora": True, "target_modules": r".*language_model\.layers\.\d+\..*(q|k|v|o|gate|up|down)_proj"},
    "vision": {"r": 2, "lora_alpha": 4, "target_modules": ["qkv", "attn.proj", "q_proj", "gate_proj", "merger.mlp.0"]},
    "everything": {"r": 2, "lora_alpha": 3, "use_dora": True, "use_rslora": True, "target_modules": "all-linear"},
    # `norm` is the end of the name of each language layer's norms, too.
    "saved": {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj"], "modules_to_save": ["norm", "merger.mlp.2"]},
    "embeddings": {"r": 2, "lora_alpha": 4, "target_modules": ["v_proj"], "modules_to_save": ["embed_tokens"]},
    "patterns": {"r": 4, "lora_alpha": 8, "use_rslora": True, "target_modules": ["q_proj", "down_proj"],
                 "rank_pattern": {"layers.1.self_attn.q_proj": 2, r"language_model\.layers\.3\..*": 1},
                 "alpha_pattern": {"down_proj": 3, r"model\.language_model\.layers\.0\.self_attn\.q_proj": 16},
                 "fan_in_fan_out": True, "init_lora_weights": "gaussian", "layers_to_transform": [0, 1, 3], "layers_pattern": "layers"},
}
GRADIENTS = ["everything", "saved"]


def base():
    return Qwen2_5_VLForConditionalGeneration.from_pretrained(MODEL).float().eval()


def inputs():
    processor = AutoProcessor.from_pretrained(MODEL)
    for part in ({"type": "text", "text": TEXT}, {"type": "image"}):
        message = [{"role": "user", "content": [part]}]
        prompt = processor.apply_chat_template(message, tokenize=False, add_generation_prompt=True) + "<|endoftext|>"
        images = [Image.open(IMAGE).convert("RGB")] if part["type"] == "image" else None
        yield processor(text=[prompt], images=images, return_tensors="pt")


def embeddings(model):
    hidden = [model(**batch, output_hidden_states=True).hidden_states[-1][0, -1] for batch in inputs()]
    return torch.nn.functional.normalize(torch.stack(hidden), dim=1)


def make(kind, settings):
    """The adapter of a kind, its values random, on disk."""
    torch.manual_seed(7)
    model = peft.get_peft_model(base(), peft.LoraConfig(task_type="FEATURE_EXTRACTION", lora_dropout=0.05, **settings))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                size = 0.3 if "lora_" in name and "magnitude" not in name else 0.2 * parameter.abs().mean()
                parameter.add_(size * torch.randn_like(parameter))
    model.save_pretrained(OUT / kind)
    (OUT / kind / "README.md").unlink()
    config = OUT / kind / "adapter_config.json"
    settings = json.loads(config.read_text()) | {"base_model_name_or_path": "tiny-a"}
    # Sets, whose order changes from run to run.
    for key in ("target_modules", "modules_to_save"):
        if isinstance(settings[key], list):
            settings[key].sort()
    config.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")


def record(kind, plain, direction, gradients):
    model = peft.PeftModel.from_pretrained(base(), OUT / kind, is_trainable=kind in GRADIENTS).eval()
    with safe_open(OUT / kind / "adapter_model.safetensors", "pt") as file:
        names = sorted(file.keys())
    found = embeddings(model)
    assert (torch.nn.functional.cosine_similarity(found, plain) < 0.999).all(), f"{kind} changes nothing"
    if kind in GRADIENTS:
        (found * direction).sum().backward()
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                name = name.replace(".default", "").replace("modules_to_save.", "").removesuffix(".weight")
                key = next(key for key in names if key.removesuffix(".weight").removesuffix(".bias") in (name, name.removesuffix(".bias"))
                           and key.endswith(".bias") == name.endswith(".bias"))
                gradients[f"{kind}.{key}"] = parameter.grad.contiguous()
        assert {key for key in gradients if key.startswith(f"{kind}.")} == {f"{kind}.{name}" for name in names}
    print(kind, len(names), [round(x, 4) for x in torch.nn.functional.cosine_similarity(found, plain).tolist()])
    return {"tensors": len(names), "embeddings": found.tolist()}


def one_layer():
    torch.manual_seed(11)
    layer = torch.nn.Sequential(torch.nn.Linear(24, 10))
    config = peft.LoraConfig(r=3, lora_alpha=5, use_rslora=True, use_dora=True, target_modules=["0"])
    model = peft.get_peft_model(layer, config).train()
    values = {"weight": layer[0].base_layer.weight, "bias": layer[0].base_layer.bias, "a": layer[0].lora_A["default"].weight,
              "b": layer[0].lora_B["default"].weight, "magnitude": layer[0].lora_magnitude_vector["default"].weight}
    with torch.no_grad():
        for value in values.values():
            value.add_(0.3 * torch.randn_like(value))
    x, direction = torch.randn(7, 24, requires_grad=True), torch.randn(7, 10)
    y = model(x)
    (y * direction).sum().backward()
    trained = {"x": x} | {name: values[name] for name in ("a", "b", "magnitude")}
    tensors = values | {"x": x, "y": y, "direction": direction} | {f"grad.{name}": value.grad for name, value in trained.items()}
    return {name: tensor.detach().contiguous() for name, tensor in tensors.items()}


def main():
    if OUT.exists():
        shutil.rmtree(OUT)
    OUT.mkdir()
    # Twice 28 and more, and few colours for a small file.
    picture = Image.open(HERE / "media/rabbit.png").convert("RGB").crop((40, 40, 40 + 84, 40 + 112)).quantize(16, dither=Image.Dither.NONE)
    picture.convert("RGB").save(IMAGE, optimize=True)
    torch.manual_seed(3)
    with torch.no_grad():
        plain = embeddings(base())
    direction, gradients = torch.randn_like(plain), {}
    kinds = {}
    for kind, settings in KINDS.items():
        make(kind, settings)
        kinds[kind] = record(kind, plain, direction, gradients)
    versions = {"transformers": transformers.__version__, "peft": peft.__version__, "torch": torch.__version__}
    about = {"versions": versions, "text": TEXT, "image": IMAGE.name, "kinds": kinds}
    (OUT / "adapters.json").write_text(json.dumps(about, indent=1) + "\n")
    save_file(gradients | {"direction": direction}, OUT / "gradients.safetensors")
    save_file(one_layer(), OUT / "dora.safetensors")


if __name__ == "__main__":
    main()
