"""webdataset shards: tar files holding key.png, key.txt and (if asked) key.json together, with fixed dates and owners."""

import io
import json
import pathlib
import tarfile
from dataclasses import dataclass


@dataclass(frozen=True)
class Sample:
    key: str
    png: bytes
    text: str
    meta: dict

    def members(self, meta: bool):
        yield f"{self.key}.png", self.png
        yield f"{self.key}.txt", self.text.encode()
        if meta:
            yield f"{self.key}.json", json.dumps(self.meta, ensure_ascii=False, sort_keys=True).encode()


def write(path: pathlib.Path, samples: list[Sample], meta: bool = True) -> None:
    """Writes one shard, with the json members if meta; the file appears under its name only when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    with tarfile.open(part, "w", format=tarfile.USTAR_FORMAT) as tar:
        for sample in samples:
            for name, data in sample.members(meta):
                info = tarfile.TarInfo(name)
                info.size, info.mtime, info.mode = len(data), 0, 0o644
                tar.addfile(info, io.BytesIO(data))
    part.replace(path)
