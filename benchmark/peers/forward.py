#!/usr/bin/env python3
"""Time one forward pass of gve beside transformers, on the same weights and the same input.

    python forward.py --checkpoint target/peers/small            # both sides, f32 and bf16, on the CPU
    python forward.py --checkpoint target/peers/small --side theirs
    python forward.py --checkpoint target/peers/3b --dtypes int8            # beside bf16 of transformers
    python forward.py --checkpoint target/peers/3b --device cuda --dtypes bf16 --ours ./forward_bench
    python forward.py --checkpoint target/peers/small --compiled            # beside torch.compile as well
    python forward.py --checkpoint target/peers/3b --dtypes bf16,int8 --load    # and how long it takes to be there

What is measured: pixel values and token ids in, the final hidden state of the last token out; of a
frame encoder pictures of 8 bits and its size in, one embedding out. Both
sides get the position ids of the input file, as transformers 5 and 4.51 number video tokens
differently. Reading the checkpoint, decoding and resizing are not in the time.

How: rounds of (ours, theirs), each in a fresh process that warms up once and then runs `--runs`
times. The table shows the median over all runs, the peak resident memory of a process (with the
weights), and the cosine between the two embeddings, which shows that both did the same work. It
says as well what share that is of the rate at which torch multiplies two square matrices of the same
dtype, or of f32 where that is faster, measured before (of 2048 x 2048, with --device cuda of 8192 x 8192); a
pass is counted as the products of its weights, without those of attention.

With `--load`, each side is started twice more, for one pass: with the checkpoint in the system's cache of
files, and after it was dropped from there. A second table has the seconds from the start of the process
to the first embedding, and the peak of memory until then.

Each side is a command that prints one JSON line last on standard output:

    {"seconds": [..], "first_at": seconds since 1970 when the first embedding was there,
     "peak_rss_bytes": N, "embedding": [..], "peak_device_bytes": N or absent}
"""
import argparse
import importlib.util
import json
import math
import os
import platform
import shlex
import statistics
import subprocess
import sys
import time
from pathlib import Path

# The program of this repository that answers the contract above, and how to build it beforehand.
OURS = "cargo run --quiet --release -p uvrb --bin forward_bench --"
OURS_BUILD = "cargo build --quiet --release -p uvrb --bin forward_bench"

MODELS = {
    "qwen2_5_vl": lambda transformers: transformers.Qwen2_5_VLModel,
    "qwen3_vl": lambda transformers: transformers.Qwen3VLModel,
    "siglip": lambda transformers: transformers.SiglipModel,
}
SIDES = ("ours", "theirs")
COMPILED = "compiled"
REPOSITORY = Path(__file__).resolve().parents[2]


# ---- the worker: transformers in a process of its own -------------------------------------------

def run_transformers(options):
    """Loads the checkpoint, runs the forward pass, and prints the JSON line of the contract."""
    try:
        import torch
        import transformers
        from safetensors.torch import load_file
    except ImportError as error:
        sys.exit(f"forward.py: {error}. Install benchmark/peers/requirements.txt into {sys.executable}.")
    if int(transformers.__version__.split(".")[0]) < 5:
        sys.exit(f"forward.py: transformers {transformers.__version__} found, 5 or newer wanted.")
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit("forward.py: --device cuda, but torch finds no CUDA device.")

    torch.set_num_threads(options.threads)
    dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[options.dtype]
    # The base model has no language head. SDPA is its fastest attention without further packages.
    model_type = json.loads((options.checkpoint / "config.json").read_text())["model_type"]
    model = MODELS[model_type](transformers).from_pretrained(
        options.checkpoint, dtype=dtype, attn_implementation="sdpa").to(options.device).eval()
    if options.compiled:
        model = torch.compile(model)
    inputs = load_file(options.inputs, device=options.device)
    copies = options.copies
    if model_type == "siglip":
        # Of 8 bits, which both sides normalise within the time; the video's embedding is the mean.
        frames_of_one = len(inputs["pictures"])
        pictures = inputs["pictures"].permute(0, 3, 1, 2).repeat(copies, 1, 1, 1).contiguous()
    else:
        video = {} if "pixel_values_videos" not in inputs else {
            "pixel_values_videos": inputs["pixel_values_videos"].to(dtype).repeat(copies, 1),
            "video_grid_thw": inputs["video_grid_thw"].repeat(copies, 1),
        }
        inputs = {
            "input_ids": inputs["input_ids"][None].repeat(copies, 1),
            "position_ids": inputs["position_ids"][:, None].repeat(1, copies, 1),
            **video,
        }

    def forward():
        if model_type == "siglip":
            pixel_values = ((pictures.float() / 255 - 0.5) / 0.5).to(dtype)
            frames = model.vision_model(pixel_values=pixel_values).pooler_output.float()
            hidden = torch.nn.functional.normalize(frames, dim=-1).view(copies, frames_of_one, -1).mean(1)[-1]
        else:
            hidden = model(**inputs, use_cache=False).last_hidden_state[-1, -1]
        if options.device == "cuda":
            torch.cuda.synchronize()
        return hidden

    seconds = []
    with torch.inference_mode():
        hidden = forward()
        first_at = time.time()
        if options.compiled:
            forward()
        for _ in range(options.runs):
            start = time.perf_counter()
            hidden = forward()
            seconds.append(time.perf_counter() - start)
        embedding = torch.nn.functional.normalize(hidden.float(), dim=-1)
    report = {
        "seconds": seconds, "first_at": first_at, "peak_rss_bytes": peak_rss_bytes(), "embedding": embedding.tolist(),
        "versions": f"transformers {transformers.__version__}, torch {torch.__version__}",
    }
    if options.device == "cuda":
        report["peak_device_bytes"] = torch.cuda.max_memory_allocated()
        report["device_name"] = torch.cuda.get_device_name()
    print(json.dumps(report))


def run_products(options):
    """Prints the operations a second of torch's products, by dtype."""
    import torch
    torch.set_num_threads(options.threads)
    size = 8192 if options.device == "cuda" else 2048
    rates = {}
    for name, dtype in (("f32", torch.float32), ("bf16", torch.bfloat16)):
        a, b = (torch.randn(size, size, dtype=dtype, device=options.device) for _ in range(2))
        seconds = []
        while len(seconds) < 6 and sum(seconds) < 20:   # a bf16 product takes a minute where nothing multiplies bf16
            start = time.perf_counter()
            a @ b
            if options.device == "cuda":
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - start)
        rates[name] = 2 * size**3 / min(seconds)
    print(json.dumps(rates))


def peak_rss_bytes():
    """Peak resident memory of this process.

    `getrusage` on Linux also counts the parent's memory at the time of the fork, so /proc is
    asked first.
    """
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    import resource
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


# ---- the comparison -----------------------------------------------------------------------------

def command_of(side, dtype, options):
    if side == "ours":
        return shlex.split(options.ours) + [
            "--model", str(options.checkpoint), "--inputs", str(options.inputs), "--dtype", dtype,
            "--copies", str(options.copies), "--runs", str(options.runs), "--device", options.device]
    return worker("--worker", options) + [
        "--checkpoint", str(options.checkpoint), "--inputs", str(options.inputs), "--dtype", dtype_of(side, dtype),
        "--copies", str(options.copies), "--runs", str(options.runs)] + (["--compiled"] if side == COMPILED else [])


def worker(kind, options):
    return [sys.executable, __file__, kind, "--device", options.device, "--threads", str(options.threads)]


def dtype_of(side, dtype):
    """What a side computes in: transformers has no int8 of its own on a CPU."""
    return "bf16" if dtype == "int8" and side != "ours" else dtype


def run_side(side, dtype, options):
    """The report of a process of its own, with the seconds from its start to the first embedding."""
    started = time.time()
    report = last_line(command_of(side, dtype, options), f"{side} ({dtype})", options)
    return report | {"first_after": report["first_at"] - started}


def last_line(command, name, options):
    environment = os.environ | {
        name: str(options.threads) for name in ("RAYON_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode != 0 or not done.stdout.strip():
        sys.exit(f"forward.py: {name} ended with status {done.returncode}:\n{done.stderr.strip()[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def measure(dtype, sides, options):
    """All rounds of one dtype: {side: {"seconds", "peak_rss_bytes", "embedding", ...}}."""
    results = {}
    for number in range(options.rounds):
        for side in sides:
            report = run_side(side, dtype, options)
            print(f"{dtype} round {number + 1} {side}: " + " ".join(f"{s:.4f}" for s in report["seconds"]), file=sys.stderr)
            merged = results.setdefault(side, report | {"seconds": [], "peak_rss_bytes": 0})
            merged["seconds"] += report["seconds"]
            merged["peak_rss_bytes"] = max(merged["peak_rss_bytes"], report["peak_rss_bytes"])
    return results


def measure_load(dtype, sides, options):
    """What each side reports of one pass, with its files in the system's cache and dropped from it."""
    options = argparse.Namespace(**(vars(options) | {"runs": 0}))
    results = {}
    for side in sides:
        results[side] = {"warm": run_side(side, dtype, options)}
        drop_from_cache(options.checkpoint)
        results[side]["cold"] = run_side(side, dtype, options)
    return results


def drop_from_cache(folder):
    """Asks the system to forget what it has cached of the files of a folder."""
    for path in folder.iterdir():
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def operations(options):
    """Operations of the products of weights in a pass: two for each weight and row that goes through it."""
    rows_of = {name: shape[0] for name, shape in shapes_of(options.inputs).items()}
    tokens, patches = rows_of.get("input_ids", 0), rows_of.get("pixel_values_videos", 0)
    total = 0
    for path in sorted(options.checkpoint.glob("model*.safetensors")):
        for name, shape in shapes_of(path).items():
            if len(shape) < 2 or "embed_tokens" in name or "position_embedding" in name or "pos_embed" in name or "lm_head" in name:
                continue
            if name.startswith("text_model"):   # of SigLIP, which sees pictures alone
                continue
            if "merger" in name:
                rows = patches // 4
            elif "visual" in name:
                rows = patches
            elif name.startswith("vision_model"):
                config = json.loads((options.checkpoint / "config.json").read_text())["vision_config"]
                rows = rows_of["pictures"] * (config["image_size"] // config["patch_size"]) ** 2
            else:
                rows = tokens
            total += 2 * rows * math.prod(shape)
    return total * options.copies


def shapes_of(path):
    """The shapes of the tensors of a safetensors file, from its head."""
    with path.open("rb") as file:
        head = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return {name: tensor["shape"] for name, tensor in head.items() if name != "__metadata__"}


def product_rates(sides, options):
    """The operations a second of torch's products; of none where ours is measured alone and there is no torch."""
    if sides == ("ours",) and not importlib.util.find_spec("torch"):
        return {}
    return last_line(worker("--products", options), "torch's products", options)


def cosine(a, b):
    if len(a) != len(b):
        sys.exit(f"forward.py: embeddings of {len(a)} and {len(b)} numbers; the sides ran different models.")
    norm = sum(x * x for x in a) ** 0.5 * sum(x * x for x in b) ** 0.5
    return sum(x * y for x, y in zip(a, b)) / norm


def table_row(dtype, side, results, work, rates):
    result = results[side]
    seconds = result["seconds"]
    cells = [dtype, side, f"{statistics.median(seconds):.4f}", f"{min(seconds):.4f}-{max(seconds):.4f}", str(len(seconds)),
             f"{result['peak_rss_bytes'] / 2**20:.0f}"]
    cells.append(f"{result['peak_device_bytes'] / 2**20:.0f}" if "peak_device_bytes" in result else "-")
    # Where nothing multiplies bf16, torch takes hundreds of times as long for it as for f32.
    rate = max((rates[name] for name in ("f32", dtype_of("theirs", dtype)) if name in rates), default=None)
    cells.append(f"{100 * work / statistics.median(seconds) / rate:.0f}" if rate else "-")
    if side == "ours" and "theirs" in results:
        theirs = results["theirs"]
        cells.append(f"{statistics.median(theirs['seconds']) / statistics.median(seconds):.2f}")
        cells.append(f"{cosine(result['embedding'], theirs['embedding']):.6f}")
    else:
        cells += ["-", "-"]
    return "| " + " | ".join(cells) + " |"


def machine():
    model = platform.processor() or platform.machine()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass
    return f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB"


def compare(options):
    sides = (SIDES if options.side == "both" else (options.side,)) + ((COMPILED,) if options.compiled else ())
    if "ours" in sides and options.ours == OURS:
        subprocess.run(shlex.split(OURS_BUILD), cwd=REPOSITORY, check=True)
    load_before = os.getloadavg()[0]
    work, rates = operations(options), product_rates(sides, options)
    all_results = {dtype: measure(dtype, sides, options) for dtype in options.dtypes.split(",")}
    any_result = next(iter(all_results.values()))
    versions = any_result.get("theirs", {}).get("versions", "transformers not run")
    device = any_result.get("theirs", {}).get("device_name", options.device)

    print(f"Machine: {machine()}; device {device}; {options.threads} threads; load before {load_before:.2f}. {versions}.\n")
    multiplies = " and ".join(f"{rate / 1e12:.3g} TFLOP/s in {name}" for name, rate in rates.items())
    print(f"A pass is {work / 1e12:.3f} TFLOP; torch " + (f"multiplies {multiplies}" if rates else "is not installed") + ".\n")
    print("| dtype | side | median s | range s | runs | peak RSS MiB | peak device MiB | % of torch's products | theirs / ours | cosine |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for dtype, results in all_results.items():
        for side in sides:
            print(table_row(dtype, side, results, work, rates))
    loads = {dtype: measure_load(dtype, sides, options) for dtype in all_results} if options.load else {}
    if loads:
        print("\n| dtype | side | to the first embedding, warm s | cold s | peak RSS MiB |")
        print("|---|---|---|---|---|")
    for dtype, results in loads.items():
        for side, load in results.items():
            peak = max(report["peak_rss_bytes"] for report in load.values())
            print(f"| {dtype} | {side} | {load['warm']['first_after']:.2f} | {load['cold']['first_after']:.2f} | {peak / 2**20:.0f} |")
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "device": device, "versions": versions, "operations": work, "products": rates, "results": all_results,
                                            "load": loads}))


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--checkpoint", type=Path, help="directory made by make_checkpoint.py (required)")
    arguments.add_argument("--inputs", type=Path, help="input file (default: CHECKPOINT/inputs.safetensors)")
    arguments.add_argument("--dtypes", default="f32,bf16", help="comma-separated, of f32, bf16 and int8; int8 of ours beside bf16 of transformers")
    arguments.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    arguments.add_argument("--copies", type=int, default=1, help="copies of the input that make one batch")
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--rounds", type=int, default=3, help="fresh processes per side")
    arguments.add_argument("--runs", type=int, default=5, help="timed runs per process")
    arguments.add_argument("--side", choices=("both", *SIDES), default="both")
    arguments.add_argument("--compiled", action="store_true", help="a third side: transformers by torch.compile")
    arguments.add_argument("--load", action="store_true", help="measure the time to the first embedding, too")
    arguments.add_argument("--ours", default=OURS, help="command of our side, arguments are appended")
    arguments.add_argument("--json", type=Path, help="write all that was measured into this file, too")
    arguments.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments.add_argument("--products", action="store_true", help=argparse.SUPPRESS)
    arguments.add_argument("--dtype", choices=("f32", "bf16"), help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.products:
        return run_products(options)
    if options.checkpoint is None:
        arguments.error("--checkpoint is required")
    options.checkpoint = options.checkpoint.resolve()
    options.inputs = (options.inputs or options.checkpoint / "inputs.safetensors").resolve()
    run_transformers(options) if options.worker else compare(options)


if __name__ == "__main__":
    main()
