#!/usr/bin/env python3
"""Show that gve computes the right numbers on an NVIDIA GPU, and how fast, beside transformers on the same card.

    scripts/gpu_acceptance.sh            runs this; it says how the programs come here

What is done, in under ten minutes:

    operations   each operation of the model on the card against the kernels of the CPU, in f32, bf16 and f16
    numbers      the reference's cases of all families in f32 and half precision; gradients against PyTorch's;
                 steps of LoRA and full training, with AdamW and Muon, at once and in pieces, against the CPU's
    forward      the shape of GVE-3B with random weights, 1, 8 and 32 videos a batch, beside transformers with SDPA
    profile      the time of each kernel, where Nsight Compute is there
    long         a text of 8192 tokens, beside transformers

It writes `acceptance.json`, `acceptance.md` and the logs into `--out`, and fails where a number is wrong.
"""
import argparse
import csv
import json
import lzma
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
RUN_CUDA = REPOSITORY / "scripts/run_cuda.sh"
NUMBERS = ["model::", "qwen::", "towers::", "towers_train::", "rerank::", "train_model::", "train_device::",
           "train_memory::precision"]
DRY_NUMBERS = ["model::stages_equal_the_reference", "qwen::stages_equal_the_reference"]
MODEL = "tests/golden/tiny-a/model"
# Of two embeddings in bf16, by different orders of the same additions.
LEAST_COSINE = 0.999


class Run:
    def __init__(self, options):
        self.options, self.report = options, {"steps": []}
        self.out = options.out.resolve()
        self.out.mkdir(parents=True, exist_ok=True)
        self.work = self.out / "work"
        self.work.mkdir(exist_ok=True)

    # ---- programs -------------------------------------------------------------------------------

    def program(self, name):
        packed, plain = (self.options.programs / f"{name}.xz"), (self.options.programs / name)
        if not packed.exists():
            return plain.resolve()
        plain = self.work / name
        if not plain.exists():
            with lzma.open(packed) as source, plain.open("wb") as target:
                shutil.copyfileobj(source, target)
            plain.chmod(0o755)
        return plain

    def command(self, name):
        prefix = [] if self.options.dry_run else [str(RUN_CUDA)]
        return prefix + [str(self.program(name))]

    def tests(self, name, program, arguments):
        """Runs a program of tests on the device; the last lines say what failed."""
        environment = os.environ | {"GVE_TEST_DEVICE": self.options.device, "GVE_REPOSITORY": str(REPOSITORY)}
        start = time.monotonic()
        done = subprocess.run(self.command(program) + ["--nocapture", "--test-threads=4", *arguments], cwd=REPOSITORY,
                              env=environment, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        (self.out / f"{name}.log").write_text(done.stdout)
        result = re.search(r"test result: .*?(\d+) passed; (\d+) failed", done.stdout)
        passed, failed = (int(result[1]), int(result[2])) if result else (0, 0)
        step = {"name": name, "passed": done.returncode == 0 and passed > 0, "tests": passed, "failed": failed,
                "seconds": round(time.monotonic() - start, 1),
                "failures": re.findall(r"^test (\S+) \.\.\. FAILED", done.stdout, re.MULTILINE)}
        self.report["steps"].append(step)
        print(f"{name}: {passed} passed, {failed} failed ({step['seconds']} s)", file=sys.stderr)
        return done.stdout

    # ---- steps ----------------------------------------------------------------------------------

    def operations(self):
        said = self.tests("operations", "unit", ["model::ops"])
        worst = {}
        for what, dtype, off in re.findall(r"^(.+?): (F32|BF16|F16) on .*?: off by (\S+)$", said, re.MULTILINE):
            key = (what, dtype)
            worst[key] = max(worst.get(key, 0.0), float(off))
        self.report["operations"] = [{"what": what, "dtype": dtype, "off": off} for (what, dtype), off in sorted(worst.items())]

    def numbers(self):
        dry = self.options.dry_run
        self.tests("numbers", "it", DRY_NUMBERS if dry else ["--include-ignored", *NUMBERS])

    def product_rate(self):
        """TFLOP/s of a product of two bf16 matrices of random numbers, 8192 to the side, by torch."""
        import torch
        a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
        seconds = []
        for number in range(13):
            torch.cuda.synchronize()
            start = time.perf_counter()
            a @ b
            torch.cuda.synchronize()
            if number >= 3:
                seconds.append(time.perf_counter() - start)
        self.report["product_tflops"] = 2 * 8192**3 / sorted(seconds)[len(seconds) // 2] / 1e12
        del a, b
        torch.cuda.empty_cache()

    def checkpoint(self):
        if self.options.dry_run:
            return REPOSITORY / MODEL
        directory = self.work / self.options.shape
        if not (directory / "inputs.safetensors").exists():
            subprocess.run([sys.executable, REPOSITORY / "benchmark/peers/make_checkpoint.py", "--shape", self.options.shape,
                            "--dtype", "bf16", "--out", directory], check=True, stdout=sys.stderr)
        return directory

    def forward(self, name, inputs, copies):
        checkpoint, found = self.checkpoint(), self.out / f"{name}.json"
        command = [sys.executable, str(REPOSITORY / "benchmark/peers/forward.py"), "--checkpoint", str(checkpoint), "--inputs", str(inputs),
                   "--device", self.options.device, "--dtypes", "bf16", "--rounds", "1", "--runs", "5", "--copies", str(copies),
                   "--json", str(found), "--ours", " ".join(self.command("forward_bench"))]
        with DeviceMemory() as memory:
            done = subprocess.run(command + (["--side", "ours"] if self.options.dry_run else []), text=True, capture_output=True)
        (self.out / f"{name}.log").write_text(done.stdout + done.stderr)
        if done.returncode != 0:
            self.report["steps"].append({"name": name, "passed": False, "failures": [done.stderr.strip()[-500:]]})
            return
        measured = json.loads(found.read_text())
        sides = measured["results"]["bf16"]
        row = {"name": name, "copies": copies, "device": measured["device"], "versions": measured["versions"],
               "peak_device_mib": memory.peak}
        for side, result in sides.items():
            row[f"{side}_seconds"] = sorted(result["seconds"])[len(result["seconds"]) // 2]
        tokens, patches = self.sizes(inputs, copies)
        row["tflop"] = flops(json.loads((checkpoint / "config.json").read_text()), tokens, patches, copies) / 1e12
        if "theirs" in sides:
            row["cosine"] = cosine(sides["ours"]["embedding"], sides["theirs"]["embedding"])
        passed = row.get("cosine", 1.0) >= LEAST_COSINE and all(x == x for x in sides["ours"]["embedding"])
        self.report["steps"].append({"name": name, "passed": passed, "failures": [] if passed else [f"cosine {row.get('cosine')}"]})
        self.report.setdefault("forward", []).append(row)
        print(f"{name}: {row}", file=sys.stderr)

    @staticmethod
    def sizes(inputs, copies):
        header = safetensors_header(inputs)
        patches = header["pixel_values_videos"]["shape"][0] if "pixel_values_videos" in header else 0
        return header["input_ids"]["shape"][0] * copies, patches * copies

    def long(self):
        tokens = 300 if self.options.dry_run else 8192
        path = self.work / "long.safetensors"
        numbers = random.Random(7)
        ids = [numbers.randrange(10, 500) for _ in range(tokens)]   # below the special tokens
        write_integers(path, {"input_ids": ([tokens], ids), "position_ids": ([3, tokens], 3 * list(range(tokens)))})
        self.forward(f"text-{tokens}", path, 1)

    def profile(self, copies):
        if shutil.which("ncu") is None:
            return
        checkpoint, table = self.checkpoint(), self.out / "kernels.csv"
        command = ["ncu", "--clock-control", "none", "--target-processes", "all", "--metrics", "gpu__time_duration.sum", "--csv",
                   "--log-file", str(table), *self.command("forward_bench"), "--model", str(checkpoint), "--inputs",
                   str(checkpoint / "inputs.safetensors"), "--dtype", "bf16", "--device", "cuda", "--copies", str(copies), "--runs", "0"]
        if subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode != 0:
            return
        rows = [row for row in csv.reader(table.read_text().splitlines()) if len(row) > 5]
        name, value, unit = (rows[0].index(key) for key in ("Kernel Name", "Metric Value", "Metric Unit"))
        micro = {"ns": 1e-3, "nsecond": 1e-3, "us": 1.0, "usecond": 1.0, "ms": 1e3, "msecond": 1e3}
        seconds, launches = Counter(), Counter()
        for row in rows[1:]:
            kernel = re.sub(r"[<(].*", "", row[name]).strip()
            seconds[kernel] += float(row[value].replace(",", "")) * micro[row[unit]] / 1e6
            launches[kernel] += 1
        config = json.loads((checkpoint / "config.json").read_text())
        layers = config["num_hidden_layers"] + config["vision_config"]["depth"]
        self.report["profile"] = {
            "copies": copies, "kernel_seconds": sum(seconds.values()), "launches": sum(launches.values()),
            "launches_per_layer": round(sum(launches.values()) / layers, 1),
            "kernels": [{"name": kernel, "seconds": s, "launches": launches[kernel]} for kernel, s in seconds.most_common(20)]}

    # ---- the report -----------------------------------------------------------------------------

    def write(self):
        self.report["passed"] = all(step["passed"] for step in self.report["steps"])
        (self.out / "acceptance.json").write_text(json.dumps(self.report, indent=1))
        (self.out / "acceptance.md").write_text(markdown(self.report))
        shutil.rmtree(self.work)
        print((self.out / "acceptance.md").read_text())
        return 0 if self.report["passed"] else 1


class DeviceMemory:
    """The most memory that the card had in use, MiB, as far as nvidia-smi tells."""

    def __enter__(self):
        self.peak, self.done = None, threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def watch(self):
        query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
        while shutil.which(query[0]) and not self.done.wait(0.2):
            said = subprocess.run(query, text=True, capture_output=True).stdout.split()
            if said and said[0].isdigit():
                self.peak = max(self.peak or 0, int(said[0]))

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()


def flops(config, tokens, patches, copies):
    """Of the products of a forward pass of Qwen2.5-VL, two for each multiplication."""
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    width = hidden // heads
    per_token = hidden * (2 * heads + 2 * config["num_key_value_heads"]) * width + 3 * hidden * config["intermediate_size"]
    length = tokens / copies
    text = config["num_hidden_layers"] * 2 * tokens * (per_token + length * hidden)
    if not patches:
        return text
    vision = config["vision_config"]
    side, blocks, whole = vision["hidden_size"], vision["depth"], len(vision["fullatt_block_indexes"])
    per_patch = 4 * side**2 + 3 * side * vision["intermediate_size"]
    frame = patches / copies / 4   # four steps of time in the one input
    seen = (blocks - whole) * 64 + whole * frame
    merged = 4 * side
    return text + 2 * patches * (blocks * per_patch + 2 * side * seen + 1176 * side) + patches / 2 * merged * (merged + hidden)


def cosine(a, b):
    norm = sum(x * x for x in a) ** 0.5 * sum(x * x for x in b) ** 0.5
    return sum(x * y for x, y in zip(a, b)) / norm


def safetensors_header(path):
    with path.open("rb") as file:
        return json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))


def write_integers(path, tensors):
    """A safetensors file of i64, without a library."""
    header, data = {}, b""
    for name, (shape, values) in tensors.items():
        packed = struct.pack(f"<{len(values)}q", *values)
        header[name] = {"dtype": "I64", "shape": shape, "data_offsets": [len(data), len(data) + len(packed)]}
        data += packed
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def markdown(report):
    lines = ["# GPU acceptance", "", f"Result: {'passed' if report['passed'] else 'FAILED'}.", "", "| step | result | tests | seconds |", "|---|---|---|---|"]
    for step in report["steps"]:
        failures = "; ".join(step.get("failures", []))
        result = "passed" if step["passed"] else f"failed: {failures}"
        lines.append(f"| {step['name']} | {result} | {step.get('tests', '-')} | {step.get('seconds', '-')} |")
    rows, rate = report.get("forward", []), report.get("product_tflops")
    if rows:
        lines += ["", "## Forward pass in bf16", "", f"Card: {rows[0]['device']}. {rows[0]['versions']}."]
        if rate:
            lines.append(f"A bf16 product of two matrices of 8192 x 8192 reaches {rate:.0f} TFLOP/s on it.")
        lines += ["", "| input | copies | gve, s | transformers, s | theirs / ours | TFLOP/s | of the card's products | device MiB, both sides | cosine |",
                  "|---|---|---|---|---|---|---|---|---|"]
        for row in rows:
            ours, theirs = row["ours_seconds"], row.get("theirs_seconds")
            speed = row["tflop"] / ours
            beside = [f"{theirs:.4f}", f"{theirs / ours:.2f}"] if theirs else ["-", "-"]
            share = f"{speed / rate:.0%}" if rate else "-"
            cells = [row["name"], str(row["copies"]), f"{ours:.4f}", *beside, f"{speed:.3g}", share, str(row["peak_device_mib"] or "-"),
                     f"{row['cosine']:.6f}" if "cosine" in row else "-"]
            lines.append("| " + " | ".join(cells) + " |")
    profile = report.get("profile")
    if profile:
        lines += ["", f"## Kernels of {profile['copies']} videos", "",
                  f"{profile['launches']} launches, {profile['launches_per_layer']} for each layer of either tower; {profile['kernel_seconds']:.4f} s.", "",
                  "| kernel | launches | ms |", "|---|---|---|"]
        lines += [f"| `{kernel['name']}` | {kernel['launches']} | {1e3 * kernel['seconds']:.2f} |" for kernel in profile["kernels"]]
    operations = report.get("operations")
    if operations:
        lines += ["", "## Operations", "", "Largest difference from the CPU's kernels in f32; in half precision, of the whole, relative.", "",
                  "| operation | f32 | bf16 | f16 |", "|---|---|---|---|"]
        table = {}
        for row in operations:
            table.setdefault(row["what"], {})[row["dtype"]] = f"{row['off']:.1e}"
        lines += [f"| {what} | " + " | ".join(of.get(dtype, "-") for dtype in ("F32", "BF16", "F16")) + " |" for what, of in sorted(table.items())]
    return "\n".join(lines) + "\n"


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--programs", type=Path, required=True, help="folder of unit, it and forward_bench, packed (.xz) or not")
    arguments.add_argument("--out", type=Path, required=True, help="folder for the report")
    arguments.add_argument("--shape", default="3b", help="of make_checkpoint.py")
    arguments.add_argument("--dry-run", action="store_true", help="on the CPU, with programs built for it, on a tiny model")
    options = arguments.parse_args()
    options.device = "cpu" if options.dry_run else "cuda"
    run = Run(options)
    run.operations()
    run.numbers()
    if not options.dry_run:
        run.product_rate()
        inputs = run.checkpoint() / "inputs.safetensors"
        for copies in (1, 8, 32):
            run.forward(f"videos-{copies}", inputs, copies)
        run.profile(8)
    run.long()
    sys.exit(run.write())


if __name__ == "__main__":
    main()
