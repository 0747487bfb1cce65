#!/usr/bin/env python3
"""Makes a film of half an hour whose 60 scenes are known, and scores what `gve index --moments shots` and `gve search`
find in it.

    python3 benchmark/moments/evaluate.py --out /tmp/film --gve target/release/gve

Scenes are videos of the procedural world (`gve synth world`), one of each family, slowed down to 20 to 40 seconds. For each
scene three frames and three clips of three seconds are looked for: the first answer has to lie within the scene. Beside it: how near the
edges of moments are to where scenes meet, how far the first answer of `--moments` agrees with the scene, and how much memory indexing took,
beside the first two minutes alone. Python's standard library and the `ffmpeg` program do it; what is there already is used again.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

SCENES, SECONDS, FPS = 60, 1800, 24


def ffmpeg(*arguments):
    subprocess.run(["ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-y", *map(str, arguments)], check=True)


def duration(path):
    command = ["ffprobe", "-loglevel", "error", "-show_entries", "format=duration", "-of", "csv=p=0", str(path)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def scenes(arguments):
    """Files of the scenes, with how long each lasts in frames."""
    world, folder = arguments.out / "world", arguments.out / "scenes"
    command = [arguments.gve, "synth", "world", "--seed", str(arguments.seed), "--videos", str(SCENES * 4), "--out", world, "--quiet"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    families = {}
    for path in sorted((world / "videos").iterdir()):
        families.setdefault(path.stem.split("-")[0], path)
    if len(families) < SCENES:
        sys.exit(f"{len(families)} families of scenes, {SCENES} are needed")
    draw = random.Random(arguments.seed)
    shares = [draw.uniform(20, 40) for _ in range(SCENES)]
    folder.mkdir(exist_ok=True)
    for number, (path, share) in enumerate(zip(families.values(), shares)):
        frames = round(share / sum(shares) * SECONDS * FPS)
        scene = folder / f"{number:02}.mp4"
        if not scene.exists():
            slower = frames / FPS / duration(path)
            ffmpeg("-i", path, "-vf", f"setpts={slower}*PTS,scale=640:480,fps={FPS},tpad=stop_mode=clone:stop=48", "-frames:v", frames,
                   "-c:v", "libx264", "-preset", "veryfast", "-crf", "20", "-pix_fmt", "yuv420p", scene)
        yield scene, frames / FPS


def index(gve, film, library):
    """Indexes a film anew; gives seconds and most resident memory in MB."""
    subprocess.run(["rm", "-rf", str(library)], check=True)
    started = time.monotonic()
    process = subprocess.Popen([gve, "index", film, "--library", library, "--model", "nano", "--moments", "shots", "--quiet"],
                               stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"gve index ended with {status}")
    return time.monotonic() - started, usage.ru_maxrss / 1000


def first(gve, library, *query):
    command = [gve, "search", "--library", str(library), "--json", "-k", "1", "--quiet", *map(str, query)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--gve", type=Path, default=Path("target/release/gve"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    made = list(scenes(arguments))
    film, short = arguments.out / "film.mp4", arguments.out / "short.mp4"
    if not film.exists():
        listed = arguments.out / "scenes.txt"
        listed.write_text("".join(f"file '{scene.resolve()}'\n" for scene, _ in made))
        ffmpeg("-f", "concat", "-safe", "0", "-i", listed, "-c", "copy", film)
        ffmpeg("-i", film, "-t", "120", "-c", "copy", short)

    library = arguments.out / "library"
    _, small = index(arguments.gve, short, arguments.out / "short-library")
    seconds, large = index(arguments.gve, film, library)
    print(f"a film of {duration(film):.0f} s indexed in {seconds:.0f} s with nano; {large:.0f} MB, {small:.0f} MB for its first two minutes")

    starts = [sum(length for _, length in made[:number]) for number in range(SCENES)]
    right, asked, edges, agreement = {"frame": 0, "clip": 0}, 0, set(), []
    for (scene, length), start in zip(made, starts):
        for share in (0.1, 0.4, 0.8):
            frame, clip = arguments.out / "frame.png", arguments.out / "clip.mp4"
            ffmpeg("-ss", length * share, "-i", scene, "-frames:v", "1", frame)
            ffmpeg("-ss", length * share, "-i", scene, "-t", "3", "-c:v", "libx264", "-preset", "veryfast", "-crf", "20", clip)
            asked += 1
            for kind, query in (("frame", ("--image", frame)), ("clip", ("--video", clip))):
                answer = first(arguments.gve, library, *query)
                right[kind] += answer["start"] >= start - 1 and answer["end"] <= start + length + 1
                edges |= {answer["start"], answer["end"]}
            found = first(arguments.gve, library, "--moments", "--video", clip)
            ends = sorted([found["start"], found["end"], start, start + length])
            meet = found["start"] < start + length and start < found["end"]
            agreement.append((ends[2] - ends[1]) / (ends[3] - ends[0]) if meet else 0)
    print(f"first answer within the scene: {right['frame']} of {asked} frames, {right['clip']} of {asked} clips")
    print(f"the first answer of --moments and its scene: {sum(agreement) / asked:.3f} of what is in either is in both")
    # Of moments that no query found, the edges are not known.
    off = sorted(min(abs(edge - start) for edge in edges) for start in starts[1:])
    print(f"{sum(distance <= 1 for distance in off)} of {len(off)} boundaries within a second of an answer's edge; off by "
          f"{off[len(off) // 2]:.2f} s at the median, {off[len(off) * 9 // 10]:.2f} s in nine of ten")


if __name__ == "__main__":
    main()
