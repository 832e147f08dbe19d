"""The pinned packages that the pictures and the names come from, and reading them.

Every package is pinned to a version and to the sha512 that the npm registry states for it. A file that differs is
refused, so the shards cannot change without a change here.
"""

import base64
import hashlib
import json
import pathlib
import tarfile
from dataclasses import dataclass


@dataclass(frozen=True)
class Package:
    name: str
    version: str
    sha512: str
    licence: str  # SPDX identifier, as the package states it
    author: str

    @property
    def filename(self) -> str:
        return f"{self.name.lstrip('@').replace('/', '-')}-{self.version}.tgz"

    @property
    def spec(self) -> str:
        return f"{self.name}@{self.version}"


NAMES = Package(
    "emojibase-data", "17.0.0",
    "Yvgb5AWoHViHV/gq1qr5ZAarcBip+B27/ZLRsUJkbgAEaLlZ/fof9g882LTpmEpyhBNEC0m2SEmItljHsTygjA==",
    "MIT", "Miles Johnson")

HELD_OUT = Package(
    "openmoji", "17.0.0",
    "EBnYrNGdcdw+OSXmENeNE1yBNRu6tOraTmoOyUbJkTmvT/+XETp8RZLSJFzD3lrPc5N9CzsyPnRTk0Vp4UaI9w==",
    "CC-BY-SA-4.0", "OpenMoji, HfG Schwaebisch Gmuend")

# Hands to train on. OpenMoji is not among them in any variant.
HANDS = {
    "noto": Package(
        "@iconify-json/noto", "1.2.9",
        "DQiuXENbun41ch+XPSV55H9FaWKpHTyz46YIKtSaKYD4fIDDzL1tR6H4np/T38jfrTAeI3rcKF0mqHYeZVAuaw==",
        "Apache-2.0", "Google"),
    "noto-v1": Package(
        "@iconify-json/noto-v1", "1.2.5",
        "/DsVMius69Q0fRS53z7QK1TROSuar606jiIx+laXtdsYGMXpf6LtHBx6CGfoo3UHHb/XpBsw+1L1x3eyPqMuVA==",
        "Apache-2.0", "Google"),
    "twemoji": Package(
        "@iconify-json/twemoji", "1.2.5",
        "uKpuIEV0v6K5BW3Mjdyl+XKFVAbbcPxAgifKvEMtZoUZB5+YiY5zaMm2uNNCxyXzAWU9yNLlj41WU6/mvgALsw==",
        "CC-BY-4.0", "Twitter and contributors"),
    "fluent": Package(
        "@iconify-json/fluent-emoji", "1.2.7",
        "D8G6bKAyIsyxP1rzZtIWr/gg/fO4Rg1+DyCWlfqKK4h8W+4Em/Y0P6QYgJUQTlUcagzJvSyg+9OBv4hz4Hc/QA==",
        "MIT", "Microsoft"),
    "fluent-flat": Package(
        "@iconify-json/fluent-emoji-flat", "1.2.6",
        "RY47RgPb47fYUiyrA64sIOL0+UU02s29sXpNBbIQRBUlPlfNFTKUmZDERGuxDs/7yNGWqQYvuaSYM1M4fRXlUw==",
        "MIT", "Microsoft"),
    "fluent-mono": Package(
        "@iconify-json/fluent-emoji-high-contrast", "1.2.6",
        "esqhZPpkrF7sNX3NsLoh8KW64okEr/bzko7WNnFP+qTJGAqDPDYjp0925yxuivXy3HtVQB8xhIKu3+Nq1byX5w==",
        "MIT", "Microsoft"),
    "fluent-3d": Package(
        "@lobehub/fluent-emoji-3d", "1.1.0",
        "Wlq2lVStTnr8BDpIJ0pEnTKO4LuDxxqTEhTvRtD1DLRF0me7ogeRQjKoehDHXuVJ2Qaecgl5wRBv60lUAG3h7g==",
        "MIT", "Microsoft (pictures), LobeHub (package)"),
    "emojione": Package(
        "@iconify-json/emojione", "1.2.3",
        "T9+T3HIbJNLKKsmxYKlaYhvnHYkz/HNYTV7SHCXVZPfeUi4FqskY70YeN8yYAZT8cCv7w5vJxS4Q1m8zb9CMMg==",
        "CC-BY-4.0", "EmojiOne 2.2 (EmojiTwo)"),
    "emojione-v1": Package(
        "@iconify-json/emojione-v1", "1.2.3",
        "UjI2VQEXVtGlPBvQuxEizro7QCgBcJDOYwKUupquvvZ8UV4xOlvm45IU82JYWegiAWLerY79gFLMZ26U6Ms+ww==",
        "CC-BY-SA-4.0", "EmojiOne 1.5"),
    "emojione-mono": Package(
        "@iconify-json/emojione-monotone", "1.2.1",
        "cZSNcPsuiAD6HCzCh/2dYKGh3pNI0jJlxBxQWfC33cQsPtqYZqulGBvlkThXYNvDl8VxgVHT9u+izyX/yeEIkA==",
        "CC-BY-4.0", "EmojiOne 2.2 (EmojiTwo)"),
    "fxemoji": Package(
        "@iconify-json/fxemoji", "1.2.2",
        "UAasRaxzFUKfIGSmLwnoarsssA4LX0VLLuEmplIqM6ZNQqIQRtav8tZ4H1neTlBreXuMQyAifr5jP4kn78DpiQ==",
        "Apache-2.0", "Mozilla"),
    "streamline": Package(
        "@iconify-json/streamline-emojis", "1.2.4",
        "iNr9T9XuZVTyQPJO8ZlLxBzPkpi7qMl+z1l0C31vpEMqhPMelth3n7CeWQYtixdetDPdI81yeG4ROqjWpYJE6A==",
        "CC-BY-4.0", "Streamline"),
}


def all_packages() -> list[Package]:
    return [NAMES, HELD_OUT, *HANDS.values()]


class Archive:
    """Members of one package file, checked against its pinned sha512 and read into memory."""

    def __init__(self, folder: pathlib.Path, package: Package):
        path = folder / package.filename
        data = path.read_bytes()
        got = base64.b64encode(hashlib.sha512(data).digest()).decode()
        if got != package.sha512:
            raise SystemExit(f"{path}: sha512 {got} is not {package.sha512} of {package.spec}; delete the file and run again")
        self._tar = tarfile.open(path)
        self.names = sorted(m.name for m in self._tar.getmembers() if m.isfile())
        self._have = set(self.names)

        states = self.json("info.json")["license"]["spdx"] if self.has("info.json") else self.json("package.json")["license"]
        if states != package.licence:
            raise SystemExit(f"{path}: states licence {states}, {package.licence} was read; read it again before using the package")

    def read(self, name: str) -> bytes:
        return self._tar.extractfile(f"package/{name}").read()

    def json(self, name: str):
        return json.loads(self.read(name))

    def has(self, name: str) -> bool:
        return f"package/{name}" in self._have


if __name__ == "__main__":  # the shell script asks what to fetch
    for p in all_packages():
        print(p.spec, p.filename)
