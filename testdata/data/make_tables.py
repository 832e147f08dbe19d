"""Writes what pandas' C parser and open_clip make of small tables, which TestAsPandas reads: pandas_tables.json, a list of
tables as latin-1 text with their rows of texts, or with why pandas refuses them, and with the images and captions of
open_clip_train's CsvDataset. Needs pandas 3.1.1 and open_clip_torch 3.3.0.

    python testdata/data/make_tables.py
"""
import io
import json
import os
import random
import re

import pandas as pd
from open_clip_train.data import CsvDataset

here = os.path.dirname(os.path.abspath(__file__))
H = b"f\tt\n"


def read(table, sep):
    try:
        rows = pd.read_csv(io.BytesIO(table), sep=sep, dtype=str, keep_default_na=False)
    except pd.errors.ParserError as error:
        return {"error": str(error).strip().split("C error: ")[-1]}
    except UnicodeDecodeError as error:
        return {"error": error.reason}
    except pd.errors.EmptyDataError as error:
        return {"error": str(error)}
    if not isinstance(rows.index, pd.RangeIndex):  # a first row that is longer than the header makes an index
        return {"error": "index"}
    return {"rows": rows.values.tolist()}


def open_clip(table, sep):
    """What CsvDataset opens and tokenizes. pandas guesses the columns' types for it."""
    try:
        rows = CsvDataset(io.BytesIO(table), None, "f", "t", sep)
    except Exception:
        return {}
    return {"open_clip": [[str(image), str(caption)] for image, caption in zip(rows.images, rows.captions)]}


def typed():
    """Captions that are numbers, or nothing, to pandas."""
    for captions in [["007", "12"], ["1e3", "2"], ["1.50", "3"], ["NA", "a dog"], ["null", "None"], ["", "a cat"], ["True", "False"],
                     ["2024-05-01", "x"], ["nan", "inf"], ["1,5", "2"], [" 7", "8"], ["0x1F", "2"], ["5 dogs", "6"], ["N/A", "n/a"]]:
        yield H + "".join(f"{i}.png\t{c}\n" for i, c in enumerate(captions)).encode()


def cases():
    for table in typed():
        yield table, "\t"
    for text, encoding in [("f\tt\na\tcaf\u00e9 \uace0\uc591\uc774\n", "utf-16"), ("f\tt\na\tcaf\u00e9\n", "utf-16-le"), ("f\tt\na\tcaf\u00e9\n", "utf-16-be"),
                           ("f\tt\na\tcaf\u00e9\n", "cp1252"), ("f\tt\na\t\uace0\uc591\uc774\n", "euc-kr"), ("f,t\na,b\n", "utf-16")]:
        yield text.encode(encoding), "," if "," in text else "\t"
    for body in [
            b'a\t"red" is its colour\nb\tx\n', b'a\t"blue" whale\nb\tx\n"c" d\ty\n', b'a\t"open\nb\tx\n', b'a\tx\rb\ty\r\nc\tz',
            b'\n  \n\n a\t x \n\t\nb\n', b'a\tb\tc\nd\te\n', b'a\tb\nc\td\te\n', b'a\t5" pipe\nb\t""\nc\t"a""b"c"d\n',
            b'a\t"x\ny"\n', b'a\t"x\r\ny"z\r\n', b'a\t"x\ry"z\r\n', b'"a"\t"b"\n"c" \t d\n', b'a\t"', b'a\t"x"', b'a\tx\r', b'a\tx\r\r\nb\ty',
            b'a\t\n', b'a\tb\t\n', b' "a"\t "b"\n', b'a\t\xff\n', b'\r\na\tb', b'   a\tb\n', b'\xc2\xa0\t\xe2\x80\xa8x\n', b'a\tb\n#c\td\n',
            b'a\r\tb\n', b'a\tb\r\tc\r', b' \r\nb\tc', b'\t \n', b'', b'a', b'"a\tb"\tc', b'a\tcaf\xc3\xa9 \xed\x95\x9c\xea\xb8\x80 \xf0\x9f\x90\xb6\n']:
        yield H + body, "\t"
    for table in [b'\xef\xbb\xbf"f","t"\n"a","b, c"\n', b'\xef\xbb\xbff,t\na,5" pipe\n', b'f,t\na,"b ""c"""\n', b"\nf,t\na,b\n", b"  \nf,t\na,b\n", b"f,t", b""]:
        yield table, ","
    draw = random.Random(7)
    for _ in range(600):
        table = H + "".join(draw.choices('ab"\t\n\r ,', (4, 2, 5, 4, 3, 1, 2, 1), k=draw.randint(1, 24))).encode()
        if not re.search(rb"[\n\r] *\r\t", table):  # pandas loses a separator after an empty line that ends with \r alone
            yield table, "\t"


with open(os.path.join(here, "pandas_tables.json"), "w") as out:
    lines = [json.dumps({"table": table.decode("latin-1"), "sep": sep, **read(table, sep), **open_clip(table, sep)}) for table, sep in cases()]
    out.write("[\n" + ",\n".join(lines) + "\n]\n")
