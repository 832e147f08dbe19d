"""Pictures as people have them: files that break their format's rules, and rare variants. Imported by make_untidy.py.

Every function gives {name: bytes}. Sizes are odd, so that rows, strips and tiles end inside bytes and blocks.
"""
import io
import struct
import zlib

import numpy as np
from PIL import Image

from pictures import alpha, pattern

W, H = 37, 26


def picture(mode="RGB", w=W, h=H):
    bands = {"1": 1, "L": 1, "P": 3}.get(mode, 3)
    im = Image.fromarray(pattern(w, h, bands)[:, :, 0] if bands == 1 else pattern(w, h, bands))
    if mode == "P":
        return im.quantize(40)
    if mode in ("RGBA", "LA"):
        im.putalpha(Image.fromarray(alpha(w, h)))
    return im.convert(mode)


def saved(im, kind, **options):
    out = io.BytesIO()
    im.save(out, kind, **options)
    return out.getvalue()


# ---- PNG

def chunk(kind, body, crc=None):
    crc = zlib.crc32(kind + body) if crc is None else crc
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)


def png(raw, w=W, h=H, depth=8, colour=2, interlace=0, before=b"", after=chunk(b"IEND", b""), crc=None, parts=1, level=9):
    data = zlib.compress(raw, level)
    size = -(-len(data) // parts)
    idat = b"".join(chunk(b"IDAT", data[i:i + size], crc) for i in range(0, len(data), size))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, depth, colour, 0, 0, interlace))
    return b"\x89PNG\r\n\x1a\n" + head + before + idat + after


def rows(values, filters=(0,)):
    """Rows of bytes with the given filters in turn, whose differences are taken."""
    out, above, step = b"", None, 3
    for y, row in enumerate(values.reshape(len(values), -1).astype(np.int64)):
        above = np.zeros_like(row) if above is None else above
        left = np.concatenate([np.zeros(step, np.int64), row[:-step]])
        corner = np.concatenate([np.zeros(step, np.int64), above[:-step]])
        f = filters[y % len(filters)]
        p = left + above - corner
        a, b, c = abs(p - left), abs(p - above), abs(p - corner)
        paeth = np.where((a <= b) & (a <= c), left, np.where(b <= c, above, corner))
        out += bytes([f]) + ((row - [0 * row, left, above, (left + above) // 2, paeth][f]) % 256).astype(np.uint8).tobytes()
        above = row
    return out


def pngs():
    rgb = np.asarray(picture())
    raw = rows(rgb, (0, 1, 2, 3, 4))
    empty = chunk(b"IDAT", b"")
    out = {
        "filters": png(raw),
        "data_checksum": png(raw, crc=7),
        "no_end": png(raw, after=b""),
        "end_cut": png(raw, after=b"\0\0\0\0IE"),
        "end_missing_checksum": png(raw)[:-4],
        "row_too_many": png(raw + raw[-(3 * W + 1):]),
        "byte_too_many": png(raw + b"\7"),
        "many_parts": png(raw, parts=97),
        "empty_parts": png(raw, before=b"", parts=3, after=empty * 3 + chunk(b"IEND", b"")),
        "empty_first": png(raw, before=empty * 5),
        "text_after": png(raw, after=chunk(b"tEXt", b"a\0b") + chunk(b"IEND", b"") + b"junk after the end"),
        "text_broken_after": png(raw, after=chunk(b"tEXt", b"a\0b", 9) + chunk(b"IEND", b"")),
        "text_checksum": png(raw, before=chunk(b"tEXt", b"a\0b", 9)),
        "unknown_chunk": png(raw, before=chunk(b"prVt", b"anything at all")),
        "adler": None, "deflate_cut": None,
        "palette_missing": png(b"".join(b"\0" + bytes((x * 5 + y) % 256 for x in range(W)) for y in range(H)), colour=3),
        "palette_short": png(b"".join(b"\0" + bytes((x + y) % 40 for x in range(W)) for y in range(H)), colour=3,
                             before=chunk(b"PLTE", bytes(range(60)))),
        "palette_odd": png(b"".join(b"\0" + bytes((x + y) % 20 for x in range(W)) for y in range(H)), colour=3,
                           before=chunk(b"PLTE", bytes(range(61)))),
        "palette_checksum": png(b"".join(b"\0" + bytes(W) for y in range(H)), colour=3,
                                before=chunk(b"PLTE", bytes(range(60)), 9)),
        "filter_5": png(b"\5" + raw[1:]),
        "method": png(raw).replace(b"\x08\x02\x00\x00\x00", b"\x08\x02\x01\x00\x00"),
    }
    whole = png(raw)
    at = whole.index(b"IDAT") + 4
    n = struct.unpack(">I", whole[at - 8:at - 4])[0]
    out["adler"] = whole[:at + n - 1] + bytes([whole[at + n - 1] ^ 1]) + whole[at + n:]
    out["deflate_cut"] = whole[:at + n // 2]
    for depth, colour in [(1, 0), (2, 0), (4, 0), (8, 0), (16, 0), (1, 3), (2, 3), (4, 3), (8, 3), (8, 4), (16, 4), (8, 2),
                          (16, 2), (8, 6), (16, 6)]:
        out[f"interlaced_{depth}_{colour}"] = interlaced(depth, colour)
        for w, h in ((1, 1), (3, 2), (5, 9)):
            out[f"interlaced_{depth}_{colour}_{w}x{h}"] = interlaced(depth, colour, w, h)
    return {k + ".png": v for k, v in out.items()}


def interlaced(depth, colour, w=W, h=H):
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    y, x, c = np.mgrid[0:h, 0:w, 0:channels]
    values = (x * 2654435761 + y * 40503 + c * 977) // 7 % (1 << depth)
    raw = b""
    for x0, y0, dx, dy in ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)):
        for row in values[y0::dy, x0::dx]:
            if row.size:
                raw += b"\0" + packed(row.reshape(-1), depth)
    before = chunk(b"PLTE", bytes((i * 37) % 256 for i in range(3 << depth))) if colour == 3 else b""
    return png(raw, w, h, depth, colour, 1, before)


def packed(row, depth):
    """Values of a row in bits, the highest first."""
    bits = "".join(format(int(v), f"0{depth}b") for v in row)
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[i:i + 8], 2) for i in range(0, len(bits), 8))


# ---- GIF

def lzw(values, bits):
    """GIF's codes without strings: literals, and a clearing before the codes would grow."""
    clear, out, acc, have = 1 << bits, bytearray(), 0, 0
    limit = max((1 << bits) - 2, 1)
    codes = []
    for i, v in enumerate(values):
        if i % limit == 0:
            codes.append(clear)
        codes.append(int(v))
    for code in codes + [clear + 1]:
        acc |= code << have
        have += bits + 1
        while have >= 8:
            out.append(acc & 255)
            acc, have = acc >> 8, have - 8
    if have:
        out.append(acc & 255)
    return bytes(out)


def blocks(data, size=255):
    return b"".join(bytes([len(data[i:i + size])]) + data[i:i + size] for i in range(0, len(data), size)) + b"\0"


def gif(data, bits, w=20, h=15, table=None, before=b"", local=None, flags=0, screen=None, at=(0, 0), after=b";", size=255):
    n = 0 if table is None else (len(table) // 3).bit_length() - 2
    sw, sh = screen or (w, h)
    head = b"GIF89a" + struct.pack("<HHBBB", sw, sh, 0 if table is None else 0x80 | n, 0, 0) + (table or b"")
    ln = 0 if local is None else 0x80 | (len(local) // 3).bit_length() - 2
    frame = b"," + struct.pack("<HHHHB", *at, w, h, ln | flags) + (local or b"") + bytes([bits]) + blocks(data, size)
    return head + before + frame + after


def gifs():
    y, x = np.mgrid[0:15, 0:20]
    two, four, many = (x // 3 + y // 2) % 2, (x // 3 + y // 2) % 4, (x * 7 + y * 11) % 256
    table2 = bytes([10, 200, 30, 250, 5, 90])
    table4 = table2 + bytes([1, 2, 3, 255, 255, 0])
    table256 = bytes((i * 91 + 17) % 256 for i in range(768))
    ramp = bytes(v for i in range(256) for v in (i, i, i))
    data4, data256 = lzw(four.ravel(), 2), lzw(many.ravel(), 8)
    control = lambda flags, index: b"!\xf9\x04" + bytes([flags, 0, 0, index]) + b"\0"
    good = gif(data4, 2, table=table4, after=b"")
    passes = np.concatenate([many[0::8], many[4::8], many[2::4], many[1::2]])
    out = {
        "plain": gif(data256, 8, table=table256),
        "one_bit": gif(lzw(two.ravel(), 1), 1, table=table2),
        "no_table": gif(data256, 8),
        "no_table_clear": gif(data256, 8, before=control(1, 9)),
        "local_table": gif(data256, 8, table=bytes(768), local=table256),
        "local_ramp": gif(data256, 8, table=table256, local=ramp),
        "unknown_extension": gif(data4, 2, table=table4, before=b"!\x99\x03abc\x02de\0"),
        "application": gif(data4, 2, table=table4, before=b"!\xff\x0bNETSCAPE2.0\x03\x01\0\0\0"),
        "comment": gif(data4, 2, table=table4, before=b"!\xfe\x05hello\x03you\0"),
        "comment_empty": gif(data4, 2, table=table4, before=b"!\xfe\0"),
        "zeros_before": gif(data4, 2, table=table4, before=b"\0\0\0"),
        "junk_before": gif(data4, 2, table=table4, before=b"\1\2\x07"),
        "zeros_between": good + b"\0\0" + good[13 + 12:] + b";",
        "small_blocks": gif(data256, 8, table=table256, size=3),
        "no_trailer": good,
        "no_terminator": good[:-1],
        "interlaced": gif(lzw(passes.ravel(), 8), 8, table=table256, flags=0x40),
        "interlaced_low": gif(lzw(many[:3].ravel()[:60], 8), 8, h=3, table=table256, flags=0x40),
        "beyond_screen": gif(data256, 8, table=table256, screen=(9, 7), at=(4, 3)),
        "inside_screen": gif(data256, 8, table=table256, screen=(40, 30), at=(4, 3), before=control(1, 77)),
        "inside_screen_plain": gif(data256, 8, table=table256, screen=(40, 30), at=(4, 3)),
        "two_controls": gif(data256, 8, table=table256, screen=(40, 30), before=control(1, 77) + control(0, 3)),
        "pixels_missing": gif(lzw(four.ravel()[:-9], 2), 2, table=table4),
        "pixels_beyond": gif(lzw(np.concatenate([four.ravel(), four[0]]), 2), 2, table=table4),
        "index_beyond": gif(data256, 8, table=table4),
        "undefined_code": gif(b"\xff\xff\xff\xff", 2, table=table4),
        "no_frame": gif(data4, 2, table=table4)[:25] + b";",
        "saved": saved(picture("P"), "gif"),
        "saved_interlaced": saved(picture("P", 150, 90), "gif", interlace=1),
    }
    return {k + ".gif": v for k, v in out.items()}


# ---- BMP

def bmp(pixels, bits, w=W, h=H, compression=0, size=40, masks=b"", table=b"", colours=0, gap=b"", offset=None, top_down=False):
    """pixels are the rows as they are stored."""
    if size == 12:
        head = struct.pack("<IHHHH", 12, w, h, 1, bits)
    else:
        head = struct.pack("<IiiHHIIiiII", size, w, -h if top_down else h, 1, bits, compression, len(pixels), 0, 0, colours, 0)
        head += masks[:max(size - 40, 0)].ljust(size - 40, b"\0")
        masks = masks if size == 40 else b""
        head += masks
    at = 14 + len(head) + len(table) + len(gap)
    return b"BM" + struct.pack("<IHHI", at + len(pixels), 0, 0, at if offset is None else offset) + head + table + gap + pixels


def bmp_rows(values, bits):
    out = b""
    for row in values[::-1]:
        raw = packed(row, bits) if bits < 8 else np.ascontiguousarray(row).tobytes()
        out += raw + b"\0" * (-len(raw) % 4)
    return out


def bmps():
    rgb, rgba = np.asarray(picture()), np.asarray(picture("RGBA"))
    y, x = np.mgrid[0:H, 0:W]
    index = ((x // 4 + y // 3) % 16).astype(np.uint8)
    table = lambda n, step=4: b"".join(bytes([i * 31 % 256, i * 7 % 256, 255 - i])[:3] + b"\0" * (step - 3) for i in range(n))
    grey = lambda n: b"".join(bytes([i, i, i, 0]) for i in range(n))
    bgr, bgra = rgb[:, :, ::-1], rgba[:, :, [2, 1, 0, 3]]
    m = lambda *v: struct.pack(f"<{len(v)}I", *v)
    w16 = ((rgb[:, :, 0].astype(np.uint16) >> 3) << 10 | (rgb[:, :, 1].astype(np.uint16) >> 3) << 5 | rgb[:, :, 2] >> 3).astype("<u2")
    w565 = ((rgb[:, :, 0].astype(np.uint16) >> 3) << 11 | (rgb[:, :, 1].astype(np.uint16) >> 2) << 5 | rgb[:, :, 2] >> 3).astype("<u2")
    d32, d24, d8 = bmp_rows(bgra, 32), bmp_rows(bgr, 24), bmp_rows(index, 8)
    out = {
        "gap": bmp(d24, 24, gap=b"\1" * 10),
        "gap_palette": bmp(d8, 8, table=table(256), gap=b"\1" * 6),
        "offset_0": bmp(d24, 24, offset=0),
        "offset_0_palette": bmp(d8, 8, table=table(256), offset=0),
        "offset_before_palette": bmp(d8, 8, table=table(256), offset=54),
        "few_colours": bmp(d8, 8, table=table(16), colours=16),
        "one_bit": bmp(bmp_rows(index & 1, 1), 1, table=table(2)),
        "one_bit_black_white": bmp(bmp_rows(index & 1, 1), 1, table=m(0, 0xffffff)),
        "one_bit_white_black": bmp(bmp_rows(index & 1, 1), 1, table=m(0xffffff, 0)),
        "four_bits": bmp(bmp_rows(index, 4), 4, table=table(16)),
        "grey": bmp(bmp_rows(rgb[:, :, 0], 8), 8, table=grey(256)),
        "top_down": bmp(bmp_rows(bgr[::-1], 24), 24, top_down=True),
        "os2": bmp(d24, 24, size=12),
        "os2_palette": bmp(d8, 8, size=12, table=table(256, 3)),
        "os2_64": bmp(d24, 24, size=64),
        "15_bits": bmp(bmp_rows(w16, 16), 16),
        "15_bits_masks": bmp(bmp_rows(w16, 16), 16, compression=3, masks=m(0x7c00, 0x3e0, 0x1f)),
        "16_bits_masks": bmp(bmp_rows(w565, 16), 16, compression=3, masks=m(0xf800, 0x7e0, 0x1f)),
        "24_bits_masks": bmp(d24, 24, compression=3, masks=m(0xff0000, 0xff00, 0xff)),
        "32_bits": bmp(d32, 32),
        "masks_unknown": bmp(d32, 32, compression=3, masks=m(0xff0000, 0xff00, 0xf0)),
        "rows_cut": bmp(d24, 24)[:-200],
        "last_padding_cut": bmp(d24, 24)[:-1],
        "header_odd": bmp(d24, 24, size=44),
        "jpeg_inside": bmp(d24, 24, compression=4),
    }
    for size in (40, 52, 56, 108, 124):
        for name, v in {"bgrx": (0xff0000, 0xff00, 0xff, 0), "xbgr": (0xff000000, 0xff0000, 0xff00, 0),
                        "bgxr": (0xff000000, 0xff00, 0xff, 0), "abgr": (0xff000000, 0xff0000, 0xff00, 0xff),
                        "rgba": (0xff, 0xff00, 0xff0000, 0xff000000), "bgra": (0xff0000, 0xff00, 0xff, 0xff000000),
                        "bgar": (0xff000000, 0xff00, 0xff, 0xff0000), "none": (0, 0, 0, 0)}.items():
            out[f"masks_{name}_{size}"] = bmp(d32, 32, compression=3, size=size, masks=m(*v)[:12 if size == 40 else 16])
    runs = b""
    for row in index[::-1]:
        i = 0
        while i < W:  # a run, then values
            n = 1
            while i + n < W and row[i + n] == row[i]:
                n += 1
            if n > 2:
                runs += bytes([n, row[i]])
                i += n
            else:
                k = min(7, W - i)
                if k < 3:
                    runs += b"".join(bytes([1, v]) for v in row[i:i + k])
                else:
                    runs += bytes([0, k]) + bytes(row[i:i + k]) + b"\0" * (k % 2)
                i += k
        runs += b"\0\0"
    out["rle8"] = bmp(runs + b"\0\1", 8, compression=1, table=table(256))
    out["rle8_odd_offset"] = bmp(runs + b"\0\1", 8, compression=1, table=table(256), gap=b"x")
    out["rle8_grey"] = bmp(runs + b"\0\1", 8, compression=1, table=grey(256))
    out["rle8_no_end"] = bmp(runs, 8, compression=1, table=table(256))
    out["rle8_cut"] = bmp(runs[:len(runs) // 2], 8, compression=1, table=table(256))
    out["rle8_steps"] = bmp(b"\5\3\0\2\4\2\6\2\0\0" + b"\x09\1\0\0" * H + b"\0\1", 8, compression=1, table=table(256))
    out["rle8_beyond_row"] = bmp((b"\x30\2" + b"\0\0") * H + b"\0\1", 8, compression=1, table=table(256))
    four = b"".join(bytes([W, 0x5a]) + b"\0\0" for _ in range(H - 2)) + b"\0\5\x12\x34\x50\0" + b"\x20\x77\0\0" + b"\x25\x21\0\0"
    out["rle4"] = bmp(four + b"\0\1", 4, compression=2, table=table(16))
    return {k + ".bmp": v for k, v in out.items()}
