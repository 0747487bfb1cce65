"""How often a caption finds the right one of two pictures or videos that differ in one respect alone.

    python3 right_of_two.py PAIRS GVE MODEL [WORDS]

PAIRS is a file such as WORLD/pairs_t2v.jsonl of `gve synth world --differ`, whose groups are captions that each fit one member of a family alone. Each
caption is held against its own video and each other one of its group; WORDS, a regular expression, takes those captions alone in which it is found. MODEL is
embedded with by the program GVE as nano is made and scored. A tie counts half; guessing is 0.5. Needs NumPy.
"""

import json
import re
import sys
from pathlib import Path

import numpy as np

from embedding import embeddings


def rows_of(gve, model, inputs, world):
    """The row of each of `inputs`."""
    return dict(zip(inputs, embeddings(gve, model, inputs, world).astype(np.float64)))


def main():
    path, gve, model, *words = sys.argv[1:]
    path = Path(path)
    pattern = re.compile(words[0] if words else "")
    groups, chosen = {}, []
    for pair in map(json.loads, path.read_text().splitlines()):
        query, positive = json.dumps(pair["query"]), json.dumps(pair["positive"])
        groups.setdefault(pair["group"], {})[positive] = None
        if pattern.search(query):
            chosen.append((pair["group"], query, positive))
    gve = str(Path(gve).absolute())
    model = str(Path(model).absolute()) if Path(model).exists() else model
    queries = rows_of(gve, model, list(dict.fromkeys(query for _, query, _ in chosen)), path.parent)
    members = dict.fromkeys(positive for group, _, _ in chosen for positive in groups[group])
    rows = rows_of(gve, model, list(members), path.parent)
    right, count = 0.0, 0
    for group, query, positive in chosen:
        own = queries[query] @ rows[positive]
        for other in groups[group]:
            if other != positive:
                right += (1 + np.sign(own - queries[query] @ rows[other])) / 2
                count += 1
    print(f"{right / count:.3f} of {count}" if count else "no captions that tell two apart")


main()
