"""Emoji, their names, and which icon of a hand draws which emoji.

An emoji is known by its code points in lower case without FE0F, joined by "-" (1f3f3-200d-1f308). Only base emoji
are used: no skin tones and no components. Hands either state the code points of an icon or only its name; names
are slugs of Unicode's names of some year, so older spellings are tried too.
"""

import re
import unicodedata
from dataclasses import dataclass

from packages import Archive

COMPONENTS = 2  # emojibase's group of hair and skin swatches
AMBIGUOUS = {"kiss", "sunglasses", "japan"}  # icon names that mean another emoji than Unicode's name does


@dataclass(frozen=True)
class Emoji:
    code: str
    label: str
    tags: tuple[str, ...]


def code_of(hexcode: str) -> str:
    return "-".join(p for p in hexcode.lower().split("-") if p != "fe0f")


def load(names: Archive) -> dict[str, Emoji]:
    """The base emoji of emojibase by code, in Unicode's order."""
    rows = [e for e in names.json("en/data.json") if e.get("group") not in (None, COMPONENTS)]
    rows.sort(key=lambda e: e["order"])
    return {code_of(e["hexcode"]): Emoji(code_of(e["hexcode"]), e["label"], tuple(e.get("tags", ()))) for e in rows}


def slug(text: str) -> str:
    """Letters and digits only, so that "flag: Côte d’Ivoire" meets "flag-cote-divoire"."""
    text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    text = text.replace("&", "and").replace("*", "asterisk").replace("#", "hash")
    return re.sub(r"[^a-z0-9]+", "", text)


class Index:
    """Finds the emoji that an icon's name means."""

    def __init__(self, emoji: dict[str, Emoji], names: Archive, stated: dict[str, str]):
        """stated maps icon names to codes, taken from the hands that state both."""
        self._label = {slug(e.label): code for code, e in emoji.items()}
        self._stated = {slug(n): c for n, c in sorted(stated.items()) if c in emoji}
        self._short: dict[str, str] = {}
        for source in ("cldr", "github", "iamcal", "emojibase-legacy"):
            for hexcode, codes in sorted(names.json(f"en/shortcodes/{source}.json").items()):
                code = code_of(hexcode)
                if code in emoji:
                    for c in [codes] if isinstance(codes, str) else codes:
                        self._short.setdefault(slug(c), code)

    def find(self, name: str, siblings: frozenset[str] = frozenset()) -> str | None:
        """The code for an icon's name, or None. siblings are the other names of the hand.

        A hand with both "dog" and "dogside" draws the dog's face under the first name.
        """
        if name + "side" in siblings:
            return self._exact(slug(name + "face"))
        for candidate in self._spellings(name):
            code = self._exact(slug(candidate))
            if code is not None:
                return code
        return None

    def _exact(self, key: str) -> str | None:
        return self._label.get(key) or self._stated.get(key) or self._short.get(key)

    @staticmethod
    def _spellings(name: str):
        yield name
        plain = re.sub(r"^flag-for-(flag-)?", "flag-", name)
        plain = re.sub(r"-[1-5]$", "", plain)  # several drawings of one emoji
        if plain != name:
            yield plain
        if plain.startswith("flag-") and plain.endswith(("-flag", "-flags")):
            yield plain.removeprefix("flag-")  # flag-for-rainbow-flag
        yield plain.replace("cat-face", "cat")  # names before Unicode 11
        yield plain.removesuffix("-face")
        yield plain.replace("digit-", "keycap-")
        yield "red-" + plain  # exclamation-mark, question-mark
        yield plain.removeprefix("heavy-")


def drawings(hand: Archive, emoji: dict[str, Emoji], index: Index) -> list[tuple[str, str]]:
    """(code, icon name) of every base emoji that an iconify set draws, in order.

    Most hands draw an emoji once; one that draws it several times gives each drawing.
    """
    icons = hand.json("icons.json")
    own = set(icons["icons"])
    found: dict[tuple[str, str], None] = {}
    stated: set[str] = set()
    if hand.has("chars.json"):
        for hexcode, name in sorted(hand.json("chars.json").items()):
            code = code_of(hexcode)
            if code in emoji and code not in stated:
                found[code, _parent(icons, name)] = None
                stated.add(code)
    drawn = {name for _, name in found} | AMBIGUOUS
    for name in sorted(own - drawn):
        code = index.find(name, frozenset(own))
        if code is not None and code not in stated:
            found[code, name] = None
            drawn.add(name)
    stated |= {code for code, _ in found}
    for name in sorted(icons.get("aliases", {})):  # further names count only where nothing is known yet
        code, parent = index.find(name), _parent(icons, name)
        if code is not None and code not in stated and parent not in drawn:
            found[code, parent] = None
            drawn.add(parent)
            stated.add(code)
    return sorted(found)


def _parent(icons: dict, name: str) -> str:
    while name not in icons["icons"]:
        name = icons["aliases"][name]["parent"]
    return name
