#!/usr/bin/env python3
"""Makes videos that differ, and versions of them that are the same, for `evaluate.py`.

    python3 benchmark/duplicates/make.py --seed 1 --out /tmp/duplicates --gve target/release/gve --media ~/clips

Half of the sources are made of scenes of the procedural world (`gve synth world`), of which all look alike and no two
are the same; the others are recordings and photographs of `--media` (files and folders; the repository's own where
there are none), recordings cut into sources that share no second, photographs panned over, and automata and gradients by
FFmpeg. A quarter of all begin with the same title card of 2 s, another with 1.5 s of black. Python's
standard library and the `ffmpeg` program do it.

Writes OUT/sources/NNN.mp4, OUT/versions/NNN-TRANSFORMATION.EXT and OUT/clips.json, which says what was done to each.
"""

import argparse
import json
import random
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

WIDTH, HEIGHT, FPS = 320, 240, 24
SECONDS = 14
VIDEOS = {".mp4", ".mkv", ".webm", ".avi", ".mov"}
PHOTOGRAPHS = {".png", ".jpg", ".jpeg"}


def ffmpeg(*arguments):
    command = ["ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-y", *map(str, arguments)]
    subprocess.run(command, check=True)


def duration(path):
    command = ["ffprobe", "-loglevel", "error", "-show_entries", "format=duration", "-of", "csv=p=0", str(path)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def title_card(path):
    """A PNG with blocks like letters on a blue ground."""
    draw = random.Random(0)
    letters = {(x, y) for y in (3, 6, 7) for x in range(4, 28) if draw.random() < 0.6}
    rows = b""
    for y in range(HEIGHT):
        cells = [(x * 32 // WIDTH, y * 12 // HEIGHT) in letters for x in range(WIDTH)]
        rows += b"\0" + b"".join(bytes((240, 230, 180) if lit else (20, 30, 90)) for lit in cells)
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def world(arguments, count):
    """Sources of four scenes each, every scene in one source only. The first video of each family is taken."""
    folder = arguments.out / "world"
    scenes = count * 4
    subprocess.run(
        [arguments.gve, "synth", "world", "--seed", str(arguments.seed), "--videos", str(scenes * 3), "--out", folder, "--quiet"],
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    families = {}
    for path in sorted((folder / "videos").iterdir()):
        families.setdefault(path.stem.split("-")[0], path)
    firsts = list(families.values())[:scenes]
    if len(firsts) < scenes:
        sys.exit(f"{len(firsts)} families of scenes, {scenes} are needed")
    for at in range(0, scenes, 4):
        inputs = [word for path in firsts[at:at + 4] for word in ("-t", "4", "-i", path)]
        yield "world", inputs, "concat=n=4:v=1:a=0"


def recordings(arguments, draw):
    """Stretches of recordings, and photographs that a camera moves over."""
    for root in arguments.media:
        for path in sorted(root.rglob("*")) if root.is_dir() else [root]:
            if path.suffix.lower() in VIDEOS:
                length = duration(path)
                for start in range(0, int(length), SECONDS):
                    if length - start >= 4:
                        yield "recording", ["-ss", start, "-t", SECONDS, "-i", path], "null"
            elif path.suffix.lower() in PHOTOGRAPHS:
                frames = SECONDS * FPS
                zoom, turns, phase = draw.uniform(1.5, 2.0), draw.uniform(0.5, 1.5), draw.uniform(0, 6.28)
                place = f"(0.5+0.5*{{}}({phase}+on*{turns * 6.28 / frames}))"
                pan = f"zoompan=z={zoom}:x='(iw-iw/zoom)*{place.format('sin')}':y='(ih-ih/zoom)*{place.format('cos')}'"
                pan = f"scale=960:720,{pan}:d={frames}:s={WIDTH}x{HEIGHT}:fps={FPS}"
                yield "photograph", ["-i", path], pan


def generated(draw):
    """Pictures by FFmpeg that are never the same, three in a row."""
    def one():
        kind = draw.choice(["life", "cellauto", "gradients"])
        size = f"s={WIDTH}x{HEIGHT}:r={FPS}"
        seed = draw.randrange(1 << 31)
        if kind == "life":
            return f"life=s=40x30:r=8:seed={seed}:ratio=0.4:mold=10:life_color=#c0ffd0:death_color=#301030:mold_color=#604020,scale={WIDTH}:{HEIGHT}:flags=neighbor,fps={FPS}"
        if kind == "cellauto":
            return f"cellauto=s=64x48:r=8:rule={draw.choice([18, 22, 30, 54, 110, 150])}:seed={seed}:scroll=1,scale={WIDTH}:{HEIGHT}:flags=neighbor,fps={FPS}"
        return f"gradients={size}:seed={seed}:n={draw.randint(3, 8)}:speed={draw.uniform(0.01, 0.04)}:type={draw.choice(['linear', 'radial', 'circular', 'spiral'])}"
    while True:
        inputs = [word for length in (5, 4, 5) for word in ("-f", "lavfi", "-t", length, "-i", one())]
        yield "generated", inputs, "concat=n=3:v=1:a=0"


def source(arguments, card, number, kind, inputs, joined):
    """Writes one source, all of one size and rate, some with a beginning that others have, too."""
    path = arguments.out / "sources" / f"{number:03}.mp4"
    count = inputs.count("-i")
    same = f"scale={WIDTH}:{HEIGHT},setsar=1,fps={FPS},format=yuv420p"
    before = "null" if kind == "photograph" else same
    graph = "".join(f"[{i}:v]{before}[v{i}];" for i in range(count))
    streams = "".join(f"[v{i}]" for i in range(count))
    beginning = {0: ("-loop", "1", "-t", "2", "-i", card), 1: ("-f", "lavfi", "-t", "1.5", "-i", f"color=black:s={WIDTH}x{HEIGHT}:r={FPS}")}
    extra = beginning.get(number % 4, ())
    tail = "null" if not extra else "concat=n=2:v=1:a=0"
    graph += f"{streams}{joined},{same}[body];"
    if extra:
        graph += f"[{count}:v]{same}[head];"
    graph += f"{'[head]' if extra else ''}[body]{tail}[out]"
    ffmpeg(*inputs, *extra, "-filter_complex", graph, "-map", "[out]", "-c:v", "libx264", "-preset", "veryfast", "-crf", "20", "-threads", "1", path)
    return {"source": number, "kind": kind, "path": str(path.relative_to(arguments.out)), "seconds": duration(path),
            "beginning": {0: "card", 1: "black"}.get(number % 4)}


def versions(arguments, clip):
    """Writes the twelve versions of a source."""
    draw = random.Random(f"{arguments.seed} {clip['source']}")
    x264 = ["-c:v", "libx264", "-preset", "ultrafast", "-threads", "1"]
    head = {"card": 2.0, "black": 1.5}.get(clip["beginning"], 0.0)
    length = min(5.0, clip["seconds"] - head)
    start = head + draw.uniform(0, max(0.0, clip["seconds"] - head - length))
    left, top = draw.uniform(0, 0.2), draw.uniform(0, 0.2)
    border = [2 * round(draw.uniform(10, 30)) for _ in range(4)]
    colour = draw.choice(["black", "black", "white", "0x203060"])
    corner = draw.choice([(0.04, 0.04), (0.78, 0.04), (0.04, 0.84), (0.78, 0.84)])
    made = {
        "re-encoded": ("mp4", "null", [*x264, "-crf", "38"]),
        "codec": ("avi", "null", ["-c:v", "mpeg4", "-q:v", "8", "-threads", "1"]),
        "half size": ("mp4", "scale=iw/2:ih/2", [*x264, "-crf", "28"]),
        "crop 80 %": ("mp4", f"crop=iw*0.8:ih*0.8:iw*{left}:ih*{top}", [*x264, "-crf", "26"]),
        "borders": ("mp4", f"pad=iw+{border[0] + border[1]}:ih+{border[2] + border[3]}:{border[0]}:{border[2]}:{colour}", [*x264, "-crf", "26"]),
        "letterbox": ("mp4", "pad=iw:ih*4/3:0:(oh-ih)/2", [*x264, "-crf", "26"]),
        "logo": ("mp4", f"drawbox=iw*{corner[0]}:ih*{corner[1]}:iw*0.18:ih*0.12:red:fill,drawbox=iw*{corner[0] + 0.03}:ih*{corner[1] + 0.02}:iw*0.12:ih*0.04:white:fill", [*x264, "-crf", "26"]),
        "mirrored": ("mp4", "hflip", [*x264, "-crf", "26"]),
        "1.25x": ("mp4", "setpts=PTS/1.25", [*x264, "-crf", "26"]),
        "cut 5 s": ("mp4", f"trim={start}:{start + length},setpts=PTS-STARTPTS", [*x264, "-crf", "26"]),
        "grey": ("mp4", "hue=s=0,eq=brightness=0.08:contrast=0.8", [*x264, "-crf", "26"]),
        "10 fps": ("mp4", "fps=10", [*x264, "-crf", "26"]),
    }
    graph = f"[0:v]split={len(made)}" + "".join(f"[s{i}]" for i in range(len(made)))
    outputs, entries = [], []
    for i, (name, (extension, filters, encoding)) in enumerate(made.items()):
        path = arguments.out / "versions" / f"{clip['source']:03}-{name.replace(' ', '_').replace('%', 'percent')}.{extension}"
        graph += f";[s{i}]{filters}[o{i}]"
        outputs += ["-map", f"[o{i}]", *encoding, path]
        entry = {"source": clip["source"], "transformation": name, "path": str(path.relative_to(arguments.out))}
        if name == "cut 5 s":
            # The first frame that is shown at that time or later.
            entry["start"] = -(-start * FPS // 1) / FPS
        entries.append(entry)
    ffmpeg("-i", arguments.out / clip["path"], "-filter_complex", graph, *outputs)
    return entries


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sources", type=int, default=200)
    parser.add_argument("--gve", type=Path, default=Path("target/release/gve"))
    parser.add_argument("--media", type=Path, nargs="*", default=[Path(__file__).resolve().parents[2] / "tests/golden/media/bunny.mp4"])
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    for folder in ("sources", "versions"):
        (arguments.out / folder).mkdir(parents=True, exist_ok=True)
    card = arguments.out / "card.png"
    title_card(card)
    draw = random.Random(arguments.seed)
    wanted = list(world(arguments, arguments.sources // 2))
    wanted += list(recordings(arguments, draw))[:arguments.sources // 4]
    others = generated(draw)
    while len(wanted) < arguments.sources:
        wanted.append(next(others))
    draw.shuffle(wanted)
    with ThreadPoolExecutor(arguments.jobs) as pool:
        clips = list(pool.map(lambda item: source(arguments, card, item[0], *item[1]), enumerate(wanted)))
        made = [entry for entries in pool.map(lambda clip: versions(arguments, clip), clips) for entry in entries]
    (arguments.out / "clips.json").write_text(json.dumps({"seed": arguments.seed, "sources": clips, "versions": made}, indent=1))
    kinds = {kind: sum(clip["kind"] == kind for clip in clips) for kind in ("world", "recording", "photograph", "generated")}
    print(f"{len(clips)} sources {kinds}, {len(made)} versions")


if __name__ == "__main__":
    main()
