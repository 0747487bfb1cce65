"""Builds our side of a comparison: a program of `benches/` that is driven over standard input and output."""
import json
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def build_worker(bench, profile):
    """The path of the program `benches/<bench>.rs`, as Cargo reports it."""
    command = ["cargo", "bench", "--bench", bench, "--no-run", "--message-format=json"]
    command += ["--profile", profile] if profile else []
    lines = subprocess.run(command, cwd=REPOSITORY, check=True, stdout=subprocess.PIPE, text=True).stdout
    artifacts = [json.loads(line) for line in lines.splitlines() if line.startswith("{")]
    return next(a["executable"] for a in artifacts if a.get("executable") and a["target"]["name"] == bench)
