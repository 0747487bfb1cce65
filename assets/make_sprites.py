#!/usr/bin/env python3
"""Makes sprites.png out of sprites.tsv, which says what lies in which cell: `name`, `category`, `row` and `column` of a
48 x 48 cell, and `code`, the Unicode code points of the emoji. Needs npm; LICENSE-sprites says where the pictures are from.

    pip install pillow==13.0.0
    python assets/make_sprites.py                                      # downloads 74 MB
    python assets/make_sprites.py emoji-datasource-google-16.0.0.tgz   # from a download that is there
"""
import csv
import hashlib
import io
import pathlib
import subprocess
import sys
import tarfile
import tempfile

from PIL import Image

PACKAGE = "emoji-datasource-google@16.0.0"
SHA256 = "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438"
CELL_PIXELS = 48
# Fewer levels halve the file and cannot be told from the original by eye.
COLOUR_LEVELS = 32
ALPHA_LEVELS = 16


def download() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["npm", "pack", "--silent", "--pack-destination", folder, PACKAGE], check=True)
        (archive,) = pathlib.Path(folder).iterdir()
        return archive.read_bytes()


def rounded(levels: int) -> list[int]:
    """For each of 256 values the nearest of so many."""
    step = 255 / (levels - 1)
    return [round(round(value / step) * step) for value in range(256)]


def main() -> None:
    folder = pathlib.Path(__file__).parent
    archive = pathlib.Path(sys.argv[1]).read_bytes() if len(sys.argv) > 1 else download()
    digest = hashlib.sha256(archive).hexdigest()
    if digest != SHA256:
        sys.exit(f"{PACKAGE}: expected SHA-256 {SHA256}, got {digest}")
    with open(folder / "sprites.tsv", newline="", encoding="utf-8") as table:
        sprites = list(csv.DictReader(table, delimiter="\t"))
    places = [(int(sprite["column"]), int(sprite["row"])) for sprite in sprites]
    columns, rows = (max(axis) + 1 for axis in zip(*places))
    sheet = Image.new("RGBA", (columns * CELL_PIXELS, rows * CELL_PIXELS))
    with tarfile.open(fileobj=io.BytesIO(archive)) as package:
        for sprite, (column, row) in zip(sprites, places):
            picture = Image.open(package.extractfile(f"package/img/google/64/{sprite['code']}.png")).convert("RGBA")
            picture = picture.resize((CELL_PIXELS, CELL_PIXELS), Image.Resampling.LANCZOS)
            picture = picture.point(rounded(COLOUR_LEVELS) * 3 + rounded(ALPHA_LEVELS))
            # What cannot be seen takes no room.
            visible = picture.getchannel("A").point(lambda alpha: 255 * (alpha > 0))
            sheet.paste(picture, (column * CELL_PIXELS, row * CELL_PIXELS), visible)
    sheet.save(folder / "sprites.png", optimize=True)


if __name__ == "__main__":
    main()
