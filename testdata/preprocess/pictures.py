"""The input pictures of the goldens: formulas and three free photographs, in every mode and format.

Imported by make_goldens.py. The photographs are scikit-image's: astronaut (NASA, public domain), coffee and chelsea
(CC0). The JPEG variants that Pillow does not write are made by cjpeg, of Debian's libjpeg-turbo-progs 1:2.1.5-2.
"""
import io
import struct
import subprocess
import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def pattern(w, h, bands, seed=0, grain=1):
    """Waves, edges and a little grain: (h, w, bands) uint8, by formula alone."""
    y, x = np.mgrid[0:h, 0:w].astype(np.int64)
    out = []
    for c in range(bands):
        wave = 127 + 90 * np.sin((x * (3 + c) + y * (5 - c)) / (9.0 + seed) + c)
        edge = np.where(((x // 17 + y // 23 + c) % 3) == 0, 80, 0)
        noise = grain * ((x * 31 + y * 17 + c * 7 + seed) * 2654435761 % 4294967296 // 2**29)
        out.append(np.clip(wave + edge + noise, 0, 255) // 4 * 4 + 3 * (edge > 0))
    return np.stack(out, axis=2).astype(np.uint8)


def alpha(w, h):
    """Opaque, clear and in between."""
    y, x = np.mgrid[0:h, 0:w]
    return np.clip((x * 510 // max(w - 1, 1)) - 120 + (y % 11), 0, 255).astype(np.uint8)


def with_alpha(bands, w, h):
    return np.dstack([pattern(w, h, bands), alpha(w, h)])


def write_png(path, w, h, depth, colour, samples, plte=None, trns=None):
    """A PNG with any depth and colour type; samples is (h, values per row) integers."""
    rows = []
    for row in samples:
        if depth == 16:
            raw = b"".join(struct.pack(">H", v) for v in row)
        elif depth == 8:
            raw = bytes(int(v) for v in row)
        else:
            bits = "".join(format(int(v), f"0{depth}b") for v in row)
            bits += "0" * (-len(bits) % 8)
            raw = bytes(int(bits[i:i + 8], 2) for i in range(0, len(bits), 8))
        rows.append(b"\0" + raw)

    chunks = [(b"PLTE", bytes(plte))] if plte else []
    if trns:
        chunks.append((b"tRNS", bytes(trns)))
    chunks.append((b"IDAT", zlib.compress(b"".join(rows), 9)))
    write_chunks(path, struct.pack(">IIBBBBB", w, h, depth, colour, 0, 0, 0), chunks)


def write_chunks(path, header, chunks):
    data = b"\x89PNG\r\n\x1a\n"
    for kind, body in [(b"IHDR", header), *chunks, (b"IEND", b"")]:
        data += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    Path(path).write_bytes(data)


def write_pngs(out):
    for w, h in [(1, 1), (1, 500), (500, 1), (3, 7), (65, 64), (64, 64), (63, 64), (129, 200), (60, 300)]:
        Image.fromarray(pattern(w, h, 3)).save(out / f"rgb_{w}x{h}.png", optimize=True)
    Image.fromarray(pattern(500, 333, 3, seed=14, grain=0)).save(out / "rgb_500x333.png", optimize=True)
    Image.fromarray(with_alpha(3, 50, 160)).save(out / "rgba_tall.png")
    write_png(out / "grey16_tall.png", 50, 160, 16, 0, pattern(50, 160, 1)[:, :, 0].astype(np.int64) * 3)
    w, h = 110, 75
    Image.fromarray(pattern(w, h, 1)[:, :, 0]).save(out / "grey.png")
    Image.fromarray(with_alpha(1, w, h)).save(out / "grey_alpha.png")
    Image.fromarray(with_alpha(3, w, h)).save(out / "rgba.png")
    Image.fromarray(with_alpha(3, 64, 90)).save(out / "rgba_64x90.png")
    Image.fromarray(pattern(w, h, 3)).quantize(60).save(out / "palette.png")
    Image.fromarray(pattern(40, 30, 3)).quantize(13).save(out / "palette4.png", bits=4)
    Image.fromarray(pattern(w, h, 1)[:, :, 0]).convert("1").save(out / "bit.png")
    grey = pattern(w, h, 1)[:, :, 0]
    write_png(out / "grey2.png", w, h, 2, 0, grey >> 6)
    write_png(out / "grey4.png", w, h, 4, 0, grey >> 4)
    write_png(out / "grey_trns.png", w, h, 8, 0, grey, trns=[0, 83])
    write_png(out / "bit_trns.png", w, h, 1, 0, grey >> 7, trns=[0, 1])
    wide = grey.astype(np.int64) * 3 + 40
    write_png(out / "grey16.png", w, h, 16, 0, wide)
    write_png(out / "grey16_bright.png", 60, 45, 16, 0, pattern(60, 45, 1)[:, :, 0].astype(np.int64) * 257)
    write_png(out / "grey16_trns.png", w, h, 16, 0, wide, trns=[0, 90])
    rgb = pattern(w, h, 3)
    write_png(out / "rgb_trns.png", w, h, 8, 2, rgb.reshape(h, -1), trns=[0, 83, 0, 100, 0, 55])
    write_png(out / "rgb16.png", w, h, 16, 2, rgb.reshape(h, -1).astype(np.int64) * 255 + 9)
    write_png(out / "rgba16.png", w, h, 16, 6, with_alpha(3, w, h).reshape(h, -1).astype(np.int64) * 257)
    write_png(out / "grey_alpha16.png", w, h, 16, 4, with_alpha(1, w, h).reshape(h, -1).astype(np.int64) * 257)
    write_interlaced(out / "interlaced.png", pattern(45, 31, 3))
    write_png(out / "palette_trns.png", w, h, 2, 3, grey >> 6,
              plte=[200, 10, 30, 0, 90, 200, 7, 255, 0, 60, 60, 60], trns=[0, 128])


def write_interlaced(path, rgb):
    """An 8-bit RGB PNG in Adam7's seven passes."""
    raw = b""
    for x, y, dx, dy in ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)):
        for row in rgb[y::dy, x::dx]:
            raw += b"\0" + row.tobytes()
    h, w, _ = rgb.shape
    write_chunks(path, struct.pack(">IIBBBBB", w, h, 8, 2, 0, 0, 1), [(b"IDAT", zlib.compress(raw, 9))])


def cjpeg(path, im, *options):
    ppm = io.BytesIO()
    im.save(ppm, "ppm")
    path.write_bytes(subprocess.run(["cjpeg", "-quality", "85", *options], input=ppm.getvalue(), check=True,
                                    capture_output=True).stdout)


def write_jpeg_variants(out):
    """Odd sizes, so that the last blocks of every sampling are cut."""
    from skimage import data

    cup = Image.fromarray(data.coffee()).resize((300, 200)).crop((20, 10, 115, 81))
    cjpeg(out / "cup_440.jpg", cup, "-sample", "1x2")
    cjpeg(out / "cup_411.jpg", cup, "-sample", "4x1")
    cjpeg(out / "cup_410.jpg", cup, "-sample", "4x2")
    cjpeg(out / "cup_rgb.jpg", cup, "-rgb")
    cjpeg(out / "cup_restarts.jpg", cup, "-restart", "1")
    cjpeg(out / "cup_arithmetic.jpg", cup, "-arithmetic")
    cjpeg(out / "cup_arithmetic_progressive.jpg", cup, "-arithmetic", "-progressive")
    cjpeg(out / "cup_grey_progressive.jpg", cup.convert("L"), "-progressive")
    # The transform of Adobe's marker, 0 for CMYK, becomes 2 for YCCK: other colours, but YCCK all the same.
    cmyk = io.BytesIO()
    cup.convert("CMYK").save(cmyk, "jpeg", quality=85)
    ycck = bytearray(cmyk.getvalue())
    ycck[ycck.index(b"Adobe\0\x64") + 11] = 2
    (out / "cup_ycck.jpg").write_bytes(ycck)


def write_oriented(out):
    """EXIF orientations, which are passed over unless they are asked for."""
    im = Image.fromarray(pattern(21, 14, 3))
    for name in ("lying.png", "lying.webp", "lying.tif"):
        exif = Image.Exif()
        exif[0x0112] = 6
        im.save(out / name, exif=exif, **({"lossless": True} if name.endswith("webp") else {}))
    for o in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = o
        im.save(out / f"orientation{o}.jpg", quality=70, subsampling=0, exif=exif)


def write_photos(out):
    from skimage import data

    face = Image.fromarray(data.astronaut()).crop((120, 0, 440, 260))
    cup = Image.fromarray(data.coffee()).resize((300, 200))
    cat = Image.fromarray(data.chelsea())
    face.save(out / "face_420.jpg", quality=85)
    cat.save(out / "cat_progressive.jpg", quality=75, progressive=True)
    cup.save(out / "cup_444.jpg", quality=90, subsampling=0)
    cup.save(out / "cup_422.jpg", quality=80, subsampling=1)
    cup.crop((0, 0, 151, 133)).save(out / "cup_odd.jpg", quality=80)
    cat.convert("L").resize((225, 150)).save(out / "cat_grey.jpg", quality=80)
    cup.convert("CMYK").resize((120, 80)).save(out / "cup_cmyk.jpg", quality=85)
    cat.resize((300, 200)).save(out / "cat_lossy.webp", quality=80)
    cup.crop((3, 5, 124, 98)).save(out / "cup_lossy_odd.webp", quality=60)
    face.resize((128, 104)).save(out / "face.png", optimize=True)
    face.resize((120, 97)).quantize(128).save(out / "face.gif")


def write_others(out):
    w, h = 110, 75
    rgb, rgba = Image.fromarray(pattern(w, h, 3)), Image.fromarray(with_alpha(3, w, h))
    grey = Image.fromarray(pattern(w, h, 1)[:, :, 0])
    rgba.save(out / "alpha_lossless.webp", lossless=True)
    rgba.save(out / "alpha_lossy.webp", quality=70)
    rgb.save(out / "lossless.webp", lossless=True)
    second = Image.fromarray(pattern(w, h, 3, 4))
    rgb.save(out / "animated.webp", save_all=True, append_images=[second], quality=50, duration=100)
    rgb.quantize(32).save(out / "animated.gif", save_all=True, append_images=[second.quantize(32)], duration=100)
    grey.save(out / "grey.gif")
    clear = rgb.quantize(31)
    clear.save(out / "transparent.gif", transparency=5)
    part = bytearray((out / "transparent.gif").read_bytes())
    part[6:10] = struct.pack("<HH", w + 30, h + 20)  # a wider canvas: the frame covers a part of it
    (out / "partial.gif").write_bytes(part)
    rgb.save(out / "rgb.bmp")
    rgba.save(out / "rgba.bmp")
    rgb.quantize(50).save(out / "palette.bmp")
    grey.save(out / "grey.bmp")
    grey.convert("1").save(out / "bit.bmp")
    rgb.save(out / "rgb_lzw.tif", compression="tiff_lzw")
    rgb.save(out / "rgb_deflate.tif", compression="tiff_adobe_deflate")
    rgba.save(out / "rgba.tif", compression="tiff_lzw")
    grey.save(out / "grey.tif", compression="packbits")
    grey.convert("1").save(out / "bit.tif")
    rgb.quantize(40).save(out / "palette.tif", compression="tiff_lzw")
    wide = np.asarray(grey).astype(np.uint16) * 3 + 40
    Image.fromarray(wide).save(out / "grey16.tif")
    rgb.resize((20, 15)).convert("CMYK").save(out / "cmyk.tif", compression="tiff_lzw")
    (out / "png_named.jpg").write_bytes((out / "rgb_65x64.png").read_bytes())


def write_all(out):
    out.mkdir(parents=True, exist_ok=True)
    write_pngs(out)
    write_photos(out)
    write_jpeg_variants(out)
    write_oriented(out)
    write_others(out)
