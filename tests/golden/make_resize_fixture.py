#!/usr/bin/env python3
"""Makes resize.safetensors: random pictures and what Pillow's bicubic `Image.resize` makes of them
(`source.N` and `resized.N`, height x width x 3), and sizes that qwen-vl-utils' `smart_resize` computes
(`smart_resize`, rows of width, height, min_pixels, max_pixels, resized width, resized height).

    pip install "pillow<13" numpy safetensors qwen-vl-utils==0.0.11
    python make_resize_fixture.py resize.safetensors

Pillow 13 resizes tall pictures rows first; the reference and this crate go columns first, as all releases before did.
"""
import random, sys
import numpy as np
from PIL import Image
from safetensors.numpy import save_file
from qwen_vl_utils.vision_process import smart_resize

SIZES = [((37, 53), (28, 28)), ((91, 40), (28, 56)), ((17, 9), (84, 56)), ((64, 64), (56, 56)), ((3, 70), (28, 28)),
         ((1, 1), (28, 28)), ((120, 68), (56, 28)), ((29, 31), (56, 56))]

def picture(rng, kind, width, height):
    if kind == "noise":
        return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    if kind == "edges":
        return (rng.integers(0, 2, (height, width, 3)) * 255).astype(np.uint8)
    y, x = np.mgrid[0:height, 0:width]
    waves = [127.5 * (1 + np.sin(x / (2 + c) + y / (3 + 2 * c))) for c in range(3)]
    return np.stack(waves, -1).round().astype(np.uint8)

def pictures():
    rng = np.random.default_rng(5)
    for kind in ("noise", "edges", "waves"):
        for source, target in SIZES:
            pixels = picture(rng, kind, *source)
            resized = np.asarray(Image.fromarray(pixels).resize(target))
            yield pixels, resized

def sizes():
    rnd = random.Random(5)
    while True:
        width, height = (int(2 ** rnd.uniform(0, 13)) for _ in range(2))
        if max(width, height) > 200 * min(width, height):
            continue
        low = rnd.choice([784, 4 * 784, 16 * 784, 128 * 784, rnd.randrange(1, 200_000)])
        high = rnd.choice([low, low * 2, 200 * 784, 768 * 784, 16384 * 784, rnd.randrange(784, 2_000_000)])
        if high < max(low, 784):
            continue
        to_height, to_width = smart_resize(height, width, 28, low, high)
        if to_height and to_width:
            yield [width, height, low, high, to_width, to_height]

if __name__ == "__main__":
    source = sizes()
    tensors = {"smart_resize": np.array([next(source) for _ in range(600)], dtype=np.int64)}
    for index, (pixels, resized) in enumerate(pictures()):
        tensors[f"source.{index:02}"], tensors[f"resized.{index:02}"] = pixels, resized.copy()
    save_file(tensors, sys.argv[1])
