"""open_clip's three ways to clean a text (open_clip/tokenizer.py), here without its import of torch."""

import html
import string

import ftfy


def basic(text: str) -> str:
    return html.unescape(html.unescape(ftfy.fix_text(text))).strip()


def whitespace(text: str) -> str:
    return " ".join(basic(text).split())


def lower(text: str) -> str:
    return whitespace(text).lower()


def canonicalize(text: str) -> str:
    text = basic(text).replace("_", " ").translate(str.maketrans("", "", string.punctuation))
    return " ".join(text.lower().split())
