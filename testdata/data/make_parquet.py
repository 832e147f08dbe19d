"""Writes the Parquet files that TestParquetOfPyArrow reads, as Hugging Face's datasets write them (image is a group of
bytes and path) and as img2dataset does. Needs pyarrow 21.0.0 and Pillow.

    python testdata/data/make_parquet.py
"""
import io
import os

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

here = os.path.dirname(os.path.abspath(__file__))


def picture(value):
    out = io.BytesIO()
    Image.new("L", (2, 2), value).save(out, "PNG")
    return out.getvalue()


rows = range(7)
image = pa.array([{"bytes": picture(10 * i), "path": f"{i}.png"} for i in rows],
                 pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
lists = pa.array([[f"row {i}", f"the {i}th"] if i % 2 else [f"row {i}"] for i in rows], pa.list_(pa.string()))
pq.write_table(pa.table({"image": image, "caption": lists, "id": list(rows)}), os.path.join(here, "hub.parquet"),
               row_group_size=3, compression="snappy")
captions = pa.array(["zero", "one", None, "three", "four", "five", "six"])
raw = pa.array([picture(10 * i) if i != 3 else None for i in rows], pa.binary())
pq.write_table(pa.table({"jpg": raw, "caption": captions}), os.path.join(here, "bytes.parquet"), compression="zstd",
               data_page_version="2.0")
paths = pa.array([f"{i // 2}.png" for i in rows])
pq.write_table(pa.table({"image_path": paths, "text": captions}), os.path.join(here, "paths.parquet"), compression="gzip")
