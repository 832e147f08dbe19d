"""Makes heif.zip: small HEIC and AVIF files, and what pillow-heif and Pillow make of them, NAME.rgb and NAME.rgba.

    pip install pillow==13.0.0 numpy pillow-heif==1.8.1
    python testdata/preprocess/make_heif.py
"""
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pillow_heif
from PIL import Image, ImageOps

from pictures import alpha, pattern

HERE = Path(__file__).parent


def main():
    pillow_heif.register_heif_opener()
    face = Image.open(HERE / "pictures" / "face.png")
    waves = Image.fromarray(pattern(70, 51, 3))
    clear = waves.copy()
    clear.putalpha(Image.fromarray(alpha(70, 51)))
    turned = Image.Exif()
    turned[0x0112] = 6
    deep = io.BytesIO()
    pillow_heif.encode("RGB;16", waves.size, (np.asarray(waves).astype("<u2") * 257).tobytes(), deep, quality=90)
    files = {
        "face.heic": (face, {}), "face_444.heic": (face, {"chroma": 444}), "face_422.heic": (face, {"chroma": 422}),
        "waves.heic": (waves, {"quality": 90}), "alpha.heic": (clear, {"quality": 90}),
        "grey.heic": (face.convert("L"), {}), "turned.heic": (face, {"exif": turned.tobytes()}),
        "lossless.heic": (waves, {"quality": -1, "matrix_coefficients": 0, "chroma": 444}),
        "face.avif": (face, {}), "face_444.avif": (face, {"subsampling": "4:4:4"}), "alpha.avif": (clear, {"quality": 90, "subsampling": "4:4:4"}),
        "grey.avif": (face.convert("L"), {}), "turned.avif": (face, {"exif": turned.tobytes()}),
    }
    told = {}
    with zipfile.ZipFile(HERE / "heif.zip", "w", zipfile.ZIP_DEFLATED) as z:
        def write(name, data):
            z.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)

        def read(name, data):
            write(name, data)
            got = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))  # Pillow leaves AVIF as it lies
            told[name] = {"mode": got.mode, "size": [got.height, got.width]}
            write(name + ".pixels", got.convert("RGBA" if "A" in got.mode else "RGB").tobytes())

        for name, (im, options) in sorted(files.items()):
            out = io.BytesIO()
            im.save(out, "HEIF" if name.endswith("heic") else "AVIF", **options)
            read(name, out.getvalue())
        read("deep.heic", deep.getvalue())
        write("told.json", json.dumps(told, indent=1))
    print(told)


if __name__ == "__main__":
    main()
