"""The TIFF files of untidy.py: written by hand, or by Pillow's libtiff."""
import io
import struct
import zlib

import numpy as np
from PIL import Image, features

from untidy import H, W, alpha, packed, pattern, picture, saved

SHORT, LONG, BYTE, UNDEFINED, LONG8 = 3, 4, 1, 7, 16


def tiff(parts, tags, order="<", big=False, sort=True, first=True):
    """A TIFF of one page. parts are its strips or tiles; tags {number: (type, values)} get their offsets and lengths."""
    size = {SHORT: "H", LONG: "I", BYTE: "B", UNDEFINED: "B", LONG8: "Q"}
    word, head = ("Q", 16) if big else ("I", 8)
    at, offsets = head, []
    for p in parts:
        offsets.append(at)
        at += len(p)
    where = (324, 325) if 322 in tags else (273, 279)
    tags = {where[0]: (LONG8 if big else LONG, offsets), where[1]: (LONG, [len(p) for p in parts]), **tags}
    tags = {k: v for k, v in tags.items() if v is not None}
    body, at = b"".join(parts), at + at % 2
    body += b"\0" * (at - head - len(body))
    entries, behind = [], b""
    count = len(tags)
    end = at + (8 + 20 * count + 8 if big else 2 + 12 * count + 4)
    for number, (kind, values) in sorted(tags.items()) if sort else reversed(sorted(tags.items())):
        raw = struct.pack(order + str(len(values)) + size[kind], *values)
        if len(raw) > struct.calcsize(word):
            place = struct.pack(order + word, end + len(behind))
            behind += raw + b"\0" * (len(raw) % 2)
        else:
            place = raw.ljust(struct.calcsize(word), b"\0")
        entries.append(struct.pack(order + "HH" + word, number, kind, len(values)) + place)
    mark = b"II" if order == "<" else b"MM"
    out = mark + (struct.pack(order + "HHHQ", 43, 8, 0, at) if big else struct.pack(order + "HI", 42, at))
    out += body + struct.pack(order + ("Q" if big else "H"), count) + b"".join(entries) + struct.pack(order + word, 0)
    return out + behind


def base(w=W, h=H, bits=(8,), photometric=1, samples=None, compression=1, rows=None, **more):
    tags = {256: (LONG, [w]), 257: (LONG, [h]), 258: (SHORT, list(bits)), 259: (SHORT, [compression]),
            262: (SHORT, [photometric]), 277: (SHORT, [samples or len(bits)]), 278: (LONG, [rows or h])}
    for k, v in more.items():
        tags[int(k[1:])] = v
    return tags


def raw(values, order="<"):
    return values.astype(values.dtype.newbyteorder(order)).tobytes()


def differences(values):
    """What predictor 2 stores."""
    out = values.copy()
    out[:, 1:] -= values[:, :-1]
    return out


def tiles(values, tw, th):
    """Tiles of tw x th, filled up with 77."""
    h, w = values.shape[:2]
    out = []
    for y in range(0, h, th):
        for x in range(0, w, tw):
            t = np.full((th, tw) + values.shape[2:], 77, values.dtype)
            part = values[y:y + th, x:x + tw]
            t[:part.shape[0], :part.shape[1]] = part
            out.append(t)
    return out


def tiffs():
    rgb, rgba = np.asarray(picture()), np.asarray(picture("RGBA"))
    cmyk = np.asarray(picture("CMYK"))
    grey = pattern(W, H, 1)
    bit = grey[:, :, 0] >> 7
    bits = b"".join(packed(row, 1) for row in bit)
    wide = rgba.astype(np.uint16) * 257 - rgba // 3
    five = np.dstack([rgba, grey])
    six = np.dstack([five, grey])
    flat = {}
    out = {
        "missing_extra_4": tiff([raw(rgba)], base(bits=(8,) * 4, photometric=2)),
        "missing_extra_5": tiff([raw(five)], base(bits=(8,) * 5, photometric=2)),
        "missing_extra_grey": tiff([raw(rgba[:, :, :2])], base(bits=(8,) * 2)),
        "one_bits_value": tiff([raw(rgb)], base(bits=(8,), photometric=2, samples=3)),
        "bits_beyond": tiff([raw(grey)], base(bits=(8, 8, 8), samples=1)),
        "bits_missing": tiff([bits], base(t258=None)),
        "photometric_missing": tiff([raw(grey)], base(t262=None)),
        "strip_counts_0": tiff([raw(rgb)], base(bits=(8,) * 3, photometric=2, t279=(LONG, [0]))),
        "strip_counts_missing": tiff([raw(rgb)], base(bits=(8,) * 3, photometric=2, t279=None)),
        "strip_counts_0_deflate": tiff([zlib.compress(raw(rgb))], base(bits=(8,) * 3, photometric=2, compression=8,
                                                                        t279=(LONG, [0]))),
        "unsorted": tiff([raw(rgb)], base(bits=(8,) * 3, photometric=2), sort=False),
        "unsorted_deflate": tiff([zlib.compress(raw(rgb))], base(bits=(8,) * 3, photometric=2, compression=8), sort=False),
        "rows_per_strip_0xffffffff": tiff([raw(rgb)], base(bits=(8,) * 3, photometric=2, rows=2**32 - 1)),
        "rows_per_strip_missing": tiff([raw(rgb)], base(bits=(8,) * 3, photometric=2, t278=None)),
        "strips_missing": tiff([raw(rgb[:7])], base(bits=(8,) * 3, photometric=2, rows=7)),
        "header_swapped": b"II\0*" + tiff([raw(grey)], base())[4:],
        "size_short": tiff([raw(grey)], base(t256=(SHORT, [W]), t257=(SHORT, [H]))),
        "float": tiff([raw(grey.astype(np.float32))], base(bits=(32,), t339=(SHORT, [3]))),
        "int32": tiff([raw(grey.astype(np.int32))], base(bits=(32,), t339=(SHORT, [2]))),
        "int16": tiff([raw(grey.astype(np.int16))], base(bits=(16,), t339=(SHORT, [2]))),
        "int8": tiff([raw(grey)], base(t339=(SHORT, [2]))),
        "grey12": tiff([b"".join(packed(r, 12) for r in grey[:, :, 0].astype(int) * 16)], base(bits=(12,))),
        "lab": tiff([raw(rgb)], base(bits=(8,) * 3, photometric=8)),
        "ycbcr": saved(picture("YCbCr"), "tiff"),
        "ycbcr_lzw": saved(picture("YCbCr"), "tiff", compression="tiff_lzw"),
        "planar_5_unsaid": tiff([raw(five[:, :, i]) for i in range(5)],
                                base(bits=(8,) * 5, photometric=2, t284=(SHORT, [2]), t338=(SHORT, [0, 0]))),
        "old_jpeg": tiff([raw(grey)], base(compression=6)),
        "lzma": saved(picture(), "tiff", compression="lzma"),
        "compression_unknown": tiff([raw(grey)], base(compression=777)),
        "predictor_3": tiff([zlib.compress(raw(grey))], base(compression=8, t317=(SHORT, [3]))),
        "predictor_raw": tiff([raw(grey)], base(t317=(SHORT, [2]))),
        "tile_row_cut": tiff([raw(t) for t in tiles(grey, 16, 16)][:-1], base(t322=(LONG, [16]), t323=(LONG, [16]))),
        "cut": tiff([raw(rgb)], base(bits=(8,) * 3, photometric=2))[:-400],
    }
    for o in range(9):
        out[f"orientation_{o}"] = tiff([raw(rgb[:9])], base(h=9, bits=(8,) * 3, photometric=2, t274=(SHORT, [o])))
        out[f"orientation_{o}_deflate"] = tiff([zlib.compress(raw(rgb[:9]))],
                                               base(h=9, bits=(8,) * 3, photometric=2, compression=8, t274=(SHORT, [o])))
    for order, letter in (("<", "ii"), (">", "mm")):
        for big in (False, True):
            name = letter + ("_big" if big else "")
            out[f"rgb_{name}"] = tiff([raw(rgb)], base(bits=(8,) * 3, photometric=2), order, big)
            out[f"grey16_{name}"] = tiff([raw(wide[:, :, 0], order)], base(bits=(16,)), order, big)
            out[f"grey16_white_{name}"] = tiff([raw(wide[:, :, 0], order)], base(bits=(16,), photometric=0), order, big)
            out[f"tiles_{name}"] = tiff([raw(t) for t in tiles(rgb, 16, 16)],
                                        base(bits=(8,) * 3, photometric=2, t322=(LONG, [16]), t323=(LONG, [16])), order, big)
        for extra in (None, 0, 1, 2, 999):
            for name, v in (("8", rgba), ("16", wide)):
                e = {} if extra is None else {"t338": (SHORT, [extra])}
                b = (int(name),) * 4
                out[f"rgba{name}_{extra}_{letter}"] = tiff([raw(v, order)], base(bits=b, photometric=2, **e), order)
                out[f"rgba{name}_{extra}_{letter}_deflate"] = tiff(
                    [zlib.compress(raw(differences(v), order))],
                    base(bits=b, photometric=2, compression=8, t317=(SHORT, [2]), **e), order)
                out[f"rgba{name}_{extra}_{letter}_planar_deflate"] = tiff(
                    [zlib.compress(raw(differences(v[:, :, i]), order)) for i in range(4)],
                    base(bits=b, photometric=2, compression=8, t317=(SHORT, [2]), t284=(SHORT, [2]), **e), order)
                if extra != 1:
                    out[f"rgba{name}_{extra}_{letter}_planar"] = tiff(
                        [raw(v[:, :, i], order) for i in range(4)], base(bits=b, photometric=2, t284=(SHORT, [2]), **e), order)
        out[f"rgb16_{letter}"] = tiff([raw(wide[:, :, :3], order)], base(bits=(16,) * 3, photometric=2), order)
        out[f"rgb16_{letter}_planar_deflate"] = tiff(
            [zlib.compress(raw(wide[y:y + 10, :, i], order)) for i in range(3) for y in (0, 10, 20)],
            base(bits=(16,) * 3, photometric=2, compression=32946, rows=10, t284=(SHORT, [2])), order)
        out[f"cmyk16_{letter}"] = tiff([raw(cmyk.astype(np.uint16) * 257, order)], base(bits=(16,) * 4, photometric=5), order)
        out[f"grey_extra_0_{letter}"] = tiff([raw(rgba[:, :, :2])], base(bits=(8, 8), t338=(SHORT, [0])), order)
    for extra in (0, 1, 2):
        e = (SHORT, [extra])
        out[f"grey_extra_{extra}"] = tiff([raw(rgba[:, :, [0, 3]])], base(bits=(8, 8), t338=e))
        out[f"five_{extra}"] = tiff([raw(five)], base(bits=(8,) * 5, photometric=2, t338=(SHORT, [extra, 0])))
        out[f"six_{extra}"] = tiff([raw(six)], base(bits=(8,) * 6, photometric=2, t338=(SHORT, [extra, 0, 0])))
        index = np.dstack([grey[:, :, 0] % 16, grey[:, :, 0]])
        out[f"palette_extra_{extra}"] = tiff([raw(index)], base(bits=(8, 8), photometric=3, t338=e, t320=colours(8)))
    out["cmyk"] = tiff([raw(cmyk)], base(bits=(8,) * 4, photometric=5))
    out["cmyk_extra"] = tiff([raw(np.dstack([cmyk, grey]))], base(bits=(8,) * 5, photometric=5, t338=(SHORT, [0])))
    out["cmyk_planar"] = tiff([raw(cmyk[:, :, i]) for i in range(4)], base(bits=(8,) * 4, photometric=5, t284=(SHORT, [2])))
    out["rgb_planar"] = tiff([raw(rgb[:, :, i]) for i in range(3)], base(bits=(8,) * 3, photometric=2, t284=(SHORT, [2])))
    out["rgb_planar_strips"] = tiff([raw(rgb[y:y + 5, :, i]) for i in range(3) for y in range(0, H, 5)],
                                    base(bits=(8,) * 3, photometric=2, rows=5, t284=(SHORT, [2])))
    out["rgb_planar_tiles"] = tiff([zlib.compress(raw(t)) for i in range(3) for t in tiles(rgb[:, :, i], 16, 16)],
                                   base(bits=(8,) * 3, photometric=2, compression=8, t284=(SHORT, [2]), t322=(LONG, [16]),
                                        t323=(LONG, [16])))
    for b in (1, 2, 4, 8):
        v = (grey[:, :, 0] >> (8 - b)).astype(int)
        data = b"".join(packed(r, b) for r in v)
        for photometric in (0, 1, 3):
            p = {"t320": colours(b)} if photometric == 3 else {}
            for fill in (1, 2):
                stored = data if fill == 1 else flip(data)
                name = f"bits{b}_{photometric}_fill{fill}"
                f = {"t266": (SHORT, [fill]), **p}
                out[name] = tiff([stored], base(bits=(b,), photometric=photometric, **f))
                out[name + "_deflate"] = tiff([flip(zlib.compress(data)) if fill == 2 else zlib.compress(data)],
                                              base(bits=(b,), photometric=photometric, compression=8, **f))
        small = [b"".join(packed(r, b) for r in t) for t in tiles(v, 16, 32)]
        out[f"bits{b}_tiles"] = tiff(small, base(bits=(b,), t322=(LONG, [16]), t323=(LONG, [32])))
    out.update(compressed(rgb, grey))
    out.update(faxes())
    return {k + ".tif": v for k, v in out.items()}


def flip(data):
    return bytes(int(f"{b:08b}"[::-1], 2) for b in data)


def colours(bits):
    return SHORT, [(i * 7919 + c * 257) % 65536 for c in range(3) for i in range(1 << bits)]


def compressed(rgb, grey):
    """By Pillow's libtiff: every compression, mode and number of rows in a strip."""
    out = {}
    for name in ("tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "packbits", "zstd", "jpeg"):
        for mode in ("1", "L", "RGB", "RGBA", "CMYK", "P", "I;16", "LA"):
            im = Image.fromarray(grey[:, :, 0].astype(np.uint16) * 200) if mode == "I;16" else picture(mode, 51, 45)
            for rows in (None, 16):
                info = {278: rows} if rows else {}
                try:
                    out[f"{name}_{mode.replace(';', '')}_{rows}"] = saved(im, "tiff", compression=name, tiffinfo=info)
                except (OSError, ValueError, SystemError):
                    pass
    out["jpeg_ycbcr"] = saved(picture("YCbCr", 51, 45), "tiff", compression="jpeg")
    out["jpeg_ycbcr_strips"] = saved(picture("YCbCr", 51, 45), "tiff", compression="jpeg", tiffinfo={278: 16})
    out["jpeg_tiles_ycbcr"] = jpeg_tiles()
    for predictor in (1, 2):
        out[f"lzw_predictor_{predictor}"] = saved(picture(), "tiff", compression="tiff_lzw", tiffinfo={317: predictor})
    return out


def jpeg_tiles():
    """Tiles that are whole JPEGs, with subsampled chroma."""
    im = Image.fromarray(np.ascontiguousarray(pattern(70, 50, 3)))
    parts = []
    for y in range(0, 50, 32):
        for x in range(0, 70, 32):
            parts.append(saved(im.crop((x, y, x + 32, y + 32)), "jpeg", quality=80))
    return tiff(parts, base(70, 50, (8,) * 3, 6, compression=7, t322=(LONG, [32]), t323=(LONG, [32]), t530=(SHORT, [2, 2])))


def faxes():
    """Every code of a run, all groups, both meanings of a bit, both orders of bits."""
    out = {}
    runs = [n for n in range(0, 64)] + list(range(64, 2561, 64)) + [2560 + 130, 5300]
    wide = np.zeros((len(runs) * 2 + 2, 5400), np.uint8)
    for i, n in enumerate(runs):  # a run of each length, in white and in black
        wide[2 * i, n:n + 1] = 1
        wide[2 * i, n + 1 + n:] = 1
        wide[2 * i + 1, :n] = 1
    pages = {"words": pattern(W * 3, H * 3, 1)[:, :, 0] >> 7, "runs": wide}
    rng = np.random.default_rng(5)
    pages["noise"] = (rng.random((40, 61)) > 0.5).astype(np.uint8)
    pages["white"] = np.zeros((9, 33), np.uint8)
    pages["black"] = np.ones((9, 33), np.uint8)
    for name, page in pages.items():
        im = Image.fromarray(page * 255).convert("1")
        for compression in ("tiff_ccitt", "group3", "group4"):
            for photometric in (0, 1):
                for fill in (1, 2):
                    options = [0]
                    if compression == "group3":
                        options = [0, 1, 4, 5]
                    for option in options:
                        if name == "runs" and (fill, photometric) != (1, 1):
                            continue
                        info = {262: photometric, 266: fill, 278: 1 << 20}
                        if option:
                            info[292] = option
                        out[f"fax_{name}_{compression}_{photometric}_{fill}_{option}"] = saved(
                            im, "tiff", compression=compression, tiffinfo=info)
    return out
