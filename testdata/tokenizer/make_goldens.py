"""Writes lines of text with the ids that the original tokenizers give them, for clip/tokenizer's tests.

openai   openai/CLIP clip/simple_tokenizer.py, written out here: ftfy.fix_text, html.unescape twice, white space, lower
         case, the pattern, byte-pair encoding. Beside each line stand the ids of open_clip's spelling of the special
         tokens where they differ, else null.
roberta  transformers' RobertaTokenizer, cleaned as open_clip's HFTokenizer does ("whitespace")
xlmr     transformers' XLMRobertaTokenizer, likewise
nllb     transformers' NllbTokenizer, likewise
mt5      transformers' T5Tokenizer with siglip's vocabulary, likewise; a text that ends with </s> is framed as by the fast one
siglip2  transformers' Siglip2Tokenizer of version 5 with gemma's vocabulary; build/venv has it:
         build/venv/bin/python testdata/tokenizer/make_goldens.py --families siglip2
siglip   sentencepiece, cleaned as open_clip does for SigLIP ("canonicalize")
bytes    sentencepiece with byte fallback and user-defined symbols, likewise
bert     transformers' BertTokenizer with Python 3.11 and its Unicode 14, cleaned as open_clip's HFTokenizer does ("whitespace")
cased    the same with letter case and accents kept and Chinese characters left in their words, as bert-base-cased has it
accents  the same with lower case and accents kept
gemma    the tokenizers library's ids by SigLIP 2's tokenizer.json, cleaned as open_clip does for SigLIP ("canonicalize")
other    the same by a file with other normalizers, a pre-tokenizer and missing bytes, cleaned by "whitespace"

Every 20th line of all but the first and "bytes" has its row for a context of 16 too: framed, cut, padded; the rows of
"bert" are stripped of [SEP] as open_clip's strip_sep_token does it. The 100,000-line comparison is --count 100000 --out
DIR, then go test with GOCLIP_GOLDENS=DIR. The Python is make_vocabularies.py's.

  build/venv-tokenizers/bin/python testdata/tokenizer/make_goldens.py [--families openai,roberta]
"""

import argparse
import gzip
import io
import json
import pathlib
import tempfile
from collections.abc import Callable, Iterator

import regex

import clean
from lines import lines, sprinkled

HERE = pathlib.Path(__file__).parent
VOCABULARY = HERE.parent.parent / "clip" / "tokenizer" / "bpe_simple_vocab_16e6.txt.gz"
CONTEXT = 16


def alphabet() -> dict[int, str]:
    shown = list(range(ord("!"), ord("~") + 1)) + list(range(ord("¡"), ord("¬") + 1)) + list(range(ord("®"), ord("ÿ") + 1))
    letters = {b: chr(b) for b in shown}
    for b in range(256):
        letters.setdefault(b, chr(256 + len(letters) - len(shown)))
    return letters


class Tokenizer:
    def __init__(self, start: str, end: str) -> None:
        lines = gzip.open(VOCABULARY).read().decode().split("\n")[1:49152 - 256 - 2 + 1]
        merges = [tuple(line.split()) for line in lines]
        self.letters = alphabet()
        vocabulary = list(self.letters.values()) + [v + "</w>" for v in self.letters.values()] + ["".join(m) for m in merges]
        vocabulary += [start, end]
        self.ids = {piece: i for i, piece in enumerate(vocabulary)}
        self.ranks = {m: i for i, m in enumerate(merges)}
        self.cache = {t: [self.ids[t]] for t in (start, end)}
        special = "|".join(regex.escape(t) for t in (start, end))
        self.pattern = regex.compile(special + r"""|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+""", regex.IGNORECASE)

    def word(self, token: str) -> list[int]:
        if token in self.cache:
            return self.cache[token]
        parts = [self.letters[b] for b in token.encode()]
        parts[-1] += "</w>"
        while len(parts) > 1:
            pair = min(set(zip(parts, parts[1:])), key=lambda p: self.ranks.get(p, 1 << 30))
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
        text = regex.sub(r"\s+", " ", clean.basic(text)).strip().lower()
        return [i for token in self.pattern.findall(text) for i in self.word(token)]


def openai(count: int, seed: int) -> list:
    tokenizer, other = Tokenizer("<|startoftext|>", "<|endoftext|>"), Tokenizer("<start_of_text>", "<end_of_text>")
    assert tokenizer.encode("Hello World!") == [3306, 1002, 256]
    out = []
    for text in lines(count, seed):
        ids, spelled = tokenizer.encode(text), other.encode(text)
        out.append([text, ids, None if spelled == ids else spelled])
    return out


def hugging_face(tokenizer, fast, cleaned: Callable[[str], str], count: int, seed: int, encode=None, texts: Iterator[str] | None = None) -> list:
    """The slow tokenizer's ids; how many lines the fast one has otherwise is printed, for the record."""
    encode = encode or (lambda t: tokenizer.encode(t, add_special_tokens=False))
    out, otherwise = [], 0
    for i, text in enumerate(texts or lines(count, seed)):
        t = cleaned(text)
        row = None if i % 20 else tokenizer(t, max_length=CONTEXT, padding="max_length", truncation=True).input_ids
        out.append([text, encode(t), row])
        otherwise += fast is not None and fast.encode(t, add_special_tokens=False) != out[-1][1]
    if fast is not None:
        print(f"{type(fast).__name__} differs in {otherwise} of {count} lines")
    return out


def roberta(count: int, seed: int) -> list:
    from transformers import RobertaTokenizer, RobertaTokenizerFast
    files = str(HERE / "roberta" / "vocab.json"), str(HERE / "roberta" / "merges.txt")
    return hugging_face(RobertaTokenizer(*files), RobertaTokenizerFast(*files), clean.whitespace, count, seed)


def unpacked(path: pathlib.Path, into: str) -> str:
    out = pathlib.Path(into) / path.stem
    out.write_bytes(gzip.decompress(path.read_bytes()))
    return str(out)


def xlmr(count: int, seed: int) -> list:
    from transformers import XLMRobertaTokenizer, XLMRobertaTokenizerFast
    with tempfile.TemporaryDirectory() as into:
        model = unpacked(HERE / "xlmr" / "sentencepiece.bpe.model.gz", into)
        return hugging_face(XLMRobertaTokenizer(model), XLMRobertaTokenizerFast(model), clean.whitespace, count, seed)


def nllb(count: int, seed: int) -> list:
    from transformers import NllbTokenizer, NllbTokenizerFast
    with tempfile.TemporaryDirectory() as into:
        model = unpacked(HERE / "nllb" / "sentencepiece.bpe.model.gz", into)
        return hugging_face(NllbTokenizer(model), NllbTokenizerFast(model), clean.whitespace, count, seed)


def mt5(count: int, seed: int) -> list:
    from transformers import AutoTokenizer, T5Tokenizer
    with tempfile.TemporaryDirectory() as into:
        model = unpacked(HERE / "siglip" / "spiece.model.gz", into)
        (pathlib.Path(into) / "config.json").write_text('{"model_type": "mt5"}')
        (pathlib.Path(into) / "tokenizer_config.json").write_text('{"tokenizer_class": "T5Tokenizer", "extra_ids": 0}')
        fast = AutoTokenizer.from_pretrained(into)  # as open_clip opens google/mt5-base
        rows = hugging_face(T5Tokenizer(model, extra_ids=0, legacy=True), fast, clean.whitespace, count, seed)
    for row in rows:
        if row[2] and row[1] and row[1][-1] == fast.eos_token_id:  # the slow one adds no second end
            row[2] = fast(clean.whitespace(row[0]), max_length=CONTEXT, padding="max_length", truncation=True).input_ids
    return rows


def siglip(count: int, seed: int) -> list:
    from sentencepiece import SentencePieceProcessor
    from transformers import T5Tokenizer, T5TokenizerFast
    with tempfile.TemporaryDirectory() as into:
        model = unpacked(HERE / "siglip" / "spiece.model.gz", into)
        options = dict(extra_ids=0, legacy=False, pad_token="</s>")
        original = SentencePieceProcessor(model_file=model)
        return hugging_face(T5Tokenizer(model, **options), T5TokenizerFast(model, **options), clean.canonicalize, count, seed, original.encode)


def bytes_(count: int, seed: int) -> list:
    from sentencepiece import SentencePieceProcessor
    with tempfile.TemporaryDirectory() as into:
        original = SentencePieceProcessor(model_file=unpacked(HERE / "siglip" / "bytes.model.gz", into))
        return [[text, original.encode(clean.canonicalize(text))] for text in lines(count, seed)]


BERT_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused0]", "[[SEP]", "##a"]


def bert(count: int, seed: int, strip: bool = True, **options) -> list:
    from transformers import BertTokenizer, BertTokenizerFast
    vocabulary = str(HERE / "bert" / "vocab.txt")
    slow = BertTokenizer(vocabulary, **options)
    out = hugging_face(slow, BertTokenizerFast(vocabulary, **options), clean.whitespace, count, seed, texts=sprinkled(lines(count, seed), BERT_TOKENS, seed))
    if strip:
        for line in out:
            line[2] = line[2] and [0 if i == slow.sep_token_id else i for i in line[2]]
    return out


def cased(count: int, seed: int) -> list:
    return bert(count, seed, strip=False, do_lower_case=False, tokenize_chinese_chars=False)


def accents(count: int, seed: int) -> list:
    return bert(count, seed, strip=False, strip_accents=False)


def gemma(count: int, seed: int, name: str = "tokenizer", cleaned: Callable[[str], str] = clean.canonicalize) -> list:
    from tokenizers import Tokenizer
    tokenizer = Tokenizer.from_str(gzip.decompress((HERE / "gemma" / f"{name}.json.gz").read_bytes()).decode())
    tokens = sorted({t.content for t in tokenizer.get_added_tokens_decoder().values()} | {"<0x41>", "▁", "\U00010d50\ua7cb"})
    out = []
    for i, text in enumerate(sprinkled(lines(count, seed), tokens, seed)):
        row, t = None, cleaned(text)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        ids = tokenizer.encode(t, add_special_tokens=False).ids
        if i % 20 == 0:
            tokenizer.enable_truncation(CONTEXT)
            tokenizer.enable_padding(length=CONTEXT, pad_token="<pad>", pad_id=tokenizer.token_to_id("<pad>"))
            row = tokenizer.encode(t).ids
        out.append([text, ids, row])
    return out


def siglip2(count: int, seed: int) -> list:
    from transformers import Siglip2Tokenizer
    with tempfile.TemporaryDirectory() as into:
        unpacked(HERE / "gemma" / "tokenizer.json.gz", into)
        tokenizer = Siglip2Tokenizer.from_pretrained(into, padding_side="right")
        return hugging_face(tokenizer, None, lambda t: t, count, seed)


def other(count: int, seed: int) -> list:
    return gemma(count, seed, "other", clean.whitespace)


# Of each family: what makes it, and how many lines are committed.
FAMILIES = {"openai": (openai, 10000), "roberta": (roberta, 2000), "xlmr": (xlmr, 1500), "siglip": (siglip, 1500), "bytes": (bytes_, 500),
            "bert": (bert, 2000), "cased": (cased, 500), "accents": (accents, 500), "gemma": (gemma, 2000), "other": (other, 1000), "nllb": (nllb, 1500), "mt5": (mt5, 1000), "siglip2": (siglip2, 1000)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", default=",".join(f for f in FAMILIES if f != "siglip2"))
    parser.add_argument("--count", type=int, help="lines of each family (the committed number by default)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=pathlib.Path, default=HERE / "goldens")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for seed, (family, (make, committed)) in enumerate(FAMILIES.items(), start=args.seed):
        if family not in args.families.split(","):
            continue
        out = io.StringIO()
        for row in make(args.count or committed, seed):
            out.write(json.dumps(row, separators=(",", ":")) + "\n")
        (args.out / f"{family}.jsonl.gz").write_bytes(gzip.compress(out.getvalue().encode(), mtime=0))


main()
