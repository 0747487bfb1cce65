"""Writes the image files beside this script, and what Pillow decodes from each, under `rgb/`.

    pip install pillow numpy
    python tests/images/make_images.py

Made with Pillow 11 or later. Files that Pillow does not write (palettes of few bits, planes, run lengths) are put together here.
"""

import io
import struct
from pathlib import Path

import numpy as np
from PIL import Image

HERE = Path(__file__).parent
WIDTH, HEIGHT = 45, 37


def picture():
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    rgb = np.stack([x * 255 // (WIDTH - 1), y * 255 // (HEIGHT - 1), (x * 7 + y * 5) % 256], axis=-1)
    rgb[8:20, 10:30] = (250, 40, 20)
    rgb[24:33, 5:15] = (0, 0, 255)
    return Image.fromarray(rgb.astype(np.uint8))


def tiff(tags, chunks, order="<"):
    """A TIFF of one picture. `tags`: number to (type, values); `chunks`: strips of bytes."""
    head = b"II*\0" if order == "<" else b"MM\0*"
    sizes = {3: ("H", 2), 4: ("I", 4)}
    data, offsets = b"", []
    for chunk in chunks:
        offsets.append(8 + len(data))
        data += chunk + b"\0" * (len(chunk) % 2)
    tags = {**tags, 273: (4, offsets), 279: (4, [len(chunk) for chunk in chunks])}
    entries, beside = [], b""
    directory = 8 + len(data)
    after = directory + 2 + 12 * len(tags) + 4
    for number, (kind, values) in sorted(tags.items()):
        code, size = sizes[kind]
        packed = struct.pack(order + code * len(values), *values)
        if len(packed) > 4:
            field = struct.pack(order + "I", after + len(beside))
            beside += packed
        else:
            field = packed.ljust(4, b"\0")
        entries.append(struct.pack(order + "HHI", number, kind, len(values)) + field)
    ifd = struct.pack(order + "H", len(entries)) + b"".join(entries) + struct.pack(order + "I", 0)
    return head + struct.pack(order + "I", directory) + data + ifd + beside


def packed(levels, bits):
    """Rows of levels of few bits, each beginning with a byte."""
    rows = []
    for row in levels:
        text = "".join(format(level, f"0{bits}b") for level in row)
        text = text.ljust(-(-len(text) // 8) * 8, "0")
        rows.append(bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8)))
    return rows


def base(photometric, bits, samples=1):
    return {
        256: (3, [WIDTH]),
        257: (3, [HEIGHT]),
        258: (3, [bits] * samples),
        259: (3, [1]),
        262: (3, [photometric]),
        277: (3, [samples]),
        278: (3, [HEIGHT]),
    }


def strips(rows, per_strip=10):
    return [b"".join(rows[i : i + per_strip]) for i in range(0, len(rows), per_strip)]


def tiffs(image):
    gray = np.asarray(image.convert("L"))
    for bits in (1, 2, 4, 8):
        quantised = image.quantize(2**bits, dither=Image.Dither.NONE)
        colors = quantised.getpalette("RGB")[: 3 * 2**bits]
        colors += [0] * (3 * 2**bits - len(colors))
        table = [value * 257 for channel in range(3) for value in colors[channel::3]]
        for order, name in (("<", "little"), (">", "big")):
            tags = {**base(3, bits), 278: (3, [10]), 320: (3, table)}
            yield f"palette{bits}_{name}.tif", tiff(tags, strips(packed(np.asarray(quantised), bits)), order)
    quantised = image.quantize(16, dither=Image.Dither.NONE)
    colors = quantised.getpalette("RGB")[:48]
    old = [value for channel in range(3) for value in colors[channel::3]]
    yield "palette4_of_8_bit_values.tif", tiff({**base(3, 4), 320: (3, old)}, strips(packed(np.asarray(quantised), 4), HEIGHT))
    for bits in (1, 2, 4):
        levels = gray >> (8 - bits)
        yield f"gray{bits}.tif", tiff(base(1, bits), strips(packed(levels, bits), HEIGHT))
        yield f"gray{bits}_white_is_zero.tif", tiff(base(0, bits), strips(packed(2**bits - 1 - levels, bits), HEIGHT))
    yield "gray8_white_is_zero.tif", tiff(base(0, 8), [(255 - gray).tobytes()])
    planes = np.asarray(image)
    tags = {**base(2, 8, 3), 284: (3, [2])}
    yield "planes.tif", tiff(tags, [planes[:, :, channel].tobytes() for channel in range(3)])


def bmp_of_runs(image):
    """Eight bits a pixel, run-length encoded, bottom row first."""
    quantised = image.quantize(64, dither=Image.Dither.NONE)
    colors = quantised.getpalette("RGB")[:192]
    table = b"".join(bytes([colors[3 * i + 2], colors[3 * i + 1], colors[3 * i], 0]) for i in range(64))
    data = b""
    for row in np.asarray(quantised)[::-1]:
        at = 0
        while at < WIDTH:
            run = 1
            while at + run < WIDTH and row[at + run] == row[at] and run < 255:
                run += 1
            data += bytes([run, row[at]])
            at += run
        data += b"\0\0"
    data += b"\0\1"
    offset = 14 + 40 + len(table)
    head = struct.pack("<IiiHHIIiiII", 40, WIDTH, HEIGHT, 1, 8, 1, len(data), 2835, 2835, 64, 64)
    return b"BM" + struct.pack("<IHHI", offset + len(data), 0, 0, offset) + head + table + data


def files():
    image = picture()
    alpha = image.copy()
    alpha.putalpha(Image.fromarray((np.arange(WIDTH * HEIGHT) % 256).reshape(HEIGHT, WIDTH).astype(np.uint8)))
    deep = Image.fromarray((np.asarray(image.convert("L")).astype(np.uint16) * 251))
    frames = [image, image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]

    def saved(image, kind, **options):
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        return buffer.getvalue()

    jpeg = {"quality": 90}
    yield "baseline.jpg", saved(image, "JPEG", subsampling=2, **jpeg)
    yield "full_chroma.jpg", saved(image, "JPEG", subsampling=0, **jpeg)
    yield "wide_chroma.jpg", saved(image, "JPEG", subsampling=1, **jpeg)
    yield "optimised.jpg", saved(image, "JPEG", subsampling=2, optimize=True, **jpeg)
    yield "restarts.jpg", saved(image, "JPEG", subsampling=2, restart_marker_blocks=2, **jpeg)
    yield "progressive.jpg", saved(image, "JPEG", subsampling=2, progressive=True, **jpeg)
    yield "progressive_full_chroma.jpg", saved(image, "JPEG", subsampling=0, progressive=True, **jpeg)
    yield "progressive_restarts.jpg", saved(image, "JPEG", progressive=True, restart_marker_rows=1, **jpeg)
    yield "gray.jpg", saved(image.convert("L"), "JPEG", **jpeg)
    yield "progressive_gray.jpg", saved(image.convert("L"), "JPEG", progressive=True, **jpeg)
    yield "cmyk.jpg", saved(image.convert("CMYK"), "JPEG", **jpeg)
    yield "rgb.png", saved(image, "PNG")
    yield "palette.png", saved(image.quantize(64), "PNG")
    yield "alpha.png", saved(alpha, "PNG")
    yield "deep.png", saved(deep, "PNG")
    yield "animated.png", saved(frames[0], "PNG", save_all=True, append_images=frames[1:], duration=100)
    yield "still.gif", saved(image.quantize(64), "GIF")
    yield "interlaced.gif", saved(image.quantize(64), "GIF", interlace=1)
    yield "animated.gif", saved(frames[0].quantize(64), "GIF", save_all=True, append_images=[frames[1].quantize(64)])
    yield "lossy.webp", saved(image, "WEBP", quality=90)
    yield "lossless.webp", saved(image, "WEBP", lossless=True)
    yield "lossy_alpha.webp", saved(alpha, "WEBP", quality=90)
    yield "lossless_alpha.webp", saved(alpha, "WEBP", lossless=True, exact=True)
    yield "animated.webp", saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    yield "rgb.bmp", saved(image, "BMP")
    yield "palette.bmp", saved(image.quantize(64), "BMP")
    yield "bits.bmp", saved(image.convert("1"), "BMP")
    yield "runs.bmp", bmp_of_runs(image)
    yield "rgb.tif", saved(image, "TIFF")
    yield "lzw.tif", saved(image, "TIFF", compression="tiff_lzw")
    yield "deflate.tif", saved(image, "TIFF", compression="tiff_adobe_deflate")
    yield "packbits.tif", saved(image, "TIFF", compression="packbits")
    yield "jpeg.tif", saved(image, "TIFF", compression="jpeg", quality=90)
    yield "jpeg_gray.tif", saved(image.convert("L"), "TIFF", compression="jpeg", quality=90)
    yield "palette_lzw.tif", saved(image.quantize(64), "TIFF", compression="tiff_lzw")
    yield "bits.tif", saved(image.convert("1"), "TIFF")
    yield "fax4.tif", saved(image.convert("1"), "TIFF", compression="group4")
    yield "cmyk.tif", saved(image.convert("CMYK"), "TIFF")
    yield "alpha.tif", saved(alpha, "TIFF")
    yield "deep.tif", saved(deep, "TIFF")
    yield from tiffs(image)


def main():
    (HERE / "rgb").mkdir(exist_ok=True)
    for name, data in files():
        (HERE / name).write_bytes(data)
        image = Image.open(io.BytesIO(data))
        image.load()
        if name == "palette4_of_8_bit_values.tif":
            # Pillow has no eyes for the maps of old writers, libtiff has.
            rgb = picture().quantize(16, dither=Image.Dither.NONE).convert("RGB")
        elif image.mode.startswith("I;16"):
            rgb = Image.fromarray(np.round(np.asarray(image) / 257).astype(np.uint8)).convert("RGB")
        elif image.mode == "RGBA":
            rgb = Image.new("RGB", image.size, "white")
            rgb.paste(image, mask=image.split()[3])
        else:
            rgb = image.convert("RGB")
        rgb.save(HERE / "rgb" / f"{name}.png", optimize=True)


main()
