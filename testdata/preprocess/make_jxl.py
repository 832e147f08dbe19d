"""Makes jxl.zip: small JPEG XL files, and what pillow-jxl-plugin makes of each, NAME.pixels.

    pip install pillow==13.0.0 numpy pillow-jxl-plugin==1.3.8
    apt-get install libjxl-tools
    python testdata/preprocess/make_jxl.py

turned.jxl, whose header turns it, is libjxl's cjxl's, and its pixels are the upright picture: it is lossless.
"""
import io
import json
import subprocess
import tempfile
import warnings
import zipfile
from pathlib import Path

import pillow_jxl  # noqa: F401, which registers the format
from PIL import Image

from pictures import alpha, pattern

HERE = Path(__file__).parent


def turned(im):
    """im upright, in a file that holds it on its side."""
    with tempfile.TemporaryDirectory() as at:
        exif = Image.Exif()
        exif[0x0112] = 6
        im.transpose(Image.Transpose.ROTATE_90).save(f"{at}/x.png", exif=exif)
        subprocess.run(["cjxl", "--quiet", "-d", "0", f"{at}/x.png", f"{at}/x.jxl"], check=True)
        return Path(f"{at}/x.jxl").read_bytes()


def main():
    warnings.simplefilter("ignore")
    face = Image.open(HERE / "pictures" / "face.png").convert("RGB")
    waves = Image.fromarray(pattern(70, 51, 3))
    clear = waves.copy()
    clear.putalpha(Image.fromarray(alpha(70, 51)))
    files = {
        "face.jxl": (face, {}), "face_container.jxl": (face, {"use_container": True, "quality": 75}), "fast.jxl": (face, {"effort": 1, "decoding_speed": 4}),
        "lossless.jxl": (waves, {"lossless": True}), "lossless_fast.jxl": (face, {"lossless": True, "effort": 1}),
        "alpha_lossless.jxl": (clear, {"lossless": True}), "alpha.jxl": (clear, {"quality": 95}),
        "grey_lossless.jxl": (face.convert("L"), {"lossless": True}), "grey.jxl": (face.convert("L"), {}),
        "grey_alpha_lossless.jxl": (clear.convert("LA"), {"lossless": True}), "one.jxl": (Image.new("RGB", (1, 1), (9, 200, 77)), {"lossless": True}),
    }
    told = {}
    with zipfile.ZipFile(HERE / "jxl.zip", "w", zipfile.ZIP_DEFLATED) as z:
        def write(name, data):
            z.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)

        def tell(name, data, got):
            write(name, data)
            told[name] = {"mode": got.mode, "size": [got.height, got.width]}
            write(name + ".pixels", got.tobytes())

        for name, (im, options) in sorted(files.items()):
            out = io.BytesIO()
            im.save(out, "JXL", **options)
            tell(name, out.getvalue(), Image.open(io.BytesIO(out.getvalue())))
        jpeg = HERE / "pictures" / "face_420.jpg"
        out = io.BytesIO()
        Image.open(jpeg).save(out, "JXL", lossless_jpeg=True)
        tell("jpeg.jxl", out.getvalue(), Image.open(io.BytesIO(out.getvalue())))
        tell("turned.jxl", turned(waves), waves)
        write("told.json", json.dumps(told, indent=1))
    print(told)


if __name__ == "__main__":
    main()
