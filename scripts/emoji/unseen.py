"""Twenty pictures that are no emoji of Unicode's, so that no hand that the built-in model was trained on draws them.

They are of OpenMoji's own additions, each with its code point and OpenMoji's name for it. A thing was taken that has a shape to
know it by and a name that is none of Unicode's names and keywords; the list was written before anything was measured on it.
benchmarks/finetune.py shows the built-in model these in colour, and asks for the outlines, which it was not shown, too.
"""

import pathlib

import draw
import names
import packages
import shards

SIZE = 64

UNSEEN = {
    "E002": "poppy",
    "E006": "narwhal",
    "E007": "beluga",
    "E010": "macaw",
    "E0C4": "pomegranate",
    "E141": "armchair",
    "E143": "lighter",
    "E145": "guy fawkes mask",
    "E14A": "motorbike helmet",
    "E151": "french press",
    "E1CE": "smartwatch",
    "E1CF": "washing machine",
    "E1D2": "drone",
    "E205": "eiffel tower",
    "E20B": "space shuttle",
    "E2D1": "wind energy",
    "E2D4": "nuclear power plant",
    "E326": "crutches",
    "E343": "lawn mower",
    "E344": "wheelbarrow",
}


def write(openmoji: packages.Archive, emoji: dict[str, names.Emoji], data: pathlib.Path) -> None:
    """data/unseen-emoji.tar and data/unseen-emoji-outline.tar: the same twenty with their names, in colour and as outlines."""
    known = {word.lower() for e in emoji.values() for word in (e.label, *e.tags)}
    if not_new := sorted(known & set(UNSEEN.values())):
        raise SystemExit(f"unseen: {', '.join(not_new)}: a name or keyword of Unicode's")
    for suffix, folder in (("", "color"), ("-outline", "black")):
        samples = [shards.Sample(f"openmoji_{code.lower()}", draw.from_svg(openmoji.read(f"{folder}/svg/{code}.svg").decode(), SIZE), name, {})
                   for code, name in UNSEEN.items()]
        shards.write(data / f"unseen-emoji{suffix}.tar", samples, meta=False)
