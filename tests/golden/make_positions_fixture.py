#!/usr/bin/env python3
"""Makes positions.json: position ids of `get_rope_index` (transformers 4.51.3, Qwen2.5-VL) for sequences of text, images
and videos. Sequences are listed as spans; a video's `second_per_grid` is a double.

    pip install torch transformers==4.51.3
    python make_positions_fixture.py > positions.json
"""
import json, types
import torch
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLForConditionalGeneration as Model

START, END, IMAGE, VIDEO, TEXT, MERGE = 1, 2, 3, 4, 9, 2

def text(n): return {"text": n}
def image(*grid): return {"image": grid}
def video(second_per_grid, *grid): return {"video": grid, "second_per_grid": second_per_grid}

CASES = [
    (2, [text(7)]),
    (4, [text(5), video(1.0, 4, 4, 6), text(3)]),
    (4, [text(3), video(0.8, 5, 2, 2), text(2), image(1, 6, 4), text(1), video(1.32, 3, 4, 4), text(4)]),
    (2, [text(14), image(1, 10, 18), image(1, 30, 6), text(6)]),
    (2, [text(4), video(1.0010000000000001, 3, 6, 8), text(2), video(2 / 3, 6, 2, 4), video(0.1, 12, 2, 2), text(5)]),
    (2, [text(2), video(2 / 23.976, 30, 2, 2), text(2)]),
    (2, [text(2), image(1, 2, 40), text(1), video(12.5, 2, 2, 2), image(1, 40, 2), text(1)]),
    (25, [text(2), video(0.04, 20, 2, 2), text(1)]),
    (3, [text(2), video(1 / 3, 16, 2, 2), video(0.7, 16, 2, 2), video(1.1, 16, 2, 2), text(1)]),
]

def run(tokens_per_second, spans):
    ids, images, videos, seconds = [], [], [], []
    for span in spans:
        if "text" in span:
            ids += [TEXT] * span["text"]
            continue
        kind = "image" if "image" in span else "video"
        t, h, w = span[kind]
        ids += [START] + [IMAGE if kind == "image" else VIDEO] * (t * h * w // MERGE**2) + [END]
        (images if kind == "image" else videos).append([t, h, w])
        if kind == "video":
            seconds.append(span["second_per_grid"])
    vision = types.SimpleNamespace(spatial_merge_size=MERGE, tokens_per_second=tokens_per_second)
    config = types.SimpleNamespace(vision_config=vision, image_token_id=IMAGE, video_token_id=VIDEO, vision_start_token_id=START)
    ids = torch.tensor([ids])
    positions, _ = Model.get_rope_index(
        types.SimpleNamespace(config=config), ids, torch.tensor(images) if images else None, torch.tensor(videos) if videos else None,
        torch.tensor(seconds, dtype=torch.float64) if seconds else None, torch.ones_like(ids))
    return positions[:, 0].tolist()

if __name__ == "__main__":
    cases = [{"tokens_per_second": tps, "spans": spans, "position_ids": run(tps, spans)} for tps, spans in CASES]
    print(json.dumps(cases, separators=(",", ":")))
