"""Makes untidy.zip and untidy.json: pictures that break their format's rules, and what Pillow makes of each.

    pip install pillow==13.0.0 numpy pillow-heif==1.8.1
    python testdata/preprocess/make_untidy.py

untidy.json has, for each file, Pillow's mode and size and the SHA-256 of its pixels in that mode and in RGB, or the error
with which Pillow refuses it.
"""
import hashlib
import io
import json
import sys
import warnings
import zipfile
from pathlib import Path

from PIL import Image

import untidy
import untidy_photo
import untidy_tiff

HERE = Path(__file__).parent


def sha(data):
    return hashlib.sha256(data).hexdigest()


def pillow(data):
    """The raw bytes in the file's own mode, and in RGB."""
    im = Image.open(io.BytesIO(data))
    im.load()
    raw = im.convert("L") if im.mode == "1" else im
    mode = im.mode
    if mode == "I;16B":  # the same values with the high byte first
        raw, mode = Image.frombytes("I;16", im.size, b"".join(b[::-1] for b in zip16(im.tobytes()))), "I;16"
    return mode, im.size, raw.tobytes(), raw.convert("RGB").tobytes()


def zip16(data):
    return [data[i:i + 2] for i in range(0, len(data), 2)]


def main():
    warnings.simplefilter("ignore")
    files = {**untidy.pngs(), **untidy_photo.jpegs(), **untidy_photo.webps(), **untidy.gifs(), **untidy.bmps(), **untidy_tiff.tiffs()}
    found = []
    with zipfile.ZipFile(HERE / "untidy.zip", "w", zipfile.ZIP_DEFLATED) as z:
        for name, data in sorted(files.items()):
            z.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)
            entry = {"file": name}
            try:
                mode, size, raw, rgb = pillow(data)
                entry |= {"mode": mode, "size": [size[1], size[0]], "bytes": sha(raw), "rgb": sha(rgb)}
            except Exception as e:
                entry["error"] = f"{type(e).__name__}: {str(e).split(chr(10))[0].split(' <')[0][:90]}"
            found.append(entry)
    lines = ",\n".join(json.dumps(e, separators=(",", ":")) for e in found)
    (HERE / "untidy.json").write_text(f"[\n{lines}\n]\n")
    print(len(found), "files,", sum("error" in e for e in found), "refused by Pillow", file=sys.stderr)


if __name__ == "__main__":
    main()
