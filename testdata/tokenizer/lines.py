"""Seeded lines of mixed text for the tokenizer's goldens: words of many languages, every script of Unicode, emoji with
joiners, HTML entities, mojibake, control characters, words of 10,000 characters."""

import html
import html.entities
import random
import unicodedata
from collections.abc import Iterator

WORDS = """a the photo of dog cat racing car red blue cute fast sky street food Café naïve façade Zürich Straße København
señor garçon crème brûlée Łódź Škoda Dvořák İstanbul ΣΊΣΥΦΟΣ ὈΔΥΣΣΕΎΣ Москва Київ Україна привет мир 東京 北京 漢字 かな カタカナ 서울
한국어 안녕하세요 ไทย हिन्दी नमस्ते বাংলা தமிழ் مرحبا العالم שלום עולם ελληνικά ქართული հայերեն አማርኛ ខ្មែរ ﬁne ﬂow oﬃce ĳs ŉ
don't I'm you're we've she'll he'd it's 'TIS O'Neil rock’n’roll “quoted” ‘single’ „low“ ‟high‟ … — – - ¿qué? ¡hola! 1 23 4,567 3.14
½ ² Ⅷ ① ٣ १२ ＡＢＣ １２３ ｶﾅ ￥ 　 🐶 🏎️ 👩‍🚀 🇰🇷 👍🏽 ☃ ♥️ <|endoftext|> <|startoftext|> <|EndOfText|> <|ſtartoftext|> <start_of_text>
<end_of_text> <Start_Of_Text> <ſtart_of_text> <s> </s> <pad> <unk> <mask> <S> ▁ <0x41> &amp; &lt;b&gt; &quot; &#39; &#x27; &lt;mask&gt;
&nbsp; &copy &eacute; &amp;amp; &EACUTE; &notit; &unknown; &#128512; &#0; &#x80; <br> http://example.org/a?b=c&d=e user@mail.com #tag
@name C++ foo_bar snake_case x=1; {json: true} \\n $5 €10 £3 50% e\u0301 n\u0303 A\u030a \u200b \u200d \ufeff \u00ad \u2028 \x85 \x07 \x1b[31mred\x1b[0m
ſ K Å ǆ ß ẞ İi ıI Σ ς 'S 'T 'RE 'ſ""".split(" ")
PIECES = [w for w in " ".join(WORDS).replace("\n", " ").split(" ") if w]

CODECS = ["latin-1", "cp1252", "cp1251", "cp1250", "cp1253", "cp1254", "cp1257", "macroman", "cp437", "iso-8859-2"]

# Runs of 64 code points in which at least one is assigned: every script, and each as often as it is long.
BLOCKS = [b for b in range(0, 0x110000 - 0x20000 * 2, 64) if not 0xD800 <= b < 0xE000 and any(unicodedata.category(chr(c)) not in ("Cn", "Co", "Cs") for c in range(b, b + 64))]
SPARSE = [b for b in BLOCKS if not (0x3400 <= b < 0xA000 or 0xAC00 <= b < 0xD7A4 or b >= 0x20000)]

PEOPLE, TONES, THINGS = "👩👨🧑👧👦👮🕵🏃💂", "🏻🏼🏽🏾🏿", ["🚀", "💻", "🔬", "❤️", "⚕️", "✈️", "🌾", "🏳️", "🌈", "♀️", "♂️", "🦰"]
ENTITIES = sorted(html.entities.html5)


def mojibake(rng: random.Random, text: str) -> str:
    encoding = rng.choice(CODECS)
    try:
        return text.encode().decode(encoding)
    except UnicodeDecodeError:
        return text.encode().decode(encoding, errors="ignore")


def script(rng: random.Random) -> str:
    block = rng.choice(SPARSE if rng.random() < 0.8 else BLOCKS)
    return "".join(chr(rng.randrange(block, block + 64)) for _ in range(rng.randint(1, 12)))


def emoji(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.4:
        return "\u200d".join(rng.choice(PEOPLE) + rng.choice(["", rng.choice(TONES)]) for _ in range(rng.randint(1, 4)))
    if kind < 0.6:
        return rng.choice(PEOPLE) + rng.choice(["", rng.choice(TONES)]) + "\u200d" + rng.choice(THINGS)
    if kind < 0.75:
        return "".join(chr(0x1F1E6 + rng.randrange(26)) for _ in range(rng.randint(1, 4)))
    if kind < 0.85:
        return rng.choice("0123456789#*") + rng.choice(["\ufe0f\u20e3", "\u20e3"])
    if kind < 0.9:
        return "\U0001F3F4" + "".join(chr(0xE0000 + ord(c)) for c in rng.choice(["gbeng", "gbsct", "gbwls"])) + "\U000E007F"
    return chr(rng.randrange(0x1F300, 0x1FB00)) + rng.choice(["", "\ufe0f", "\ufe0e", "\u200d"])


def entity(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.5:
        text = "&" + rng.choice(ENTITIES)
    elif kind < 0.75:
        text = f"&#{rng.choice([rng.randrange(0x100), rng.randrange(0x3000), rng.randrange(0x120000)])}" + rng.choice([";", ";", ""])
    else:
        text = f"&#{rng.choice('xX')}{rng.choice([rng.randrange(0x100), rng.randrange(0x3000), rng.randrange(0x120000)]):{rng.choice('xX')}}" + rng.choice([";", ";", ""])
    return html.escape(text) if rng.random() < 0.2 else text


def control(rng: random.Random) -> str:
    return chr(rng.choice([rng.randrange(0x20), rng.randrange(0x7F, 0xA1), rng.randrange(0x2000, 0x2010), rng.randrange(0x2028, 0x2030),
                           rng.randrange(0x205F, 0x2070), rng.randrange(0xFFF0, 0xFFFE), 0xFEFF, 0xAD, 0x34F, 0x61C, 0x180E, 0xE0001]))


def long_word(rng: random.Random) -> str:
    alphabet = rng.choice(["abcdefghijklmnopqrstuvwxyz", "aaaab", "ab", "0123456789", "!?.", "абвгдежз", "あいうえお漢字", "éàü", "x"])
    return "".join(rng.choice(alphabet) for _ in range(10000))


def line(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.0001:
        return rng.choice(["", "a "]) + long_word(rng) + rng.choice(["", " b"])
    if kind < 0.02:
        return rng.choice(["", " ", "\t", "\u3000", "\n", "a\r\nb", "\r", "x\u2029y", "<", "&", "&#", "'", "<|", "\u00a0", "<mask>", "a <mask> b", "</s>"])
    n = 60 if kind > 0.99 else rng.randint(1, 7)
    parts = [rng.choice(PIECES) for _ in range(n)]
    if 0.25 < kind < 0.65:
        make = rng.choice([script, script, script, emoji, entity, control])
        for _ in range(rng.randint(1, 3)):
            parts.insert(rng.randint(0, len(parts)), make(rng))
    text = rng.choice([" ", " ", " ", "", "  ", "\n", "\t"]).join(parts)
    if kind < 0.20:
        text = mojibake(rng, text)
        if kind < 0.05:
            text = mojibake(rng, text)
    elif kind < 0.25:
        text = html.escape(text)
    elif 0.65 < kind < 0.75:
        text = text.upper() if rng.random() < 0.5 else text.title()
    return text


def lines(count: int, seed: int = 0) -> Iterator[str]:
    rng = random.Random(seed)
    for _ in range(count):
        yield line(rng)


def plain(count: int, seed: int) -> Iterator[str]:
    """Lines of the words and of characters' names, whose few hundred letters a small vocabulary holds."""
    rng = random.Random(seed)
    for _ in range(count):
        name = unicodedata.name(chr(rng.randrange(0x20, 0x3000)), "").lower()
        yield f"{name} " + " ".join(rng.choice(PIECES) for _ in range(rng.randint(1, 9)))


def sprinkled(texts: Iterator[str], tokens: list[str], seed: int) -> Iterator[str]:
    """The lines, every eighth of them with a vocabulary's own tokens in it, whole or spoiled."""
    rng = random.Random(seed)
    for i, text in enumerate(texts):
        for _ in range(rng.randint(1, 3) if i % 8 == 0 else 0):
            at, token = rng.randint(0, len(text)), rng.choice(tokens)
            if rng.random() < 0.3:
                cut = rng.randint(0, len(token))
                token = token[:cut] + rng.choice(["", " ", "\u200b", "\x07", "a", token]) + token[cut:]
            text = text[:at] + rng.choice(["", " "]) + (token.swapcase() if rng.random() < 0.2 else token) + rng.choice(["", " "]) + text[at:]
        yield text
