"""Writes specials.json: texts in which special tokens stand, with the ids of the original libraries, which TestSpecials of
clip/tokenizer reads. Needs openai-clip 1.0.1, open_clip_torch 3.3.0, tokenizers 0.23.3 and sentencepiece
0.2.1.

    python testdata/tokenizer/make_specials.py

openai and open_clip are their own tokenizers' ids. The others are those of the tokenizers library by the files beside this
one, with special tokens as tokens and as text (encode_special_tokens, which is transformers' split_special_tokens). XLM-R's
as text are the sentencepiece library's, one higher as transformers numbers them: in the tokenizers library </s> is a piece
of text as well.
"""
import gzip
import json
import pathlib

import clip.simple_tokenizer
import open_clip.tokenizer
from sentencepiece import SentencePieceProcessor
from tokenizers import Tokenizer

HERE = pathlib.Path(__file__).parent
TOKENS = ["<|startoftext|>", "<|endoftext|>", "<start_of_text>", "<end_of_text>", "<s>", "</s>", "<pad>", "<unk>", "<mask>",
          "[CLS]", "[SEP]", "[PAD]", "[UNK]", "[MASK]", "<eos>", "<bos>", "<end_of_turn>"]
TEXTS = [form.format(t) for t in TOKENS for form in ("{}", "a dog {}", "{} a dog", "a{}dog", "{0}{0}", "a dog. {} a cat's tail")]
FILES = {"roberta": "roberta/tokenizer.json.gz", "xlmr": "xlmr/tokenizer.json.gz", "bert": "bert/tokenizer.json.gz", "gemma": "gemma/tokenizer.json.gz"}


def main():
    out = {"texts": TEXTS, "openai": [clip.simple_tokenizer.SimpleTokenizer().encode(t) for t in TEXTS],
           "open_clip": [open_clip.tokenizer.SimpleTokenizer().encode(t) for t in TEXTS]}
    for family, file in FILES.items():
        tokenizer = Tokenizer.from_str(gzip.decompress((HERE / file).read_bytes()).decode())
        tokenizer.no_truncation()
        tokenizer.no_padding()
        for name, plain in ((family, False), (family + " plain", True)):
            tokenizer.encode_special_tokens = plain
            out[name] = [tokenizer.encode(t, add_special_tokens=False).ids for t in TEXTS]
    pieces = SentencePieceProcessor(model_proto=gzip.decompress((HERE / "xlmr" / "sentencepiece.bpe.model.gz").read_bytes()))
    out["xlmr plain"] = [[i + 1 if i else 3 for i in pieces.encode(t)] for t in TEXTS]
    (HERE / "specials.json").write_text("{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v, separators=(',', ':'))}" for k, v in out.items()) + "\n}\n")


main()
