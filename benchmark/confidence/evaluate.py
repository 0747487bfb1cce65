#!/usr/bin/env python3
"""Measures `gve search --min-confidence` on uvrb-mini, and prints the tables of docs/libraries.md.

    gve synth uvrb-mini --seed 7 --out /tmp/mini
    python3 benchmark/confidence/evaluate.py /tmp/mini --work /tmp/confidence --gve target/release/gve

Each data set is a library, and all of them together are another. A query is asked with its answers in the library, and with
them out: the best hit that is left counts then; in the library of all, everything of its data set is out. A hit is right if it
is one of the answers. Texts about other things are asked in the library of all. Files of equal contents are one.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
from bisect import bisect_left, bisect_right
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

SUBJECTS = ("a bride", "two children", "a news anchor", "a fishing boat", "my grandmother")
ACTIONS = ("opening a present", "giving a speech", "blowing out candles", "crossing a bridge")
PLACES = ("at a wedding", "in the rain", "in a hospital", "in Paris")


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def auroc(right, wrong):
    """How often a right hit has more than a wrong one."""
    wrong = sorted(wrong)
    below = [bisect_left(wrong, value) + bisect_right(wrong, value) for value in right]
    return sum(below) / 2 / len(right) / len(wrong) if right and wrong else float("nan")


class Bench:
    def __init__(self, arguments):
        self.gve, self.data, self.work = arguments.gve.resolve(), arguments.data.resolve(), arguments.work.resolve()
        self.sets = sorted(path.parent.name for path in self.data.glob("*/jsonl"))
        self.content = {}
        for name in self.sets:
            for record in lines(self.data / name / "jsonl/corpus.jsonl"):
                source = self.data / name / (record.get("video") or record["image"])
                file = self.work / "files" / name / f"{record['id']}{source.suffix}"
                file.parent.mkdir(parents=True, exist_ok=True)
                if not file.exists():
                    shutil.copyfile(source, file)
                self.content[str(file)] = hashlib.sha256(file.read_bytes()).digest()

    def library(self, name):
        library, files = self.work / "libraries" / (name or "all"), self.work / "files" / name
        subprocess.run([self.gve, "index", files, "--library", library, "--quiet"], check=True, capture_output=True)
        return library

    def search(self, library, query):
        command = [self.gve, "search", "--library", library, "--files", "-k", "100000", "--json", "--min-confidence", "0", "--quiet"]
        output = subprocess.run(command + query, capture_output=True, text=True)
        if output.returncode != 0:
            raise SystemExit(output.stderr)
        return [json.loads(line) for line in output.stdout.splitlines()]

    def queries(self, name, every):
        """What is asked, and the contents of the answers, of all that may be found, and of the data set."""
        asked = {record["id"]: record for record in lines(self.data / name / "jsonl/queries.jsonl")}
        folder = self.work / "files" / name
        content = {file.stem: self.content[str(file)] for file in folder.iterdir()}
        for instance in lines(self.data / name / "jsonl/instances.jsonl")[::every]:
            record = asked[instance["qid"]]
            query = [record["text"]] if "text" in record else []
            for kind in ("image", "video"):
                query += [f"--{kind}", self.data / name / record[kind]] if kind in record else []
            answers = {content[answer] for answer in instance["pos"]}
            others = instance.get("candidates")
            may_be = answers | {content[other] for other in others} if others else set(content.values())
            yield query, answers, may_be, set(content.values())


def best(hits, content, may_be=lambda content: True):
    """Of the best hit of those that may be: contents, cosine and confidence."""
    hit = next(hit for hit in hits if may_be(content[hit["path"]]))
    return content[hit["path"]], hit["score"], hit["confidence"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--gve", type=Path, default=Path("target/release/gve"))
    parser.add_argument("--every", type=int, default=1, help="ask one of so many queries")
    arguments = parser.parse_args()
    bench = Bench(arguments)
    libraries = {name: bench.library(name) for name in [*bench.sets, ""]}

    def ask(of):
        name, (query, answers, may_be, own) = of
        alone, among = bench.search(libraries[name], query), bench.search(libraries[""], query)
        rows = []
        for where, hits, allowed in (
            ("alone", alone, lambda content: content in may_be),
            ("alone, out", alone, lambda content: content in may_be - answers),
            ("among all", among, lambda content: True),
            ("among all, out", among, lambda content: content not in own),
        ):
            found, score, confidence = best(hits, bench.content, allowed)
            rows.append((name, where, found in answers, score, confidence))
        return rows

    rows = []
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for found in threads.map(ask, [(name, query) for name in bench.sets for query in bench.queries(name, arguments.every)]):
            rows += found
        texts = [" ".join(words) for words in product(SUBJECTS, ACTIONS, PLACES)]
        for hits in threads.map(lambda text: bench.search(libraries[""], [text]), texts):
            rows.append(("", "other things", False, *best(hits, bench.content)[1:]))
    (arguments.work / "rows.json").write_text(json.dumps(rows))

    def of(names, *places):
        return [row for row in rows if row[0] in names and row[1] in places]

    def separation(rows):
        split = lambda value, right: [row[value] for row in rows if row[2] == right]
        return [auroc(split(value, True), split(value, False)) for value in (3, 4)]

    print("| what is asked | hits | not below 0.5 | not below 0.9 |\n|---|---|---|---|")
    for where in ("alone", "alone, out", "among all", "among all, out", "other things"):
        for right in (True, False):
            confidences = [row[4] for row in of((*bench.sets, ""), where) if row[2] == right]
            if confidences:
                shares = (sum(value >= least for value in confidences) / len(confidences) for least in (0.5, 0.9))
                print(f"| {where}, {'right' if right else 'wrong'} | {len(confidences)} | {' | '.join(f'{share:.2f}' for share in shares)} |")
    print("\n| is the best hit right? | by cosine | by confidence |\n|---|---|---|")
    each = [separation(of((name,), "alone", "alone, out")) for name in bench.sets]
    each = [scores for scores in each if scores[0] == scores[0]]
    print(f"| within a data set, mean of {len(each)} | {' | '.join(f'{sum(column) / len(column):.3f}' for column in zip(*each))} |")
    for what, places, names in (
        ("over all of these", ("alone", "alone, out"), bench.sets),
        ("in one library of all", ("among all", "among all, out"), bench.sets),
        ("with other things", ("among all", "among all, out", "other things"), (*bench.sets, "")),
    ):
        print(f"| {what} | {' | '.join(f'{value:.3f}' for value in separation(of(names, *places)))} |")


if __name__ == "__main__":
    main()
