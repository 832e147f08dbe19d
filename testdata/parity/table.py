"""The rows of run.py as a Markdown table."""

import importlib.metadata
import pathlib

HEAD = """| config | parameters | library | image features | text features | of the cut models | logits | closest pictures, texts |
|---|---|---|---|---|---|---|---|
"""


def line(row: dict) -> str:
    if "logits" not in row:
        return f"| {row['name']} | {row.get('parameters', 0):,} | {row.get('library', '')} | fails | | | | |"
    numbers = (row["image"], row["text"], max(row["cuts"].values()), row["logits"])
    return (f"| {row['name']} | {row['parameters']:,} | {row['library']} | " + " | ".join(f"{n:.1e}" for n in numbers)
            + f" | {row['closest_image']:.2f}, {row['closest_text']:.2f} |" + (" **fails**" if "error" in row else ""))


def versions() -> str:
    names = ("torch", "open_clip_torch", "timm", "transformers", "openai-clip", "numpy")
    return ", ".join(f"{name} {importlib.metadata.version(name).split('+')[0]}" for name in names)


def markdown(rows) -> str:
    return HEAD + "".join(line(row) + "\n" for row in rows) + f"\nMeasured with {versions()}.\n"


def write_into(page: pathlib.Path, text: str) -> None:
    before, rest = page.read_text().split("<!-- table -->\n")
    after = rest.split("<!-- end of table -->\n")[1]
    page.write_text(f"{before}<!-- table -->\n{text}<!-- end of table -->\n{after}")
