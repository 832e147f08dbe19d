"""Writes how webdataset splits the members of a shard into samples, which TestAsWebdataset reads: webdataset_shards.json, a
list of shards as the names of their members, each member's content being its place, with the samples that have an image and
a caption, and with those of open_clip's data loader. Needs webdataset 1.0.2 and open_clip_torch 3.3.0.

    python testdata/data/make_shards.py
"""
import io
import json
import os
import random
import tarfile

from open_clip_train.data import filter_no_caption_or_no_image, group_by_keys_nothrow
from webdataset.tariterators import group_by_keys, tar_file_iterator

here = os.path.dirname(os.path.abspath(__file__))
IMAGES, TEXTS = ["jpg", "png"], ["txt", "cls"]


def pack(names):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for i, name in enumerate(names):
            member = tarfile.TarInfo(name.rstrip("/"))
            if name.endswith("/"):
                member.type = tarfile.DIRTYPE
                tar.addfile(member)
            else:
                content = str(i).encode()
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    out.seek(0)
    return out


def split(names):
    """The samples of group_by_keys. As open_clip has it, an extension that comes again begins a sample."""
    files, part, samples = [], [], []
    for file in tar_file_iterator(pack(names)):
        files.append({"__url__": "", **file})
    for file in files:
        try:
            list(group_by_keys(part + [file], handler=raises))
        except ValueError:
            samples += list(group_by_keys(part))
            part = []
        part.append(file)
    return samples + list(group_by_keys(part))


def raises(error):
    raise error


def complete(sample):
    """Of a sample's members the image and the caption; where the plain names lack one, of each part before the last dot."""
    parts = {}
    for extension, content in sample.items():
        if not extension.startswith("__"):
            part, _, last = extension.rpartition(".")
            parts.setdefault(part, {})[last] = content.decode()
    found = []
    for part, members in parts.items():
        image = next((members[e] for e in IMAGES if e in members), None)
        text = next((members[e] for e in members if e in TEXTS), None)
        if image is not None and text is not None:
            found.append([sample["__key__"] + ("." + part if part else ""), image, text])
            if not part:
                return [found[-1]]
    return found


def open_clip(names):
    """The samples of get_wds_dataset: image="jpg;png;jpeg;webp", text="txt"."""
    found = []
    for sample in group_by_keys_nothrow({"__url__": "", **file} for file in tar_file_iterator(pack(names))):
        if filter_no_caption_or_no_image(sample):
            image = next(sample[e] for e in ("jpg", "png", "jpeg", "webp") if e in sample)
            found.append([sample["__key__"], image.decode(), sample["txt"].decode()])
    return found


shards = [
    ["a.jpg", "a.txt", "b.jpg", "b.txt"], ["a.b.jpg", "a.b.txt"], ["img.0001.jpg", "img.0001.txt", "img.0002.jpg", "img.0002.txt"],
    ["a.jpg", "a.cls", "b.png", "b.cls"], ["a.jpg", "b.jpg", "a.txt", "b.txt"], ["d/a.jpg", "d/", "d/a.txt"], ["a.jpg", "README", "a.txt"],
    ["my.dir/a.jpg", "my.dir/a.txt"], ["./a.jpg", "./a.txt"], ["A.JPG", "A.Txt"], ["a.seg.png", "a.png", "a.txt"], ["a.jpg", "a.txt", "a.jpg", "a.txt"],
    ["a.jpg", "a.en.txt", "a.de.txt"], ["d/a.jpg", "e/a.txt"], ["a.jpg", "__meta__", "a.txt"], ["a.", "a.jpg", "a.txt"], ["a.b/c.jpg", "a.b/c.txt", "a.b/d"],
]
draw = random.Random(3)
for _ in range(300):
    names = [draw.choice(["a", "a", "b", "d/a", "x.y/a", "./a", "a.1", "a.2"]) + draw.choice([".jpg", ".png", ".txt", ".cls", ".seg.png", "", "/", ".JPG"])
             for _ in range(draw.randint(1, 9))]
    shards.append([name for name in names if name not in ("a.1", "a.2")])  # members that are neither image nor caption split nothing here
with open(os.path.join(here, "webdataset_shards.json"), "w") as out:
    lines = [json.dumps({"members": names, "samples": [s for sample in split(names) for s in complete(sample)], "open_clip": open_clip(names)}) for names in shards]
    out.write("[\n" + ",\n".join(lines) + "\n]\n")
