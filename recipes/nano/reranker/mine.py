"""Gives each training pair negatives: half of those that nano ranks highest, half drawn at random.

    python3 mine.py WORLD GVE NEGATIVES MOST

Reads WORLD/pairs_*.jsonl, embeds queries and positives with the program GVE and the built-in model, and writes WORLD/mined_*.jsonl with
NEGATIVES each, of MOST pairs a task. Needs NumPy.
"""

import json
import random
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from embedding import embeddings


def mine(path, gve, count, most):
    rng = random.Random(1)
    pairs = [json.loads(line) for line in path.read_text().splitlines()]
    chosen = sorted(rng.sample(range(len(pairs)), min(most, len(pairs))))
    pairs = [pairs[i] for i in chosen]
    queries, positives = (embeddings(gve, "nano", [json.dumps(pair[side]) for pair in pairs], path.parent) for side in ("query", "positive"))
    right = {}
    for pair in pairs:
        right.setdefault(json.dumps(pair["query"]), set()).add(json.dumps(pair["positive"]))
    lines = []
    for pair, scores in zip(pairs, queries @ positives.T):
        own = right[json.dumps(pair["query"])]
        ranked = np.argsort(-scores)[: 8 * count]
        drawn = [rng.randrange(len(pairs)) for _ in range(8 * count)]
        negatives = {}
        for places, share in ((ranked, count // 2), (drawn, count)):
            for place in places:
                key = json.dumps(pairs[place]["positive"])
                if len(negatives) < share and key not in own:
                    negatives[key] = None
        pair["negatives"] = [json.loads(key) for key in negatives]
        lines.append(json.dumps(pair))
    rng.shuffle(lines)
    path.with_name(path.name.replace("pairs_", "mined_")).write_text("\n".join(lines) + "\n")


def main():
    world, gve, count, most = sys.argv[1:]
    for path in sorted(Path(world).glob("pairs_*.jsonl")):
        mine(path, str(Path(gve).absolute()), int(count), int(most))


main()
