"""Trains the small vocabularies that the tokenizer's tests read, on seeded lines: RoBERTa's, T5's (SigLIP), XLM-R's, BERT's
(CLIPA), Gemma's (SigLIP 2) and NLLB's.

The published ones are too large to ship. These have the same files, the same special tokens and the same options.

transformers 4 is the last with RoBERTa's and T5's tokenizers in Python; it stands in an environment of its own:

  make build/venv-tokenizers    # transformers==4.57.3 tokenizers==0.22.2 sentencepiece==0.2.1 protobuf ftfy==6.3.1 regex
  build/venv-tokenizers/bin/python testdata/tokenizer/make_vocabularies.py [bert gemma]
"""

import collections
import gzip
import io
import itertools
import json
import pathlib
import sys
import tempfile
import unicodedata

import sentencepiece
from tokenizers import ByteLevelBPETokenizer
from transformers import BertTokenizerFast, GemmaTokenizerFast, NllbTokenizerFast, RobertaTokenizerFast, XLMRobertaTokenizerFast
from transformers.models.bert.tokenization_bert import BasicTokenizer

from clean import canonicalize, whitespace
from lines import lines, plain

HERE = pathlib.Path(__file__).parent


def write(path: pathlib.Path, data: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(data, mtime=0))


def roberta(out: pathlib.Path) -> None:
    out.mkdir(exist_ok=True)
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator((whitespace(t) for t in lines(20000, seed=1)), vocab_size=1999, min_frequency=2,
                                  special_tokens=["<s>", "<pad>", "</s>", "<unk>"], show_progress=False)
    tokenizer.save_model(str(out))
    vocabulary = json.loads((out / "vocab.json").read_text())
    vocabulary["<mask>"] = len(vocabulary)  # the last, as in RoBERTa's
    (out / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False, separators=(",", ":")))
    fast = RobertaTokenizerFast(str(out / "vocab.json"), str(out / "merges.txt"))
    write(out / "tokenizer.json.gz", fast.backend_tokenizer.to_str(pretty=False).encode())


def train(texts: list[str], size: int, model_type: str = "unigram", **options) -> bytes:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=model, vocab_size=size, model_type=model_type, num_threads=1,
        minloglevel=2, max_sentence_length=20000, character_coverage=0.995, self_test_sample_size=0, **options)
    return model.getvalue()


def siglip(out: pathlib.Path) -> None:
    texts = [canonicalize(t) or "a" for t in plain(8000, seed=2)]
    write(out / "spiece.model.gz", train(texts, 1200, pad_id=0, eos_id=1, unk_id=2, bos_id=-1))
    write(out / "bytes.model.gz", train(texts, 900, pad_id=0, eos_id=1, unk_id=2, bos_id=-1, byte_fallback=True,
                                        user_defined_symbols=["photo", "racing car", "🐶"], normalization_rule_name="identity"))


def rules(path: pathlib.Path) -> None:
    """Compatibility decompositions of three blocks, so that the table of the JSON file stays small."""
    with open(path, "w") as f:
        for c in [0x09, 0x0A, 0x0D, 0xA0, 0x3000, 0x2028, *range(0xB2, 0xBF), *range(0x2460, 0x2480), *range(0xFB00, 0xFB07), *range(0xFF01, 0xFF5F)]:
            to = unicodedata.normalize("NFKC", chr(c))
            to = " " if to.isspace() else to
            if to != chr(c):
                f.write(f"{c:X}\t{' '.join(f'{ord(t):X}' for t in to)}\n")
        f.write("200B\t20\n1100 1161\tAC00\nAD\t\n")


def xlmr(out: pathlib.Path) -> None:
    table = HERE / "rules.tsv"
    rules(table)
    texts = [whitespace(t) for t in plain(8000, seed=3)]
    model = train(texts, 1200, unk_id=0, bos_id=1, eos_id=2, pad_id=-1, normalization_rule_tsv=str(table))
    table.unlink()
    write(out / "sentencepiece.bpe.model.gz", model)
    path = out / "sentencepiece.bpe.model"
    path.write_bytes(model)
    converted = XLMRobertaTokenizerFast(str(path)).backend_tokenizer
    path.unlink()
    write(out / "tokenizer.json.gz", converted.to_str(pretty=False).encode())


def nllb(out: pathlib.Path) -> None:
    """NLLB's file: sentencepiece's byte-pair model, converted by transformers, which adds the languages."""
    table = HERE / "rules.tsv"
    rules(table)
    texts = [whitespace(t) for t in plain(8000, seed=6)]
    model = train(texts, 1200, "bpe", unk_id=0, bos_id=1, eos_id=2, pad_id=-1, normalization_rule_tsv=str(table))
    table.unlink()
    write(out / "sentencepiece.bpe.model.gz", model)
    path = out / "sentencepiece.bpe.model"
    path.write_bytes(model)
    converted = NllbTokenizerFast(str(path)).backend_tokenizer
    path.unlink()
    write(out / "tokenizer.json.gz", converted.to_str(pretty=False).encode())


def bert(out: pathlib.Path) -> None:
    """Letters, the most frequent words, and the most frequent ends and insides of words: the library's own training numbers
    letters in the order of a hash table, so that its pieces are others each time."""
    out.mkdir(exist_ok=True)
    texts = [whitespace(t) for t in plain(20000, seed=4)]
    words, cased = [collections.Counter(w for t in texts for w in BasicTokenizer(do_lower_case=lower).tokenize(t)) for lower in (True, False)]
    inner = collections.Counter()
    for word, count in words.items():
        for at, to in itertools.combinations(range(len(word) + 1), 2):
            inner[("##" if at else "") + word[at:to]] += count if to - at > 1 and (at or to < len(word)) else 0
    letters = sorted({c for w in (*words, *cased) for c in w})
    best = [p for counter, n in ((words, 500), (cased, 400), (inner, 900)) for p, _ in sorted(counter.items(), key=lambda t: (-t[1], t[0]))[:n]]
    pieces = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *("##" + c for c in letters), *best, "東京"]
    (out / "vocab.txt").write_text("\n".join(dict.fromkeys(pieces)) + "\n")
    fast = BertTokenizerFast(str(out / "vocab.txt"), do_lower_case=True)
    write(out / "tokenizer.json.gz", fast.backend_tokenizer.to_str(pretty=False).encode())


# What Gemma's vocabulary holds beside pieces: runs of line ends and of spaces, tags, and tokens of chats.
GEMMA_SYMBOLS = ["<mask>", "<unused0>", "<start_of_turn>", "<end_of_turn>", "\n\n", "\n\n\n", *("▁" * n for n in range(2, 8)), "<table>", "</table>"]


def gemma(out: pathlib.Path) -> None:
    """SigLIP 2's file, made as open_clip's SigLipTokenizer makes it: sentencepiece's model, converted by transformers. Then other.json,
    with what else such a file may say: a second normalizer, a pre-tokenizer, bytes that are missing, ignore_merges."""
    texts = [canonicalize(t) or "a" for t in plain(12000, seed=5)]
    model = train(texts, 2400, "bpe", pad_id=0, eos_id=1, bos_id=2, unk_id=3, pad_piece="<pad>", eos_piece="<eos>", bos_piece="<bos>",
                  byte_fallback=True, split_digits=True, allow_whitespace_only_pieces=True, add_dummy_prefix=False,
                  remove_extra_whitespaces=False, normalization_rule_name="identity", user_defined_symbols=GEMMA_SYMBOLS)
    with tempfile.NamedTemporaryFile(suffix=".model") as file:
        file.write(model)
        file.flush()
        fast = GemmaTokenizerFast(file.name, padding_side="right", add_bos_token=False, add_eos_token=True).backend_tokenizer
    whole = json.loads(fast.to_str())
    write(out / "tokenizer.json.gz", json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode())

    pieces = sorted(whole["model"]["vocab"], key=whole["model"]["vocab"].get)
    kept = [p for i, p in enumerate(pieces) if (i < 900 or len(p) == 1) and p not in ("<0xD0>", "<0xF0>")]
    kept = {p: i for i, p in enumerate(kept)}
    other = whole | {"added_tokens": [], "normalizer": {"type": "Sequence", "normalizers": [
        {"type": "Lowercase"}, {"type": "Replace", "pattern": {"String": "-"}, "content": " "}]},
        "pre_tokenizer": {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}}
    for piece in ["a ", "the ", "don't ", "racing car", "dog", "КИЇВ", "ʼn"]:
        kept.setdefault(piece, len(kept))
    other["model"] = whole["model"] | {"vocab": kept, "merges": [m for m in whole["model"]["merges"] if all(p in kept for p in (*m, "".join(m)))],
                                       "ignore_merges": True, "fuse_unk": False}
    added = {"<pad>": {}, "<eos>": {}, "<bos>": {"lstrip": True, "rstrip": True}, "<unk>": {}, "<Mask>": {"normalized": True, "special": False}, "\n\n": {"special": False}}
    for piece, options in added.items():
        other["added_tokens"].append({"id": kept.setdefault(piece, len(kept)), "content": piece, "single_word": False, "lstrip": False,
                                      "rstrip": False, "normalized": False, "special": True} | options)
    write(out / "other.json.gz", json.dumps(other, ensure_ascii=False, separators=(",", ":")).encode())


FAMILIES = {"roberta": roberta, "siglip": siglip, "xlmr": xlmr, "bert": bert, "gemma": gemma, "nllb": nllb}
for family in sys.argv[1:] or FAMILIES:
    FAMILIES[family](HERE / family)
