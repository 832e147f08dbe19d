"""Writes 10,000 lines with the ids that OpenAI's tokenizer gives them, for clip/tokenizer's tests.

The algorithm is openai/CLIP clip/simple_tokenizer.py: ftfy.fix_text, html.unescape twice, white space, lower case, the
pattern, byte-pair encoding. It is written out here, because open_clip's class spells the special tokens differently.

  pip install ftfy==6.3.1 regex
  python testdata/tokenizer/make_goldens.py
"""

import argparse
import gzip
import html
import io
import json
import pathlib
import random

import ftfy
import regex

HERE = pathlib.Path(__file__).parent
VOCABULARY = HERE.parent.parent / "clip" / "tokenizer" / "bpe_simple_vocab_16e6.txt.gz"
PATTERN = regex.compile(r"""<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+""", regex.IGNORECASE)


def alphabet() -> dict[int, str]:
    shown = list(range(ord("!"), ord("~") + 1)) + list(range(ord("¡"), ord("¬") + 1)) + list(range(ord("®"), ord("ÿ") + 1))
    letters = {b: chr(b) for b in shown}
    for b in range(256):
        letters.setdefault(b, chr(256 + len(letters) - len(shown)))
    return letters


class Tokenizer:
    def __init__(self) -> None:
        lines = gzip.open(VOCABULARY).read().decode().split("\n")[1:49152 - 256 - 2 + 1]
        merges = [tuple(line.split()) for line in lines]
        self.letters = alphabet()
        vocabulary = list(self.letters.values()) + [v + "</w>" for v in self.letters.values()] + ["".join(m) for m in merges]
        vocabulary += ["<|startoftext|>", "<|endoftext|>"]
        self.ids = {piece: i for i, piece in enumerate(vocabulary)}
        self.ranks = {m: i for i, m in enumerate(merges)}
        self.cache = {t: [self.ids[t]] for t in ("<|startoftext|>", "<|endoftext|>")}

    def word(self, token: str) -> list[int]:
        if token in self.cache:
            return self.cache[token]
        parts = [self.letters[b] for b in token.encode()]
        parts[-1] += "</w>"
        while len(parts) > 1:
            pair = min(zip(parts, parts[1:]), key=lambda p: self.ranks.get(p, 1 << 30))
            if pair not in self.ranks:
                break
            merged, i = [], 0
            while i < len(parts):
                if tuple(parts[i:i + 2]) == pair:
                    merged.append("".join(pair))
                    i += 2
                else:
                    merged.append(parts[i])
                    i += 1
            parts = merged
        self.cache[token] = [self.ids[p] for p in parts]
        return self.cache[token]

    def encode(self, text: str) -> list[int]:
        text = html.unescape(html.unescape(ftfy.fix_text(text))).strip()
        text = regex.sub(r"\s+", " ", text).strip().lower()
        return [i for token in regex.findall(PATTERN, text) for i in self.word(token)]


WORDS = """a the photo of dog cat racing car red blue cute fast sky street food Café naïve façade Zürich Straße København
señor garçon crème brûlée Łódź Škoda Dvořák İstanbul ΣΊΣΥΦΟΣ ὈΔΥΣΣΕΎΣ Москва Київ Україна привет мир 東京 北京 漢字 かな カタカナ 서울
한국어 안녕하세요 ไทย हिन्दी नमस्ते বাংলা தமிழ் مرحبا العالم שלום עולם ελληνικά ქართული հայերեն አማርኛ ខ្មែរ ﬁne ﬂow oﬃce ĳs ŉ
don't I'm you're we've she'll he'd it's 'TIS O'Neil rock’n’roll “quoted” ‘single’ „low“ ‟high‟ … — – - ¿qué? ¡hola! 1 23 4,567 3.14
½ ² Ⅷ ① ٣ १२ ＡＢＣ １２３ ｶﾅ ￥ 　 🐶 🏎️ 👩‍🚀 🇰🇷 👍🏽 ☃ ♥️ <|endoftext|> <|startoftext|> <|EndOfText|> &amp; &lt;b&gt; &quot; &#39; &#x27;
&nbsp; &copy &eacute; &amp;amp; &EACUTE; &notit; &unknown; &#128512; &#0; &#x80; <br> http://example.org/a?b=c&d=e user@mail.com #tag
@name C++ foo_bar snake_case x=1; {json: true} \\n $5 €10 £3 50% e\u0301 n\u0303 A\u030a \u200b \u200d \ufeff \u00ad \u2028 \x85 \x07 \x1b[31mred\x1b[0m
ſ K Å ǆ ß ẞ İi ıI Σ ς""".split(" ")
PIECES = [w for w in " ".join(WORDS).replace("\n", " ").split(" ") if w]


def mojibake(rng: random.Random, text: str) -> str:
    encoding = rng.choice(["latin-1", "cp1252", "cp1251", "cp1250", "cp1253", "cp1254", "cp1257", "macroman", "cp437", "iso-8859-2"])
    try:
        return text.encode().decode(encoding)
    except UnicodeDecodeError:
        return text.encode().decode(encoding, errors="ignore")


def line(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.03:
        return rng.choice(["", " ", "\t", "\u3000", "\n", "a\r\nb", "\r", "x\u2029y", "<", "&", "&#", "'", "<|", "\u00a0"])
    n = 60 if kind > 0.98 else rng.randint(1, 9)
    text = rng.choice([" ", " ", " ", "", "  ", "\n", "\t"]).join(rng.choice(PIECES) for _ in range(n))
    if kind < 0.25:
        text = mojibake(rng, text)
        if kind < 0.06:
            text = mojibake(rng, text)
    elif kind < 0.40:
        ranges = [(0x20, 0x7f), (0x80, 0x250), (0x370, 0x530), (0x5d0, 0x700), (0x900, 0xd80), (0x2000, 0x2c00), (0x3000, 0x3200),
                  (0x4e00, 0x4f00), (0xac00, 0xad00), (0xfb00, 0xfb50), (0xff00, 0xfff0), (0x1f300, 0x1f700), (0x1d400, 0x1d800)]
        low, high = rng.choice(ranges)
        text += "".join(chr(rng.randrange(low, high)) for _ in range(rng.randint(1, 12)))
    elif kind < 0.5:
        text = html.escape(text)
    elif kind < 0.6:
        text = text.upper() if rng.random() < 0.5 else text.title()
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default=HERE / "goldens.jsonl.gz")
    args = parser.parse_args()
    rng, tokenizer = random.Random(args.seed), Tokenizer()
    assert tokenizer.encode("Hello World!") == [3306, 1002, 256]
    out = io.StringIO()
    for _ in range(args.count):
        text = line(rng)
        out.write(json.dumps([text, tokenizer.encode(text)], separators=(",", ":")) + "\n")
    with open(args.out, "wb") as f:
        f.write(gzip.compress(out.getvalue().encode(), mtime=0))


main()
