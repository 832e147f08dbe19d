"""The JPEG and WebP files of untidy.py."""
import struct

import numpy as np
from PIL import Image

from untidy import H, W, picture, saved


def segment(marker, body):
    return bytes([0xff, marker]) + struct.pack(">H", len(body) + 2) + body


def segments(data):
    """The segments of a JPEG up to the first scan, and the rest."""
    at, out = 2, []
    while data[at + 1] != 0xda:
        n = struct.unpack(">H", data[at + 2:at + 4])[0]
        out.append(data[at:at + 2 + n])
        at += 2 + n
    return out, data[at:]


def without(data, marker):
    head, rest = segments(data)
    return b"\xff\xd8" + b"".join(s for s in head if s[1] != marker) + rest


def changed(data, at, value):
    return data[:at] + bytes([value]) + data[at + 1:]


def jpegs():
    big = picture("RGB", 91, 67)
    data = saved(big, "jpeg", quality=80)
    progressive = saved(big, "jpeg", quality=80, progressive=True)
    cmyk = saved(picture("CMYK", 60, 40), "jpeg", quality=80)
    restarts = saved(big, "jpeg", quality=80, restart_marker_blocks=2)
    sof = data.index(b"\xff\xc0")
    scan = data.index(b"\xff\xda")
    head, rest = segments(data)
    out = {
        "plain": data,
        "no_end": data[:-2],
        "end_half": data[:-1],
        "junk_behind": data + b"anything\xff\xd8\xff" * 9,
        "zeros_behind": data + bytes(5000),
        "cut_10": data[:-10],
        "cut_10_closed": data[:-10] + b"\xff\xd9",
        "cut_half_closed": data[:len(data) // 2] + b"\xff\xd9",
        "progressive_cut_closed": progressive[:len(progressive) * 2 // 3] + b"\xff\xd9",
        "progressive_no_end": progressive[:-2],
        "junk_between": b"\xff\xd8" + head[0] + b"\0\1\2\3" + b"".join(head[1:]) + rest,
        "fill_bytes": b"\xff\xd8" + b"".join(b"\xff\xff\xff" + s for s in head) + rest,
        "comment_empty": b"\xff\xd8" + segment(0xfe, b"") + data[2:],
        "comment_long": b"\xff\xd8" + segment(0xfe, b"\xff\xda\xff\xc2" * 9000) + data[2:],
        "app_unknown": b"\xff\xd8" + segment(0xe9, b"x" * 300) + data[2:],
        "exif_broken": b"\xff\xd8" + segment(0xe1, b"Exif\0\0II*\0\xff\xff\xff\xff") + data[2:],
        "icc_broken": b"\xff\xd8" + segment(0xe2, b"ICC_PROFILE\0\5\1xx") + data[2:],
        "no_jfif": without(data, 0xe0),
        "no_huffman_tables": without(data, 0xc4),
        "no_quantization_tables": without(data, 0xdb),
        "adobe_0": b"\xff\xd8" + segment(0xee, b"Adobe\0\x64\0\0\0\0\0") + without(data, 0xe0)[2:],
        "adobe_1": b"\xff\xd8" + segment(0xee, b"Adobe\0\x64\0\0\0\0\1") + without(data, 0xe0)[2:],
        "adobe_short": b"\xff\xd8" + segment(0xee, b"Adobe\0") + without(data, 0xe0)[2:],
        "jfif_and_adobe_0": data[:20] + segment(0xee, b"Adobe\0\x64\0\0\0\0\0") + data[20:],
        "cmyk_no_adobe": without(cmyk, 0xee),
        "restarts": restarts,
        "restarts_missing": restarts.replace(b"\xff\xd3", b""),
        "restarts_wrong": restarts.replace(b"\xff\xd3", b"\xff\xd6"),
        "restarts_damaged": changed(restarts, len(restarts) // 2, 0x55),
        "damaged": changed(changed(data, scan + 400, 0x33), scan + 401, 0x91),
        "damaged_marker": data[:scan + 400] + b"\xff\xc8" + data[scan + 402:],
        "damaged_start": data[:scan + 400] + b"\xff\xd8" + data[scan + 402:],
        "taller": data[:sof + 5] + struct.pack(">H", 90) + data[sof + 7:],
        "lower": data[:sof + 5] + struct.pack(">H", 40) + data[sof + 7:],
        "wider": data[:sof + 7] + struct.pack(">H", 120) + data[sof + 9:],
        "no_height": data[:sof + 5] + b"\0\0" + data[sof + 7:],
        "bits_12": changed(data, sof + 4, 12),
        "lossless": changed(data, sof + 1, 0xc3),
        "extended": changed(data, sof + 1, 0xc1),
        "two_frames": data[:scan] + data[sof:sof + 19] + data[scan:],
        "mpo": saved(big, "mpo", save_all=True, append_images=[picture("RGB", 91, 67)]),
    }
    ids = bytearray(data)
    for i, letter in enumerate(b"RGB"):
        ids[sof + 10 + 3 * i] = letter
        ids[scan + 5 + 2 * i] = letter
    out["ids_rgb"] = bytes(ids)
    out["ids_rgb_no_jfif"] = without(bytes(ids), 0xe0)
    return {k + ".jpg": v for k, v in out.items()}


def riff(chunks):
    body = b"WEBP" + b"".join(k + struct.pack("<I", len(v)) + v + b"\0" * (len(v) % 2) for k, v in chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def chunks(data):
    at, out = 12, []
    while at + 8 <= len(data):
        n = struct.unpack("<I", data[at + 4:at + 8])[0]
        out.append((data[at:at + 4], data[at + 8:at + 8 + n]))
        at += 8 + n + n % 2
    return out


def webps():
    rgb, rgba = picture("RGB", 61, 45), picture("RGBA", 61, 45)
    lossy, lossless = saved(rgb, "webp", quality=70), saved(rgb, "webp", lossless=True)
    alpha, clear = saved(rgba, "webp", quality=70), saved(rgba, "webp", lossless=True)
    second = picture("RGB", 61, 45).rotate(90, expand=False)
    moving = saved(rgb, "webp", save_all=True, append_images=[second], duration=50)
    vp8, vp8l = chunks(lossy)[0], chunks(lossless)[0]
    size = struct.pack("<I", 60)[:3] + struct.pack("<I", 44)[:3]
    head = lambda flags: (b"VP8X", bytes([flags, 0, 0, 0]) + size)
    alph = [c for c in chunks(alpha) if c[0] == b"ALPH"][0]
    out = {
        "lossy": lossy, "lossless": lossless, "alpha": alpha, "clear": clear, "moving": moving,
        "size_wrong": lossy[:4] + b"\xff\xff\xff\0" + lossy[8:],
        "size_0": lossy[:4] + b"\0\0\0\0" + lossy[8:],
        "size_small": lossy[:4] + struct.pack("<I", len(lossy) - 30) + lossy[8:],
        "junk_behind": lossy + b"anything at all",
        "cut_1": lossy[:-1], "cut_half": lossy[:len(lossy) // 2],
        "lossless_cut_2": lossless[:-2],
        "vp8x": riff([head(0), vp8]),
        "vp8x_lossless": riff([head(0), vp8l]),
        "vp8x_alpha_missing": riff([head(16), vp8]),
        "vp8x_alpha_unsaid": riff([head(0), alph, chunks(alpha)[-1]]),
        "vp8x_alpha_lossless_unsaid": riff([head(0), chunks(clear)[-1]]),
        "vp8x_alpha_lossless_said": riff([head(16), vp8l]),
        "icc_and_exif": riff([head(0x2c), (b"ICCP", b"xyz"), vp8, (b"EXIF", b"II*\0"), (b"XMP ", b"<x/>")]),
        "unknown_before": riff([head(0), (b"WHAT", b"12345"), vp8]),
        "unknown_behind": riff([vp8, (b"WHAT", b"12345")]),
        "exif_without_vp8x": riff([vp8, (b"EXIF", b"II*\0")]),
        "vp8x_size_wrong": riff([(b"VP8X", b"\0\0\0\0" + struct.pack("<I", 99)[:3] + struct.pack("<I", 44)[:3]), vp8]),
        "vp8x_twice": riff([head(0), head(0), vp8]),
        "two_pictures": riff([head(0), vp8, vp8l]),
        "moving_unsaid": riff([(b"VP8X", bytes([0]) + chunks(moving)[0][1][1:])] + chunks(moving)[1:]),
        "moving_one": riff(chunks(moving)[:3]),
        "moving_none": riff(chunks(moving)[:2]),
        "moving_no_anim": riff([chunks(moving)[0]] + chunks(moving)[2:]),
    }
    return {k + ".webp": v for k, v in out.items()}
