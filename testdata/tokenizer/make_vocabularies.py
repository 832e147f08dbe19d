"""Trains the small vocabularies that the tokenizer's tests read, on seeded lines: RoBERTa's, T5's (SigLIP) and XLM-R's.

The published ones are too large to ship. These have the same files, the same special tokens and the same options.

transformers 4 is the last with RoBERTa's and T5's tokenizers in Python; it stands in an environment of its own:

  make build/venv-tokenizers    # transformers==4.57.3 tokenizers==0.22.2 sentencepiece==0.2.1 protobuf ftfy==6.3.1 regex
  build/venv-tokenizers/bin/python testdata/tokenizer/make_vocabularies.py
"""

import gzip
import io
import json
import pathlib
import unicodedata

import sentencepiece
from tokenizers import ByteLevelBPETokenizer
from transformers import RobertaTokenizerFast, XLMRobertaTokenizerFast

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


def train(texts: list[str], size: int, **options) -> bytes:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=model, vocab_size=size, model_type="unigram", num_threads=1,
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


roberta(HERE / "roberta")
siglip(HERE / "siglip")
xlmr(HERE / "xlmr")
