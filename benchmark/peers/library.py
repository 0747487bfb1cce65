#!/usr/bin/env python3
"""Search a library of a million vectors on disk with gve, beside FAISS and usearch, on the same vectors and all cores.

    python benchmark/peers/library.py                      # 1,000,000 x 2048, k = 10: 17 GB of disk, 12 GB of memory
    python benchmark/peers/library.py --rows 200000 --hnsw # with FAISS HNSW and usearch, whose builds take long

Needs numpy and faiss-cpu, and usearch for --hnsw. The vectors are clustered: each is one of --clusters random directions
and noise of the length --noise, normalised. Queries are further members of the clusters. Of every 100 files one lies in a folder
of its own, which the filtered search is told to look in. Recall is the share of the exact best k, which FAISS IndexFlatIP finds;
times are medians of single queries in seconds, memory is what the process of the side has resident, mapped files included, after
all searches.
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import time
from pathlib import Path

import faiss
import numpy

from worker import build_worker

CHUNK = 20_000


def make(path, rows, arguments, seed):
    centres = numpy.random.default_rng(1).standard_normal((arguments.clusters, arguments.dim), dtype=numpy.float32)
    centres /= numpy.linalg.norm(centres, axis=1, keepdims=True)
    generator = numpy.random.default_rng(seed)
    with open(path, "wb") as file:
        for start in range(0, rows, CHUNK):
            count = min(CHUNK, rows - start)
            noise = generator.standard_normal((count, arguments.dim), dtype=numpy.float32)
            noise *= arguments.noise / numpy.sqrt(arguments.dim)
            vectors = centres[generator.integers(arguments.clusters, size=count)] + noise
            vectors /= numpy.linalg.norm(vectors, axis=1, keepdims=True)
            vectors.astype("<f4").tofile(file)


class Ours:
    def __init__(self, worker, library, corpus, queries, dim):
        command = [worker, "--worker", str(library), str(corpus), str(queries), str(dim)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, command, **arguments):
        print(json.dumps({command: arguments} if arguments else command), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def resident():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS:"))


def recall(found, expected):
    pairs = list(zip(found, expected))
    return sum(len(set(a) & set(b)) for a, b in pairs) / sum(len(b) for _, b in pairs)


def row(name, build, bytes_, opened, memory, seconds, recalled):
    cells = [name, f"{build:.0f} s" if build else "", f"{bytes_ / 1e9:.2f} GB" if bytes_ else "",
             f"{opened:.2f} s" if opened else "", f"{memory / 1e9:.2f} GB" if memory else ""]
    cells += [f"{1000 * statistics.median(seconds):.1f} ms", f"{recalled:.4f}"]
    print("| " + " | ".join(cells) + " |", flush=True)


def one_by_one(queries, search):
    seconds, found = [], []
    for query in queries:
        start = time.perf_counter()
        found.append(search(query[None]))
        seconds.append(time.perf_counter() - start)
    return seconds, found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--clusters", type=int, default=2000)
    parser.add_argument("--noise", type=float, default=1.0)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--dtypes", nargs="+", default=["f32"], help="precisions of our store: f32 f16 int8")
    parser.add_argument("--hnsw", action="store_true", help="FAISS HNSW and usearch as well")
    parser.add_argument("--work", type=Path, default=Path("/tmp/gve-library-peer"), help="folder for the vectors and libraries")
    parser.add_argument("--profile", help="Cargo profile to build with (default: bench)")
    arguments = parser.parse_args()
    rows, k, dim = arguments.rows, arguments.k, arguments.dim

    worker = build_worker("library_peer", arguments.profile)
    arguments.work.mkdir(parents=True, exist_ok=True)
    corpus_path, queries_path = arguments.work / f"corpus-{rows}.f32", arguments.work / "queries.f32"
    change = min(1000, rows // 10)
    if not corpus_path.exists() or corpus_path.stat().st_size != 4 * (rows + change) * dim:
        make(corpus_path, rows + change, arguments, 2)
    make(queries_path, arguments.queries, arguments, 3)
    corpus = numpy.memmap(corpus_path, dtype="<f4", mode="r", shape=(rows + change, dim))
    queries = numpy.fromfile(queries_path, dtype="<f4").reshape(-1, dim)

    print(f"{rows} x {dim} in {arguments.clusters} clusters, noise {arguments.noise}, k {k}, {len(queries)} queries; "
          f"FAISS {faiss.__version__}, {faiss.omp_get_max_threads()} threads, load {os.getloadavg()[0]:.1f}\n")
    print("| side | build | on disk | open | memory | a query | recall |\n|---|---|---|---|---|---|---|")

    expected = exact(corpus[:rows], queries, k, numpy.arange(rows))
    few = numpy.arange(0, rows, 100)
    expected_few = exact(corpus[few], queries, k, few)
    # The first rows go and others come.
    changed = numpy.arange(change, rows + change)
    expected_changed = exact(corpus[change:rows + change], queries, k, changed)

    for dtype in arguments.dtypes:
        library = arguments.work / f"library-{rows}-{dtype}"
        shutil.rmtree(library, ignore_errors=True)
        ours = Ours(worker, library, corpus_path, queries_path, dim)
        built = ours.ask("add", first=0, rows=rows, dtype=dtype)
        ours.close()
        ours = Ours(worker, library, corpus_path, queries_path, dim)
        opened = ours.ask("open")
        search = lambda **more: ours.ask("search", **{"k": k, "exact": False, "queries": len(queries), "pattern": None, **more})
        search()
        found = search()
        row(f"gve {dtype}", built["wall"], built["bytes"], opened["wall"], found["resident"], found["seconds"], recall(found["rows"], expected))
        found = search(pattern="**/few/*")
        row(f"gve {dtype}, 1 % by a filter", 0, 0, 0, found["resident"], found["seconds"], recall(found["rows"], expected_few))
        found = search(exact=True, queries=5)
        row(f"gve {dtype}, exact", 0, 0, 0, found["resident"], found["seconds"], recall(found["rows"], expected[:5]))
        ours.close()
        ours = Ours(worker, library, corpus_path, queries_path, dim)
        added = ours.ask("add", first=rows, rows=change, dtype=dtype)
        deleted = ours.ask("delete", first=0, rows=change)
        opened = ours.ask("open")
        found = search()
        row(f"gve {dtype}, {change} added and {change} deleted", added["wall"] + deleted["wall"], added["bytes"], opened["wall"],
            found["resident"], found["seconds"], recall(found["rows"], expected_changed))
        ours.close()
        shutil.rmtree(library)

    peers(corpus[:rows], queries, k, expected, arguments)


def exact(corpus, queries, k, names):
    """The best k by FAISS, in parts, so that not all is in memory."""
    best_scores = numpy.full((len(queries), k), -numpy.inf, numpy.float32)
    best_rows = numpy.full((len(queries), k), -1)
    for start in range(0, len(corpus), 50_000):
        part = numpy.ascontiguousarray(corpus[start:start + 50_000])
        index = faiss.IndexFlatIP(corpus.shape[1])
        index.add(part)
        scores, rows = index.search(queries, k)
        scores = numpy.concatenate([best_scores, scores], axis=1)
        rows = numpy.concatenate([best_rows, names[start + rows]], axis=1)
        order = numpy.argsort(-scores, axis=1, kind="stable")[:, :k]
        best_scores, best_rows = numpy.take_along_axis(scores, order, 1), numpy.take_along_axis(rows, order, 1)
    return best_rows.tolist()


def peers(corpus, queries, k, expected, arguments):
    rows, dim = corpus.shape

    def measure(name, index, add, search):
        before = resident()
        start = time.perf_counter()
        add(index)
        build = time.perf_counter() - start
        one_by_one(queries[:5], lambda query: search(index, query))
        seconds, found = one_by_one(queries, lambda query: search(index, query))
        row(name, build, 0, 0, resident() - before, seconds, recall(found, expected))

    def add(index):
        sample = numpy.ascontiguousarray(corpus[:: max(1, rows // 50_000)])
        if not index.is_trained:
            index.train(sample)
        for start in range(0, rows, 50_000):
            index.add(numpy.ascontiguousarray(corpus[start:start + 50_000]))

    if hasattr(faiss, "IndexIVFRaBitQ"):
        lists = max(64, int(rows ** 0.5))
        for probes in (8, 32, 128):
            quantiser = faiss.IndexFlatIP(dim)
            index = faiss.IndexIVFRaBitQ(quantiser, dim, lists, faiss.METRIC_INNER_PRODUCT)
            index.nprobe = probes
            if probes == 8:
                add(index)
                trained = index
            trained.nprobe = probes

            def rescored(index, query):
                _, found = index.search(query, 50 * k)
                found = found[0][found[0] >= 0]
                scores = corpus[found] @ query[0]
                return found[numpy.argsort(-scores)[:k]].tolist()

            plain = lambda index, query: index.search(query, k)[1][0].tolist()
            measure(f"FAISS IVF{lists},RaBitQ, {probes} lists", trained, lambda _: None, plain)
            measure(f"FAISS IVF{lists},RaBitQ, {probes} lists, best {50 * k} rescored from disk", trained, lambda _: None, rescored)
    if arguments.hnsw:
        index = faiss.IndexHNSWFlat(dim, 32, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efSearch = 128
        measure("FAISS HNSW32, efSearch 128", index, add, lambda index, query: index.search(query, k)[1][0].tolist())
        from usearch.index import Index

        index = Index(ndim=dim, metric="ip", dtype="f32", expansion_search=128)

        def add_usearch(index):
            for start in range(0, rows, 50_000):
                part = numpy.ascontiguousarray(corpus[start:start + 50_000])
                index.add(numpy.arange(start, start + len(part)), part)

        measure("usearch, expansion 128", index, add_usearch, lambda index, query: index.search(query[0], k).keys.tolist())
    measure("FAISS flat", faiss.IndexFlatIP(dim), add, lambda index, query: index.search(query, k)[1][0].tolist())


if __name__ == "__main__":
    main()
