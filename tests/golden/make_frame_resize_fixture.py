#!/usr/bin/env python3
"""Makes resize_frames.safetensors: random pictures and what PyTorch's antialiased bicubic makes of them (`source.N` and
`resized.N`, height x width x 3), which is what torchvision resizes a tensor of frames with.

    pip install torch numpy safetensors
    python make_frame_resize_fixture.py resize_frames.safetensors
"""
import sys

import torch
from safetensors.torch import save_file

SIZES = [((120, 160), (56, 56)), ((63, 81), (112, 140)), ((90, 37), (28, 56)), ((9, 17), (56, 84)), ((100, 150), (84, 140))]


def main():
    generator = torch.Generator().manual_seed(5)
    tensors = {}
    for number, (source, target) in enumerate(SIZES):
        pixels = torch.randint(0, 256, (*source, 3), generator=generator, dtype=torch.uint8)
        planes = pixels.permute(2, 0, 1)[None].float()
        resized = torch.nn.functional.interpolate(planes, size=target, mode="bicubic", antialias=True)
        levels = resized[0].clamp(0, 255).round().to(torch.uint8).permute(1, 2, 0).contiguous()
        tensors[f"source.{number:02}"], tensors[f"resized.{number:02}"] = pixels, levels
    save_file(tensors, sys.argv[1])


if __name__ == "__main__":
    main()
