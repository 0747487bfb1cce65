#!/usr/bin/env python3
"""Time exact top-k search of gve beside FAISS IndexFlatIP, on the same arrays and all cores.

    python benchmark/peers/topk.py                    # 100,000 x 2048, k = 10, batches of 1, 64 and 1000
    python benchmark/peers/topk.py --rows 15000 --dim 3584 --batches 14427 --k 1000 --rounds 3    # UVRB's PEV-K

Needs numpy and faiss-cpu. Both sides hold the corpus in memory before anything is timed; loading is not
in the times. The sides take turns within each round, so that a busy machine hurts both alike. The table
shows the fastest and the median run of each side, their ratio (below 1: gve is faster), and how many of FAISS's
results gve also returned.
"""
import argparse
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import faiss
import numpy

from worker import build_worker


def unit_vectors(rows, dim, seed):
    vectors = numpy.random.default_rng(seed).standard_normal((rows, dim), dtype=numpy.float32)
    vectors /= numpy.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


class Ours:
    def __init__(self, worker, corpus, queries, k):
        command = [worker, "--worker", str(corpus), str(queries), str(k)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, batch):
        print(batch, file=self.process.stdin, flush=True)
        answer = json.loads(self.process.stdout.readline())
        return answer["seconds"], answer["rows"]


class Faiss:
    def __init__(self, corpus, queries, k):
        self.index = faiss.IndexFlatIP(corpus.shape[1])
        self.index.add(corpus)
        self.queries, self.k = queries, k

    def run(self, batch):
        start = time.perf_counter()
        _, rows = self.index.search(self.queries[:batch], self.k)
        return time.perf_counter() - start, rows.tolist()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 64, 1000])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--profile", help="Cargo profile to build with (default: bench)")
    arguments = parser.parse_args()

    worker = build_worker("topk_peer", arguments.profile)
    corpus = unit_vectors(arguments.rows, arguments.dim, 0)
    queries = unit_vectors(max(arguments.batches), arguments.dim, 1)
    with tempfile.TemporaryDirectory() as directory:
        paths = [Path(directory) / name for name in ("corpus.npy", "queries.npy")]
        for path, array in zip(paths, (corpus, queries)):
            numpy.save(path, array)
        ours = Ours(worker, *paths, arguments.k)
        theirs = Faiss(corpus, queries, arguments.k)
        del corpus
        ours.run(1)
    print(f"{arguments.rows} x {arguments.dim}, k {arguments.k}, FAISS {faiss.__version__}, {faiss.omp_get_max_threads()} threads")
    print(f"{'queries':>8} {'ours min':>10} {'median':>10} {'FAISS min':>10} {'median':>10} {'ratio min':>10} {'median':>8} {'agree':>8}")
    for batch in arguments.batches:
        times, rows = {"ours": [], "theirs": []}, {}
        for round_ in range(arguments.rounds + 1):
            for name, side in (("ours", ours), ("theirs", theirs)):
                seconds, rows[name] = side.run(batch)
                if round_ > 0:  # the first round warms up
                    times[name].append(seconds)
        low = {name: min(t) for name, t in times.items()}
        mid = {name: statistics.median(t) for name, t in times.items()}
        pairs = list(zip(rows["ours"], rows["theirs"]))
        agree = sum(len(set(a) & set(b)) for a, b in pairs) / sum(len(b) for _, b in pairs)
        print(
            f"{batch:>8} {low['ours']:>10.4f} {mid['ours']:>10.4f} {low['theirs']:>10.4f} {mid['theirs']:>10.4f} "
            f"{low['ours'] / low['theirs']:>10.3f} {mid['ours'] / mid['theirs']:>8.3f} {agree:>8.4f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
