"""Makes large.zip: small files of 12 megapixels in the formats that libraries of the system decode, whose memory
TestSystemDecodersKeepTheirMemory measures.

    pip install pillow==13.0.0 numpy pillow-heif==1.8.1
    apt-get install libjxl-tools
    python testdata/preprocess/make_large.py
"""
import io
import subprocess
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pillow_heif
from PIL import Image

HERE = Path(__file__).parent
WIDTH, HEIGHT = 4000, 3000


def main():
    pillow_heif.register_heif_opener()
    x, y = np.meshgrid(np.linspace(0, 255, WIDTH), np.linspace(0, 255, HEIGHT))
    im = Image.fromarray(np.stack([x, y, 255 - x], axis=2).astype(np.uint8))
    clear = im.copy()
    clear.putalpha(im.convert("L"))
    files = {}
    for name, picture, options in [("large.heic", im, {"quality": 30}), ("large_444.heic", im, {"quality": 30, "chroma": 444}), ("large_alpha.heic", clear, {"quality": 30}),
                                   ("large.avif", im, {"quality": 30, "speed": 9}), ("large_444.avif", im, {"quality": 30, "speed": 9, "subsampling": "4:4:4"}),
                                   ("large_alpha.avif", clear, {"quality": 30, "speed": 9})]:
        out = io.BytesIO()
        picture.save(out, "HEIF" if name.endswith("heic") else "AVIF", **options)
        files[name] = out.getvalue()
    deep = io.BytesIO()
    pillow_heif.encode("RGB;16", im.size, (np.asarray(im).astype("<u2") * 257).tobytes(), deep, quality=30)
    files["large_deep.heic"] = deep.getvalue()
    with tempfile.TemporaryDirectory() as at:
        im.save(f"{at}/x.png", compress_level=1)
        clear.save(f"{at}/a.png", compress_level=1)
        for name, source, options in [("large.jxl", "x", ["-d", "3", "-e", "3"]), ("large_progressive.jxl", "x", ["-d", "3", "-p", "-e", "4"]),
                                      ("large_alpha.jxl", "a", ["-d", "3", "-e", "3"]), ("large_modular.jxl", "x", ["-d", "3", "-m", "1", "-e", "2"])]:
            subprocess.run(["cjxl", "--quiet", *options, f"{at}/{source}.png", f"{at}/x.jxl"], check=True)
            files[name] = Path(f"{at}/x.jxl").read_bytes()
    for name, picture, options in [("large.jp2", im, {"quality_layers": [400]}), ("large_alpha.jp2", clear, {"quality_layers": [400]}),
                                   ("large_tiles.jp2", im, {"quality_layers": [400], "tile_size": (256, 256)}),
                                   ("large_layers.jp2", im, {"quality_layers": [4000, 1000, 400]}),
                                   ("large_blocks.jp2", im, {"quality_layers": [400], "codeblock_size": (8, 8)}),
                                   ("large_precincts.jp2", im, {"quality_layers": [400], "codeblock_size": (16, 16), "precinct_size": (32, 32)})]:
        out = io.BytesIO()
        picture.save(out, "JPEG2000", irreversible=True, **options)
        files[name] = out.getvalue()
    with zipfile.ZipFile(HERE / "large.zip", "w", zipfile.ZIP_DEFLATED) as z:
        for name, data in sorted(files.items()):
            z.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)
            print(name, len(data))


if __name__ == "__main__":
    main()
