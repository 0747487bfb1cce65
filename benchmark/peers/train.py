#!/usr/bin/env python3
"""Time training steps of gve beside PyTorch with PEFT, on the same weights and the same batch.

    python train.py                                          # tiny and nano shape; adapter, language layers, everything
    python train.py --shapes nano --trained everything --rounds 5

What is measured: one optimiser step, from token ids and pixel values to moved weights: embeddings of a batch
of 32 texts and their 32 videos, symmetric InfoNCE at a temperature of 0.03 without masks, the backward pass,
AdamW with a weight decay of 0.1 and a constant rate. No gradient checkpointing, no dropout, f32 throughout.

    lora         an adapter of rank 16 on q, k, v, gate, up and down of the language layers
    language     token embeddings and language layers
    everything   the vision tower as well

The batch is made here: texts of 20 to 40 tokens inside a chat template, videos of 8 frames of 112 x 84 pixels,
which are 48 tokens. gve prepares it and hands the tensors over (token ids, position ids, patches) with the
start of its adapter, so that both sides compute the same numbers. Positions are those of transformers 4.51,
as transformers 5 numbers video tokens differently. Their side pads texts to the longest, ours packs.

How: rounds of (ours, theirs), each in a fresh process that does one step to warm up and then `--steps` more.
The table shows the median over all steps, the peak resident memory of a process, the loss of the first step and of the last, and
how far the losses of the sides are ever apart, which shows that both did the same work.
"""
import argparse
import json
import os
import random
import shlex
import statistics
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

from forward import REPOSITORY, machine, peak_rss_bytes
from make_checkpoint import TOKENIZER_DIR

OURS = "cargo run --quiet --release -p uvrb --bin train_step_bench --"
OURS_BUILD = "cargo build --quiet --release -p uvrb --bin train_step_bench"

PAIRS, FRAMES, WIDTH, HEIGHT = 32, 8, 112, 84
LEARNING_RATE, WEIGHT_DECAY, TEMPERATURE = 1e-4, 0.1, 0.03
# Losses further apart than this, relative to their size, are those of different computations.
LARGEST_DIFFERENCE = 1e-2
WORDS = "a the red blue green cat dog rabbit bicycle street meadow runs jumps then find image video in number".split()


# ---- the batch ----------------------------------------------------------------------------------

def png(rows):
    """Encodes rows of RGB bytes."""
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = struct.pack(">IIBBBBB", len(rows[0]) // 3, len(rows), 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def write_inputs(folder):
    """Writes texts, then videos, as JSON lines: a square moves over a ground, in other colours for each video."""
    generator = random.Random(7)
    lines = []
    for _ in range(PAIRS):
        text = " ".join(generator.choices(WORDS, k=generator.randint(8, 16)))
        lines.append({"content": [{"type": "text", "text": text}]})
    for video in range(PAIRS):
        ground, square = generator.randbytes(3), generator.randbytes(3)
        left, top, step = generator.randrange(40), generator.randrange(50), generator.randrange(1, 5)
        frames = []
        for number in range(FRAMES):
            plain, x = ground * WIDTH, left + number * step
            crossed = ground * x + square * 32 + ground * (WIDTH - 32 - x)
            rows = [crossed if top <= y < top + 32 else plain for y in range(HEIGHT)]
            name = f"{video:02}_{number}.png"
            (folder / name).write_bytes(png(rows))
            frames.append(name)
        area = WIDTH * HEIGHT
        part = {"type": "video", "frames": frames, "fps": 2.0, "min_pixels": area, "max_pixels": area}
        lines.append({"content": [part]})
    (folder / "inputs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


# ---- the worker: transformers and PEFT in a process of its own ----------------------------------

def run_peft(options):
    """Trains a few steps and prints one JSON line, as train_step_bench does."""
    import peft
    import torch
    import transformers
    from safetensors.torch import load_file

    torch.set_num_threads(options.threads)
    whole = transformers.Qwen2_5_VLForConditionalGeneration.from_pretrained(
        options.checkpoint, dtype=torch.float32, attn_implementation="sdpa").train()
    model = whole.model  # without the language head
    if options.trained == "lora":
        directory = options.work / "adapter"
        adapter = peft.PeftModel.from_pretrained(whole, directory, is_trainable=True)
        parameters = [p for p in adapter.parameters() if p.requires_grad]
    else:
        model.visual.requires_grad_(options.trained == "everything")
        parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, fused=True)

    tensors = load_file(options.work / "batch.safetensors")
    lengths = tensors["lengths"].tolist()
    ids, positions = tensors["input_ids"].split(lengths), tensors["position_ids"].split(lengths, dim=1)
    pad = torch.nn.utils.rnn.pad_sequence

    def side(first):
        chosen = slice(first, first + len(lengths) // 2)
        padded = pad(ids[chosen], batch_first=True)
        ends = torch.tensor(lengths[chosen]) - 1
        inputs = {
            "input_ids": padded, "attention_mask": (torch.arange(padded.shape[1]) <= ends[:, None]).long(),
            "position_ids": pad([p.T for p in positions[chosen]], batch_first=True).permute(2, 0, 1).contiguous(),
        }
        return inputs, ends

    texts, videos = side(0), side(len(lengths) // 2)
    videos[0].update(pixel_values_videos=tensors["pixel_values"], video_grid_thw=tensors["grid_thw"])

    def embed(inputs, ends):
        hidden = model(**inputs, use_cache=False).last_hidden_state
        return torch.nn.functional.normalize(hidden[torch.arange(len(ends)), ends], dim=-1)

    def step():
        optimizer.zero_grad(set_to_none=True)
        scores = embed(*texts) @ embed(*videos).T / TEMPERATURE
        own = torch.arange(len(scores))
        cross_entropy = torch.nn.functional.cross_entropy
        loss = (cross_entropy(scores, own) + cross_entropy(scores.T, own)) / 2
        loss.backward()
        optimizer.step()
        return loss.item()

    seconds, losses = [], [step()]
    for _ in range(options.steps):
        start = time.perf_counter()
        losses.append(step())
        seconds.append(time.perf_counter() - start)
    versions = f"transformers {transformers.__version__}, peft {peft.__version__}, torch {torch.__version__}"
    print(json.dumps({"seconds": seconds, "losses": losses, "tokens": sum(lengths), "peak_rss_bytes": peak_rss_bytes(),
                      "versions": versions}))


# ---- the comparison -----------------------------------------------------------------------------

def run(command, options):
    environment = os.environ | {
        name: str(options.threads) for name in ("RAYON_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, text=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode != 0:
        sys.exit(f"train.py: {shlex.join(map(str, command))} ended with status {done.returncode}:\n{done.stderr.strip()[-2000:]}")
    return done.stdout.strip().splitlines()


def measure(checkpoint, trained, options):
    """All rounds of one row: {side: {"seconds", "losses", "peak_rss_bytes", ...}}."""
    work = options.work
    ours = shlex.split(options.ours) + ["--model", checkpoint, "--inputs", work / "inputs.jsonl", "--train", trained,
                                        "--learning-rate", str(LEARNING_RATE)]
    run(ours + ["--export", work], options)
    theirs = [sys.executable, __file__, "--worker", "--checkpoint", checkpoint, "--work", work, "--trained", trained,
              "--threads", str(options.threads)]
    results = {}
    for number in range(options.rounds):
        for side, command in (("ours", ours), ("theirs", theirs)):
            report = json.loads(run(command + ["--steps", str(options.steps)], options)[-1])
            print(f"{checkpoint} {trained} round {number + 1} {side}: " + " ".join(f"{s:.4f}" for s in report["seconds"]),
                  file=sys.stderr)
            merged = results.setdefault(side, report | {"seconds": [], "peak_rss_bytes": 0})
            merged["seconds"] += report["seconds"]
            merged["peak_rss_bytes"] = max(merged["peak_rss_bytes"], report["peak_rss_bytes"])
    return results


def table_row(shape, trained, results):
    ours, theirs = results["ours"], results["theirs"]
    seconds = [statistics.median(side["seconds"]) for side in (ours, theirs)]
    apart = max(abs(a - b) / abs(b) for a, b in zip(ours["losses"], theirs["losses"], strict=True))
    if apart > LARGEST_DIFFERENCE:
        sys.exit(f"train.py: losses of {shape}, {trained} differ by {apart:.1e}: {ours['losses']} and {theirs['losses']}")
    cells = [shape, trained, *(f"{1 / s:.2f}" for s in seconds), f"{seconds[1] / seconds[0]:.2f}",
             *(f"{side['peak_rss_bytes'] / 2**20:.0f}" for side in (ours, theirs)),
             f"{ours['losses'][0]:.4f}", f"{ours['losses'][-1]:.4f}", f"{apart:.0e}"]
    return "| " + " | ".join(cells) + " |"


def checkpoint_of(shape, options):
    """The golden checkpoint is the tiny shape; others are made once."""
    if shape == "tiny":
        return TOKENIZER_DIR
    directory = options.work / shape
    if not (directory / "inputs.safetensors").exists():  # written last
        maker = Path(__file__).with_name("make_checkpoint.py")
        run([sys.executable, maker, "--shape", shape, "--out", directory], options)
    return directory


def compare(options):
    if options.ours == OURS:
        subprocess.run(shlex.split(OURS_BUILD), cwd=REPOSITORY, check=True)
    options.work.mkdir(parents=True, exist_ok=True)
    write_inputs(options.work)
    load_before = os.getloadavg()[0]
    rows = []
    for shape in options.shapes.split(","):
        for trained in options.trained.split(","):
            results = measure(checkpoint_of(shape, options), trained, options)
            rows.append(table_row(shape, trained, results))
    theirs = results["theirs"]
    print(f"Machine: {machine()}; {options.threads} threads; load before {load_before:.2f}; {theirs['tokens']} tokens. {theirs['versions']}.\n")
    print("| shape | trained | gve steps/s | PEFT steps/s | gve / PEFT | gve peak MiB | PEFT peak MiB | first loss | last loss | losses apart |")
    print("|---|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    print("\n".join(rows))


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--shapes", default="tiny,nano", help="comma-separated: tiny, or a shape of make_checkpoint.py")
    arguments.add_argument("--trained", default="lora,language,everything", help="comma-separated")
    arguments.add_argument("--work", type=Path, default=Path("target/peers/train"), help="directory for batch and checkpoints")
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--rounds", type=int, default=3, help="fresh processes per side")
    arguments.add_argument("--steps", type=int, default=10, help="timed steps per process")
    arguments.add_argument("--ours", default=OURS, help="command of our side, arguments are appended")
    arguments.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments.add_argument("--checkpoint", type=Path, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    options.work = options.work.resolve()
    run_peft(options) if options.worker else compare(options)


if __name__ == "__main__":
    main()
