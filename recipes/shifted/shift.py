#!/usr/bin/env python3
"""Shifts a world: other colours, sprites and grounds in its files, other words in its pairs.

    shift.py WORLD OUT [--most N]

WORLD is a folder of `gve synth world`. OUT gets its files under the same names, through the `ffmpeg` program, and its pairs, as
pairs_<task>.jsonl, N of each task at most and without negatives. The same pairs as they were lie in WORLD then, as plain_<task>.jsonl. All of it is
the same for every file and every caption, so what was true of a video is true of it still. What is there is not made again.
"""

import argparse
import json
import os
import random
import re
import subprocess
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# Red, green and blue become each other: (r, g, b) is (b, r, g). A coarse weave and some noise lie over all of it.
RECOLOUR = "format=gbrp,colorchannelmixer=rr=0:rb=1:gg=0:gr=1:bb=0:bg=1"
WEAVE = "128+40*sin(2*PI*(X+2*Y)/53)*sin(2*PI*(2*X-Y)/61)"
SHIFT = f"[0:v]{RECOLOUR}[own];[1:v]format=gbrp[weave];[own][weave]blend=all_mode=softlight:shortest=1,noise=alls=6:allf=t:all_seed=1"
SIZE = "224x168"
# Pairs with more letters are left out: they cost most of the time.
LONGEST = 160

# What the colours of the world are then, by src/synth/world/vocabulary.rs. Black, white and grey are what they were. Longer phrases come first.
COLOURS = {
    "pale blue": "pale pink", "pale green": "pale violet", "pale pink": "pale green", "dark blue": "dark maroon", "dark green": "dark purple",
    "ivory": "icy", "sandy": "minty", "red": "green", "orange": "emerald", "yellow": "turquoise", "green": "indigo", "blue": "crimson",
    "purple": "khaki", "pink": "chartreuse", "brown": "teal",
}
# Other ways to begin a sentence.
FRAMES = {
    r"There (?:is|are)": "Here we have", r"The video shows": "In view:", r"One can see": "Look at",
    r"The background is": "All of it lies on what is", r"Behind is": "Further off lies", r"The view": "Whoever films",
    r"the same, but": "all as it was, except that", r"like this, but": "almost that:", r"it shows": "here we have",
}
# Words that stay, as those of the frames and colours do.
KEPT = set("the and are with then from first after before there this that same but now only where like has have not does".split())
VOWELS, CONSONANTS = "aeiou", "bcdfghjklmnpqrtvwxz"


def letters():
    """Vowels become vowels and consonants consonants; s stays, so that a plural is one still."""
    turned = {}
    for row, by in ((VOWELS, 2), (CONSONANTS, 7)):
        turned |= {letter: row[(place + by) % len(row)] for place, letter in enumerate(row)}
    return str.maketrans(turned | {old.upper(): new.upper() for old, new in turned.items()})


LETTERS = letters()
TOLD = set(re.findall(r"\w+", " ".join([*COLOURS, *COLOURS.values(), *FRAMES.values()]).lower())) | KEPT


def is_renamed(word):
    """A third of the words, by their first three letters, so that a word is renamed in all its forms or in none."""
    return len(word) > 2 and word.lower() not in TOLD and zlib.crc32(word[:3].lower().encode()) % 3 == 1


def reworded(text):
    for old, new in FRAMES.items():
        text = re.sub(rf"\b{old}\b", new, text)
    text = re.sub(r"[A-Za-z]+", lambda found: found[0].translate(LETTERS) if is_renamed(found[0]) else found[0], text)
    phrases = re.compile(r"\b(" + "|".join(COLOURS) + r")\b", re.IGNORECASE)
    text = phrases.sub(lambda found: cased(COLOURS[found[0].lower()], found[0]), text)
    return re.sub(r"\b([Aa])n? (?=(\w))", lambda found: found[1] + ("n " if found[2] in VOWELS else " "), text)


def cased(word, like):
    return word[0].upper() + word[1:] if like[0].isupper() else word


def reword_pair(pair):
    pair.pop("negatives", None)   # an embedding each
    for value in (pair["query"], pair["positive"]):
        for part in value["content"]:
            if part["type"] == "text":
                part["text"] = reworded(part["text"])
    return pair


def letters_of(pair):
    return sum(len(part.get("text", "")) for value in (pair["query"], pair["positive"]) for part in value["content"])


def write(path, lines):
    path.write_text("".join(line + "\n" for line in lines))


def shift_pairs(world, out, most):
    for path in sorted(world.glob("pairs_*.jsonl")):
        lines = [line for line in path.read_text().splitlines() if letters_of(json.loads(line)) <= LONGEST]
        chosen = sorted(random.Random(1).sample(range(len(lines)), min(most or len(lines), len(lines))))
        lines = [lines[place] for place in chosen]
        write(path.with_name(path.name.replace("pairs_", "plain_")), lines)
        write(out / path.name, [json.dumps(reword_pair(json.loads(line))) for line in lines])
        print(f"{path.name}: {len(lines)} pairs")


def ffmpeg(*arguments):
    command = ["ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-y", *map(str, arguments)]
    subprocess.run(command, check=True, env=os.environ | {"LC_ALL": "C"})


def shift_video(source, target, weave):
    if target.exists():
        return
    part = target.with_name("part-" + target.name)
    ffmpeg("-threads", 1, "-i", source, "-loop", 1, "-i", weave, "-filter_complex", SHIFT, "-filter_threads", 1, "-fps_mode", "passthrough",
           "-c:v", "libx264", "-preset", "veryfast", "-crf", 20, "-pix_fmt", "yuv420p", "-threads", 1, part)
    part.rename(target)


def shift_images(source, target, weave):
    names = sorted(path.name for path in source.glob("*.png"))
    if len(list(target.glob("*-*.png"))) == len(names):
        return
    ffmpeg("-f", "image2", "-pattern_type", "glob", "-i", source / "*.png", "-loop", 1, "-i", weave, "-filter_complex", SHIFT,
           "-fps_mode", "passthrough", "-pix_fmt", "rgb24", "-start_number", 0, target / "%06d.png")
    for number, name in enumerate(names):
        (target / f"{number:06}.png").rename(target / name)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("world", type=Path)
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--most", type=int, help="pairs of each task; default: all")
    options = arguments.parse_args()
    for folder in ("videos", "images"):
        (options.out / folder).mkdir(parents=True, exist_ok=True)
    weave = options.out / "weave.png"
    ffmpeg("-f", "lavfi", "-i", f"color=s={SIZE},format=gray,geq=lum='{WEAVE}'", "-frames:v", 1, weave)
    with ThreadPoolExecutor(2) as pool:
        videos = sorted((options.world / "videos").glob("*.mp4"))
        list(pool.map(lambda path: shift_video(path, options.out / "videos" / path.name, weave), videos))
    shift_images(options.world / "images", options.out / "images", weave)
    shift_pairs(options.world, options.out, options.most)


if __name__ == "__main__":
    main()
