"""Embeddings by the program `gve`, of the size that nano is made and scored at. Needs NumPy."""

import subprocess
import tempfile
from pathlib import Path

import numpy as np


def embeddings(gve, model, inputs, folder):
    """One row for each of `inputs`, which are JSON; their files lie in `folder`."""
    with tempfile.TemporaryDirectory() as scratch:
        rows = Path(scratch) / "rows.npy"
        subprocess.run([gve, "embed", "--model", model, "--frames", "8", "--tokens-per-frame", "12", "--quiet", "--input", "-",
                        "--out", rows, "--format", "npy"], input="".join(line + "\n" for line in inputs), text=True, cwd=folder, check=True)
        return np.load(rows)
