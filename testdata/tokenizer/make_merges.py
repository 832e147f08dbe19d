"""Writes clip/tokenizer/merges.bin: the merges of OpenAI's vocabulary by the ids of the two sides, little-endian, two bytes each.

A program then builds its tokenizer in 6 ms instead of 27: it neither unpacks the text nor looks up 98,000 strings.

  python3 testdata/tokenizer/make_merges.py clip/tokenizer/bpe_simple_vocab_16e6.txt.gz clip/tokenizer/merges.bin
"""

import array
import gzip
import sys

MERGES = 49152 - 256 - 2  # of the file's, as openai/CLIP clip/simple_tokenizer.py takes them


def letters() -> list[str]:
    """The letters of the 256 bytes in the vocabulary's order (bytes_to_unicode)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return [chr(b) for b in printable] + [chr(256 + i) for i in range(256 - len(printable))]


def main() -> None:
    merges = [tuple(line.split()) for line in gzip.open(sys.argv[1]).read().decode().split("\n")[1 : MERGES + 1]]
    pieces = letters() + [letter + "</w>" for letter in letters()] + ["".join(m) for m in merges]
    ids = {piece: i for i, piece in enumerate(pieces)}
    out = array.array("H", [ids[side] for merge in merges for side in merge])
    if sys.byteorder == "big":
        out.byteswap()
    with open(sys.argv[2], "wb") as f:
        out.tofile(f)


if __name__ == "__main__":
    main()
