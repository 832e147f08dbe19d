"""Pictures of 4x4 pixels with dates in their EXIF data, written by Pillow 13.0: build/venv/bin/python testdata/exif/make_pictures.py"""
from pathlib import Path

from PIL import ExifTags, Image

here = Path(__file__).parent
ORIGINAL, DIGITIZED = ExifTags.Base.DateTimeOriginal, ExifTags.Base.DateTimeDigitized
OFFSET = ExifTags.Base.OffsetTimeOriginal


def write(name, tags, changed="2020:01:02 03:04:05"):
    exif = Image.Exif()
    exif[ExifTags.Base.DateTime] = changed  # of the file's last change, which must not be taken for the other
    exif.get_ifd(ExifTags.IFD.Exif).update(tags)
    if name.endswith("tif"):  # Pillow leaves the Exif directory out of a TIFF: here is the block alone, which is one without a picture
        (here / name).write_bytes(exif.tobytes().removeprefix(b"Exif\0\0"))
    else:
        Image.new("RGB", (4, 4), (200, 30, 30)).save(here / name, exif=exif)


for ext in ("jpg", "png", "webp", "tif"):
    write(f"offset.{ext}", {ORIGINAL: "2019:07:14 16:20:30", DIGITIZED: "2021:01:01 00:00:00", OFFSET: "+02:00"})
    write(f"local.{ext}", {ORIGINAL: "2019:07:14 16:20:30"})
write("changed.jpg", {})
write("empty.jpg", {ORIGINAL: "0000:00:00 00:00:00"})
write("blank.jpg", {ORIGINAL: "    :  :     :  :  "})
write("far.jpg", {ORIGINAL: "9999:12:31 23:59:59"})
Image.new("RGB", (4, 4)).save(here / "none.jpg")
