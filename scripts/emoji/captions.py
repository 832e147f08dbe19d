"""Captions for training: one form per picture, chosen by a random number generator that its key seeds.

The forms differ across hands, so the same emoji is described in several ways. Evaluation uses the plain name.
"""

import random

from names import Emoji

FORMS = (  # (weight, form)
    (8, "{name}"),
    (4, "{a} {name}"),
    (2, "a picture of {a} {name}"),
    (3, "{name}: {tags}"),
    (3, "{tags}"),
    (2, "{a} {name}, {tag}"),
)


def article(name: str) -> str:
    return "an" if name[:1].lower() in "aeiou" else "a"


def caption(emoji: Emoji, key: str) -> str:
    rng = random.Random(f"caption/{key}")
    form = rng.choices([f for _, f in FORMS], [w for w, _ in FORMS])[0]
    tags = list(emoji.tags) or [emoji.label]
    rng.shuffle(tags)
    return form.format(name=emoji.label, a=article(emoji.label), tag=tags[0], tags=", ".join(tags[:3]))
