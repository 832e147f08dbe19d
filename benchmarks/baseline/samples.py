"""Reading webdataset shards into memory, in the order of the files."""

import glob
import io
import pathlib
import tarfile
from dataclasses import dataclass

from PIL import Image


@dataclass(frozen=True)
class Sample:
    key: str
    image: Image.Image  # RGB, decoded
    text: str


def load(pattern: str) -> list[Sample]:
    paths = sorted(glob.glob(pattern))
    if not paths:
        raise SystemExit(f"{pattern}: no shard matches")
    out = []
    for path in paths:
        members: dict[str, dict[str, bytes]] = {}
        with tarfile.open(path) as tar:
            for m in tar.getmembers():
                name = pathlib.PurePath(m.name)
                members.setdefault(name.stem, {})[name.suffix] = tar.extractfile(m).read()
        for key, parts in members.items():
            out.append(Sample(key, Image.open(io.BytesIO(parts[".png"])).convert("RGB"), parts[".txt"].decode()))
    return out
