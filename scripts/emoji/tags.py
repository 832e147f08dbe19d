"""Writes data/openmoji-tags.tsv: the key of each held-out picture and emojibase's tags, for the search evaluation.

  python3 scripts/emoji/tags.py build/emoji/npm data      # the folder of make_emoji.sh's packages
"""

import pathlib
import sys
import tarfile

import names
import packages


def main(folder: pathlib.Path, data: pathlib.Path) -> None:
    emoji = names.load(packages.Archive(folder, packages.NAMES))
    lines = []
    for shard in sorted(data.glob("openmoji-eval-*.tar")):
        with tarfile.open(shard) as tar:
            keys = [m.name.removesuffix(".png") for m in tar if m.name.endswith(".png")]
        lines += [f"{key}\t{', '.join(emoji[key.removeprefix('openmoji_')].tags)}\n" for key in keys]
    (data / "openmoji-tags.tsv").write_text("".join(lines))


main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
