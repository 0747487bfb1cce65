#!/usr/bin/env python3
"""The scores of runs as tables in Markdown: means over seeds, and standard deviations behind ±.

    table.py RUNS [--only PREFIX]

RUNS holds folders NAME-SEED with a log.jsonl each; of `before` the scores before the first step count. A run without an evaluation at its end is left out and told.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

METRICS = ("recall@1", "recall@10")


def read(path):
    """The evaluations of a run by step, and the share of each task in its batches."""
    evaluations, batches = {}, {}
    for line in path.read_text().splitlines():
        entry = json.loads(line)
        if entry["event"] == "evaluation":
            evaluations[entry["step"]] = entry["recall"]
        elif entry["event"] == "step":
            batches[entry["step"]] = entry["tasks"]
    drawn = [task for tasks in batches.values() for task in tasks]
    shares = {task: drawn.count(task) / len(drawn) for task in set(drawn)}
    return evaluations, shares, max(batches, default=0)


def runs(folder, prefix):
    """By name: what of each seed is there at the end; and the scores before the first step, before the shift and behind it."""
    found, start, before = {}, None, None
    for path in sorted(folder.glob("*-[0-9]*/log.jsonl")):
        name, seed = path.parent.name.rsplit("-", 1)
        if not name.startswith((prefix, "before")):
            continue
        evaluations, shares, steps = read(path)
        if name == "before":
            before = evaluations.get(0)
            continue
        start = start or evaluations.get(0)
        if not (path.parent / "final").exists() or steps not in evaluations:
            print(f"table.py: {path.parent} is not through yet", file=sys.stderr)
            continue
        found.setdefault(name, []).append((seed, evaluations[steps], shares))
    return found, start, before


def cell(values, digits=3):
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{spread}"


def row(name, cells):
    return "| " + " | ".join([name, *cells]) + " |"


def scores(found, start, before, metric):
    tasks = sorted(start)
    yield row(metric, ["seeds", "mean", *tasks])
    yield "|---" * (len(tasks) + 3) + "|"
    for name, recall in (("before the shift", before), ("before training", start)):
        if recall:
            values = [recall[task][metric] for task in tasks]
            yield row(name, ["", f"{statistics.mean(values):.3f}", *(f"{value:.3f}" for value in values)])
    for name, seeds in found.items():
        by_task = [[recall[task][metric] for _, recall, _ in seeds] for task in tasks]
        means = [statistics.mean(of_seed) for of_seed in zip(*by_task)]
        yield row(name, [str(len(seeds)), cell(means), *map(cell, by_task)])


def shares(found, tasks):
    yield row("share of batches", tasks)
    yield "|---" * (len(tasks) + 1) + "|"
    for name, seeds in found.items():
        yield row(name, [f"{statistics.mean(drawn.get(task, 0) for _, _, drawn in seeds):.2f}" for task in tasks])


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("runs", type=Path)
    arguments.add_argument("--only", default="", metavar="PREFIX", help="runs whose name begins so")
    options = arguments.parse_args()
    found, start, before = runs(options.runs, options.only)
    if start is None:
        raise SystemExit(f"table.py: {options.runs}: no run has an evaluation at step 0; has one begun?")
    tables = [*(scores(found, start, before, metric) for metric in METRICS), shares(found, sorted(start))]
    print("\n\n".join("\n".join(table) for table in tables))


if __name__ == "__main__":
    main()
