#!/usr/bin/env python3
"""Scores `gve duplicates` and `gve locate` on what `make.py` wrote, and prints the tables of docs/duplicates.md.

    python3 benchmark/duplicates/evaluate.py /tmp/duplicates --gve target/release/gve

Recall of a transformation is the share of its versions that are in one group with their source. Precision counts pairs of
files in one group: those of one source are right. For `gve locate`, the cuts are looked for among the sources: the first
answer has to be the source, and what it says of where the cut starts is off by so much.
"""

import argparse
import json
import subprocess
import time
from itertools import combinations
from pathlib import Path


def run(gve, *arguments):
    started = time.monotonic()
    output = subprocess.run([gve, *map(str, arguments), "--json", "--quiet"], capture_output=True, text=True)
    if output.returncode not in (0, 1):
        raise SystemExit(output.stderr)
    return [json.loads(line) for line in output.stdout.splitlines()], time.monotonic() - started


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--gve", type=Path, default=Path("target/release/gve"))
    arguments = parser.parse_args()
    root = arguments.folder.resolve()
    made = json.loads((root / "clips.json").read_text())
    source_of = {str(root / entry["path"]): entry["source"] for entry in made["sources"] + made["versions"]}
    folders, cache = (root / "sources", root / "versions"), ("--cache", root / "cache")

    groups, seconds = run(arguments.gve, "duplicates", *folders, *cache)
    again, compared = run(arguments.gve, "duplicates", *folders, *cache)
    assert again == groups
    group_of = {member["path"]: number for number, group in enumerate(groups) for member in group["members"]}
    pairs = [source_of[a["path"]] == source_of[b["path"]] for group in groups for a, b in combinations(group["members"], 2)]
    print(f"{len(source_of)} files, {len(groups)} groups; all in {seconds:.0f} s, compared in {compared:.0f} s of it")
    print(f"precision {sum(pairs) / len(pairs):.4f} ({len(pairs) - sum(pairs)} of {len(pairs)} pairs are wrong)\n")

    kinds = sorted({entry["kind"] for entry in made["sources"]})
    print(f"| transformation | recall | {' | '.join(kinds)} |\n|---|---|{'---|' * len(kinds)}")
    sources = {entry["source"]: entry for entry in made["sources"]}
    found = {}
    for entry in made["versions"]:
        group = group_of.get(str(root / entry["path"]))
        is_found = group is not None and group == group_of.get(str(root / sources[entry["source"]]["path"]))
        found.setdefault(entry["transformation"], []).append((sources[entry["source"]]["kind"], is_found))
    for transformation, versions in found.items():
        share = lambda kind: [ok for of, ok in versions if kind in (None, of)]
        cells = [f"{sum(share(kind)) / len(share(kind)):.3f}" for kind in (None, *kinds)]
        print(f"| {transformation} | {' | '.join(cells)} |")

    cuts = [entry for entry in made["versions"] if "start" in entry]
    offsets, seconds = [], 0.0
    for entry in cuts:
        answers, took = run(arguments.gve, "locate", root / entry["path"], root / "sources", *cache)
        seconds += took
        right = answers[:1] and source_of[answers[0]["path"]] == entry["source"]
        # The JSON has the ranges of the video and those of the clip that they show.
        offsets.append(abs(answers[0]["ranges"][0]["start"] - answers[0]["ranges"][0]["of_start"] - entry["start"]) if right else 99.0)
    offsets.sort()
    near = sum(offset <= 0.5 for offset in offsets)
    print(f"\n{len(cuts)} cuts: {sum(offset < 99 for offset in offsets)} found, {near} within 0.5 s; off by {offsets[len(offsets) // 2]:.2f} s at the median, "
          f"{offsets[len(offsets) * 9 // 10]:.2f} s in nine of ten; {seconds / len(cuts):.2f} s each")


if __name__ == "__main__":
    main()
