"""Writes the image files beside this script, and what Pillow decodes from each, under `rgb/`.

    pip install pillow numpy pillow-heif pillow-jxl-plugin
    python tests/images/make_images.py [NAME...]

Made with Pillow 11.3 or later, pillow-heif 1.8 and pillow-jxl-plugin 1.3; with names, only files that begin with one of them. Files that Pillow does not write (palettes of few bits, planes, run lengths) are put together here.
"""

import io
import struct
import sys
from pathlib import Path

import numpy as np
import pillow_heif
import pillow_jxl  # noqa: F401, lets Pillow read and write JPEG XL
from PIL import Image, ImageOps

pillow_heif.register_heif_opener()

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


def smooth(width=WIDTH, height=HEIGHT):
    """Of no edges, where decoders differ in how they enlarge chroma."""
    y, x = np.mgrid[0:height, 0:width]
    rgb = np.stack([x * 255 // (width - 1), y * 255 // (height - 1), 255 - (x + y) * 255 // (width + height - 2)], axis=-1)
    return Image.fromarray(rgb.astype(np.uint8))


def exif(orientation):
    data = Image.Exif()
    data[0x0112] = orientation
    data.get_ifd(0x8769)[0x9003] = "2026:05:31 18:00:01"
    return data


def box(kind, *content):
    content = b"".join(content)
    return struct.pack(">I4s", 8 + len(content), kind) + content


def full_box(kind, *content, version=0, flags=0):
    return box(kind, struct.pack(">I", version << 24 | flags), *content)


def boxes(data):
    at = 0
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        yield data[at + 4 : at + 8], data[at + 8 : at + length]
        at += length


def grid(tiles, columns, size):
    """An AVIF or HEIC of the pictures of others, as telephones write them, turned by a quarter to the left."""
    parts = [dict(boxes(tile)) for tile in tiles]
    metas = [dict(boxes(part[b"meta"][4:])) for part in parts]
    kind = b"av01" if b"avif" in tiles[0][:32] else b"hvc1"
    config = {b"av01": b"av1C", b"hvc1": b"hvcC"}[kind]
    header = dict(boxes(dict(boxes(metas[0][b"iprp"]))[b"ipco"]))
    rows = len(tiles) // columns
    ids = range(2, 2 + len(tiles))
    shape = struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, *size)
    entries = [(1, b"grid")] + [(number, kind) for number in ids]
    kinds = [full_box(b"infe", struct.pack(">HH4s", number, 0, name), b"\0", version=2) for number, name in entries]
    properties = box(b"ipco", box(config, header[config]), box(b"ispe", header[b"ispe"]), full_box(b"ispe", struct.pack(">II", *size)),
                     box(b"irot", b"\1"), box(b"colr", header[b"colr"]))
    uses = struct.pack(">IHB3B", 1 + len(tiles), 1, 3, 3, 0x84, 5)
    uses += b"".join(struct.pack(">HB3B", number, 3, 0x81, 2, 5) for number in ids)
    reference = box(b"dimg", struct.pack(">HH", 1, len(tiles)), b"".join(struct.pack(">H", number) for number in ids))
    brand = b"avif" if kind == b"av01" else b"heic"
    head = box(b"ftyp", brand, b"\0\0\0\0mif1", brand)

    def meta(begin):
        places = struct.pack(">HHHHII", 1, 1, 0, 1, 0, len(shape))
        for number, part in zip(ids, parts):
            places += struct.pack(">HHHHII", number, 0, 0, 1, begin, len(part[b"mdat"]))
            begin += len(part[b"mdat"])
        return full_box(
            b"meta",
            full_box(b"hdlr", b"\0\0\0\0pict", b"\0" * 13),
            full_box(b"pitm", struct.pack(">H", 1)),
            full_box(b"iinf", struct.pack(">H", len(entries)), *kinds),
            full_box(b"iloc", b"\x44\0", struct.pack(">H", len(entries)), places, version=1),
            full_box(b"iref", reference),
            box(b"iprp", properties, full_box(b"ipma", uses)),
            box(b"idat", shape),
        )

    begin = len(head) + len(meta(0)) + 8
    return head + meta(begin) + box(b"mdat", *(part[b"mdat"] for part in parts))


def raw_directory(order, at, entries):
    """A directory at a place of a file, and what lies behind it. Values are numbers, or bytes that lie behind."""
    behind = at + 2 + 12 * len(entries) + 4
    fields, beside = b"", b""
    for tag, kind, count, value in sorted(entries):
        if isinstance(value, bytes):
            field = struct.pack(order + "I", behind + len(beside))
            beside += value + b"\0" * (len(value) % 2)
        else:
            field = struct.pack(order + ("HH" if kind == 3 else "I"), *([value, 0] if kind == 3 else [value]))
        fields += struct.pack(order + "HHI", tag, kind, count) + field
    return struct.pack(order + "H", len(entries)) + fields + struct.pack(order + "I", 0) + beside


def raws(image):
    """Raw files as cameras make them, with noise for what the sensor saw."""

    def jpeg(picture, **options):
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=90, **options)
        return buffer.getvalue()

    large, small = jpeg(image), jpeg(image.resize((16, 12)))
    noise = np.random.default_rng(0).integers(0, 256, 600).astype(np.uint8).tobytes()
    time = b"2026:05:31 18:00:01\0"
    for name, order, magic in (("dng", "<", b"II*\0"), ("nef", ">", b"MM\0*"), ("orf", "<", b"IIRO"), ("rw2", "<", b"IIU\0")):
        places = {}
        data = magic + b"\0\0\0\0"
        for what, content in (("noise", noise), ("small", small), ("large", large)):
            places[what] = len(data)
            data += content + b"\0" * (len(content) % 2)
        details = len(data)
        data += raw_directory(order, details, [(0x9003, 2, 20, time)])
        sensor = len(data)
        data += raw_directory(order, sensor, [(256, 3, 1, 30), (262, 3, 1, 32803), (0x111, 4, 1, places["noise"]), (0x117, 4, 1, len(noise))])
        preview = len(data)
        data += raw_directory(order, preview, [(0x201, 4, 1, places["large"]), (0x202, 4, 1, len(large))])
        first = len(data)
        subs = struct.pack(order + "II", sensor, preview)
        entries = [(0x112, 3, 1, 8), (0x8769, 4, 1, details)]
        if name == "rw2":
            entries += [(0x2E, 7, len(large), places["large"])]
        else:
            entries += [(0x14A, 4, 2, subs), (0x201, 4, 1, places["small"]), (0x202, 4, 1, len(small))]
        if name == "dng":
            entries += [(0xC612, 1, 4, 0x0401)]
        data += raw_directory(order, first, entries)
        yield f"raw.{name}", data[:4] + struct.pack(order + "I", first) + data[8:], turned(large, 8)
    head = b"FUJIFILMCCD-RAW 0201FF000000".ljust(84, b"\0") + struct.pack(">II", 92, 0)
    itself = jpeg(image, exif=exif(6))
    yield "raw.raf", head[:88] + struct.pack(">I", len(itself)) + itself + noise, turned(itself, 6)
    cmt1 = b"MM\0*" + struct.pack(">I", 8) + raw_directory(">", 8, [(0x112, 3, 1, 6)])
    cmt2 = b"MM\0*" + struct.pack(">I", 8) + raw_directory(">", 8, [(0x9003, 2, 20, time)])
    uuid = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")

    def movie(begin):
        tables = full_box(b"stsz", struct.pack(">II", len(large), 1)) + full_box(b"co64", struct.pack(">IQ", 1, begin))
        track = box(b"trak", box(b"mdia", box(b"minf", box(b"stbl", tables))))
        return box(b"moov", box(b"uuid", uuid, box(b"CMT1", cmt1), box(b"CMT2", cmt2)), track)

    head = box(b"ftyp", b"crx \0\0\0\1crx isom")
    yield "raw.cr3", head + movie(len(head) + len(movie(0)) + 8) + box(b"mdat", large, noise), turned(large, 6)


def turned(data, orientation):
    """What a JPEG shows that is to be turned so."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    tag = Image.Exif()
    tag[0x0112] = orientation
    image.info["exif"] = tag.tobytes()
    buffer = io.BytesIO()
    image.save(buffer, "PNG", exif=tag)
    return ImageOps.exif_transpose(Image.open(buffer)).convert("RGB")


def newer(alpha):
    """HEIC, AVIF and JPEG XL."""

    def saved(image, kind, **options):
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        return buffer.getvalue()

    image, even = smooth(), smooth(48, 40)
    transparent = image.copy()
    transparent.putalpha(alpha.getchannel("A"))
    yield "lossy.avif", saved(image, "AVIF", quality=90, speed=0)
    yield "lossy_full_chroma.avif", saved(image, "AVIF", quality=90, speed=0, subsampling="4:4:4")
    yield "lossy_alpha.avif", saved(transparent, "AVIF", quality=90, speed=0)
    yield "lossy_turned.avif", saved(image, "AVIF", quality=90, speed=0, exif=exif(7))
    yield "lossy_limited.avif", saved(image, "AVIF", quality=90, speed=0, range="limited")
    yield "lossy_gray.avif", saved(image.convert("L"), "AVIF", quality=90, speed=0, subsampling="4:0:0")
    yield "lossy_animated.avif", saved(image, "AVIF", quality=90, speed=0, save_all=True, append_images=[image.rotate(180)])
    pillow_heif.options.SAVE_HDR_TO_12_BIT = False
    yield "lossy.heic", saved(even, "HEIF", quality=90)
    yield "lossy_odd.heic", saved(image, "HEIF", quality=90, chroma=444)
    yield "lossy_turned.heic", saved(even, "HEIF", quality=90, exif=exif(6))
    yield "lossy_alpha.heic", saved(transparent.resize((48, 40)), "HEIF", quality=90)
    deep = np.asarray(even).astype(np.uint16) * 257
    heif = pillow_heif.from_bytes(mode="RGB;16", size=even.size, data=deep.tobytes())
    buffer = io.BytesIO()
    heif.save(buffer, quality=90)
    yield "lossy_deep.heic", buffer.getvalue()
    whole = smooth(128, 96)
    for kind, name in (("HEIF", "heic"), ("AVIF", "avif")):
        tiles = [whole.crop((x, y, x + 64, y + 64)) for y in (0, 64) for x in (0, 64)]
        # The parts of the last row stick out.
        options = {"speed": 0} if kind == "AVIF" else {}
        yield f"lossy_grid.{name}", grid([saved(tile, kind, quality=90, **options) for tile in tiles], 2, whole.size)
    yield "lossless.jxl", saved(picture(), "JXL", lossless=True)
    yield "lossy.jxl", saved(image, "JXL", quality=90)
    yield "lossy_gray.jxl", saved(image.convert("L"), "JXL", quality=90)
    yield "lossless_alpha.jxl", saved(alpha, "JXL", lossless=True)
    yield "lossy_turned.jxl", saved(image, "JXL", quality=90, exif=exif(6).tobytes())


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
    yield from newer(alpha)
    yield from raws(smooth())


def main():
    (HERE / "rgb").mkdir(exist_ok=True)
    for name, data, *shown in files():
        if sys.argv[1:] and not name.startswith(tuple(sys.argv[1:])):
            continue
        (HERE / name).write_bytes(data)
        if shown:
            shown[0].save(HERE / "rgb" / f"{name}.png", optimize=True)
            continue
        image = Image.open(io.BytesIO(data))
        image.load()
        if name.endswith(".avif"):
            # Turns are told as EXIF data, and left to whoever shows it.
            image = ImageOps.exif_transpose(image)
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
