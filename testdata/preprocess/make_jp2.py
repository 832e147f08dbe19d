"""Makes jp2.zip: small JPEG 2000 files, and what Pillow makes of each, NAME.pixels.

    pip install pillow==13.0.0 numpy
    apt-get install libopenjp2-tools
    python testdata/preprocess/make_jp2.py

Files that Pillow cannot write are OpenJPEG's opj_compress's, or are put together from boxes here. told.json has a file
that Pillow refuses without a mode.
"""
import io
import json
import struct
import subprocess
import tempfile
import warnings
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from pictures import alpha, pattern

HERE = Path(__file__).parent
W, H = 46, 35


def saved(im, **options):
    out = io.BytesIO()
    im.save(out, "JPEG2000", **options)
    return out.getvalue()


def compressed(samples, bits, *options, signed=False, name="x.jp2"):
    """opj_compress of raw samples (h, w, components)."""
    h, w, n = samples.shape
    with tempfile.TemporaryDirectory() as at:
        planes = samples.transpose(2, 0, 1)
        kind = ("i1" if signed else "u1") if bits <= 8 else (">i2" if signed else ">u2")
        Path(f"{at}/x.raw").write_bytes(planes.astype(kind).tobytes())
        sign = "s" if signed else "u"
        subprocess.run(["opj_compress", "-i", f"{at}/x.raw", "-o", f"{at}/{name}", "-F", f"{w},{h},{n},{bits},{sign}", *options],
                       check=True, capture_output=True)
        return Path(f"{at}/{name}").read_bytes()


def box(name, content):
    return struct.pack(">I4s", len(content) + 8, name) + content


def wrapped(codestream, width, height, components, *boxes, bits=7):
    """A JP2 file of a codestream, with these boxes behind ihdr."""
    header = box(b"ihdr", struct.pack(">IIHBBBB", height, width, components, bits, 7, 0, 0))
    return (box(b"jP  ", b"\r\n\x87\n") + box(b"ftyp", b"jp2 \0\0\0\0jp2 ") + box(b"jp2h", header + b"".join(boxes)) +
            box(b"jp2c", codestream))


def colours(number):
    return box(b"colr", struct.pack(">BBBI", 1, 0, 0, number))


def palette(entries):
    n = len(entries[0])
    return box(b"pclr", struct.pack(">HB", len(entries), n) + b"\7" * n + bytes(v for e in entries for v in e))


def files():
    face = Image.open(HERE / "pictures" / "face.png").convert("RGB")
    waves = Image.fromarray(pattern(W, H, 3))
    grey = waves.convert("L")
    clear = waves.copy()
    clear.putalpha(Image.fromarray(alpha(W, H)))
    wide = Image.fromarray((np.asarray(grey).astype(np.uint16) * 257 + 3))
    out = {
        "lossless.jp2": saved(waves), "lossy.jp2": saved(face, irreversible=True, quality_layers=[20]),
        "face.jp2": saved(face, irreversible=True, quality_layers=[40, 20, 8]), "psnr.jp2": saved(face, quality_mode="dB", quality_layers=[30, 36], irreversible=True),
        "grey.jp2": saved(grey), "grey_lossy.jp2": saved(face.convert("L"), irreversible=True, quality_layers=[10]),
        "grey_alpha.jp2": saved(clear.convert("LA")), "alpha.jp2": saved(clear), "alpha_lossy.jp2": saved(clear, irreversible=True, quality_layers=[6]),
        "grey16.jp2": saved(wide), "one.jp2": saved(Image.new("RGB", (1, 1), (9, 200, 77)), num_resolutions=1),
        "bare.j2k": saved(waves, no_jp2=True), "bare_grey.j2k": saved(grey, no_jp2=True), "bare_grey16.j2k": saved(wide, no_jp2=True),
        "bare_alpha.j2k": saved(clear, no_jp2=True), "transform.jp2": saved(waves, mct=1), "transform_lossy.jp2": saved(face, mct=1, irreversible=True, quality_layers=[15]),
        "tiles.jp2": saved(waves, tile_size=(32, 32)), "tiles_lossy.jp2": saved(face, tile_size=(50, 40), irreversible=True, quality_layers=[12]),
        "offset.jp2": saved(waves, offset=(13, 7), tile_size=(32, 32), tile_offset=(5, 3)),
        "blocks.jp2": saved(waves, codeblock_size=(4, 4)), "precincts.jp2": saved(waves, precinct_size=(32, 32), codeblock_size=(16, 16)),
        "signed.jp2": saved(waves, signed=True), "lengths.jp2": saved(waves, plt=True), "comment.jp2": saved(waves, comment="as it was"),
        "one_resolution.jp2": saved(waves, num_resolutions=1),
    }
    for order in ("LRCP", "RLCP", "RPCL", "PCRL", "CPRL"):
        out[f"order_{order.lower()}.jp2"] = saved(waves, progression=order, tile_size=(40, 40), quality_layers=[8, 4, 1])
    rgb = np.asarray(waves).astype(np.int64)
    out["rgb12.jp2"] = compressed(rgb * 16, 12)
    out["rgb16.jp2"] = compressed(rgb * 256, 16)
    out["rgb12_white.jp2"] = compressed(rgb * 0 + 4095, 12)  # rounds up to 256
    out["rgb5.jp2"] = compressed(rgb >> 3, 5)
    out["grey12.jp2"] = compressed(rgb[:, :, :1] * 16 + 5, 12)
    out["grey4.jp2"] = compressed(rgb[:, :, :1] >> 4, 4)
    out["grey9.jp2"] = compressed(rgb[:, :, :1] * 2, 9)
    out["grey9.j2k"] = compressed(rgb[:, :, :1] * 2, 9, name="x.j2k")
    out["signed12.jp2"] = compressed(rgb * 16 - 2048, 12, signed=True)
    out["modes.jp2"] = compressed(rgb, 8, "-M", "63", "-b", "16,16")
    out["layers.jp2"] = compressed(rgb, 8, "-r", "20,10,5,1", "-SOP", "-EPH", "-TP", "R")
    out["roi.jp2"] = compressed(rgb, 8, "-ROI", "c=0,U=3")
    out["poc.jp2"] = compressed(rgb, 8, "-POC", "T1=0,0,1,3,3,LRCP/T1=3,0,1,6,3,RLCP")
    out["subsampled.jp2"] = compressed(rgb[:, :, 0:1].repeat(3, axis=2)[:32, :40], 8, "-s", "2,2")
    indices = saved(Image.fromarray(np.asarray(grey) >> 4), no_jp2=True)
    wheel = [((37 * i) % 256, 16 * i, 255 - 9 * i) for i in range(16)]
    size = (W, H, 1)
    out["palette.jp2"] = wrapped(indices, *size, colours(16), palette(wheel), box(b"cmap", bytes([0, 0, 1, 0, 0, 0, 1, 1, 0, 0, 1, 2])))
    out["palette_alpha.jp2"] = wrapped(indices, *size, colours(16), palette([(*c, 128) for c in wheel]))
    out["palette_twice.jp2"] = wrapped(indices, *size, colours(16), palette([wheel[i // 2] for i in range(16)]))
    out["palette_of_grey.jp2"] = wrapped(indices, *size, colours(17), palette(wheel))
    bare = saved(waves, no_jp2=True)
    size = (W, H, 3)
    out["ycc.jp2"] = wrapped(bare, *size, colours(18))
    out["no_colours.jp2"] = wrapped(bare, *size)
    out["profile.jp2"] = wrapped(bare, *size, box(b"colr", b"\2\0\0" + b"\0\0\0\x80" + b"\0" * 124))
    out["e_srgb.jp2"] = wrapped(bare, *size, colours(20))
    out["cmyk.jp2"] = wrapped(saved(clear, no_jp2=True), W, H, 4, colours(12))
    out["bilevel.jp2"] = wrapped(indices, W, H, 1, colours(0))
    out["other_size.jp2"] = wrapped(bare, W + 1, H, 3, colours(16))
    out["other_components.jp2"] = wrapped(bare, W, H, 4, colours(16))
    out["no_header.jp2"] = box(b"jP  ", b"\r\n\x87\n") + box(b"ftyp", b"jp2 \0\0\0\0jp2 ") + box(b"jp2c", bare)
    out["open_end.jp2"] = wrapped(b"", *size, colours(16))[:-8] + struct.pack(">I4s", 0, b"jp2c") + bare
    out["no_end.j2k"] = bare[:-2]
    out["cut.j2k"] = bare[:len(bare) // 2]
    out["cut.jp2"] = out["lossless.jp2"][:-300]
    out["behind.jp2"] = out["lossless.jp2"] + b"more" * 5
    return out


def main():
    warnings.simplefilter("ignore")
    told = {}
    with zipfile.ZipFile(HERE / "jp2.zip", "w", zipfile.ZIP_DEFLATED) as z:
        def write(name, data):
            z.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)

        for name, data in sorted(files().items()):
            write(name, data)
            try:
                im = Image.open(io.BytesIO(data))
                im.load()
            except Exception as e:
                told[name] = {"error": f"{type(e).__name__}: {e}"}
                continue
            told[name] = {"mode": im.mode, "size": [im.height, im.width]}
            write(name + ".pixels", im.convert("RGB").tobytes() if im.mode == "P" else im.tobytes())
        write("told.json", json.dumps(told, indent=1))
    for name, t in told.items():
        print(name, t)


if __name__ == "__main__":
    main()
