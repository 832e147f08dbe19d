"""Reads the parts that `infer embed` wrote with NumPy and pyarrow, as docs/embed.md shows it, and prints what is in them as
JSON; TestEmbedPyArrow in cmd/infer compares that.

    python testdata/embed/read_parts.py PARTS
"""

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

parts = Path(sys.argv[1])
table = pq.read_table(parts / "metadata")  # all files of the directory, in the order of their names
out = {"types": {f.name: str(f.type) for f in table.schema}, "metadata": table.to_pylist()}
for kind in ("img_emb", "text_emb"):
    files = sorted((parts / kind).glob("*.npy"))
    if files:
        rows = np.concatenate([np.load(f, mmap_mode="r") for f in files])
        assert len(rows) == len(table), (kind, len(rows), len(table))
        out[kind] = {"dtype": str(rows.dtype), "rows": rows.astype(float).tolist()}
json.dump(out, sys.stdout)
