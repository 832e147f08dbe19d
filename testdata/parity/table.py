"""The rows of run.py as a Markdown table."""

import importlib.metadata
import pathlib
import re
import sys

HEAD = """| config | parameters | library | images | texts | cut models | split | logits | closest |
|---|---|---|---|---|---|---|---|---|
"""


def short(difference: float | None) -> str:
    """A difference with two digits: 1.3e-7, 0 or, where nothing was compared, -."""
    return "-" if difference is None else "0" if difference == 0 else re.sub(r"e-0", "e-", f"{difference:.1e}")


def line(row: dict) -> str:
    if "logits" not in row:
        return f"| {row['name']} | {row.get('parameters', 0) / 1e6:.0f}M | {row.get('library', '')} | fails | | | | | |"
    numbers = (row["image"], row["text"], max(row["cuts"].values(), default=None), row.get("split"), row["logits"])
    return (f"| {row['name']} | {row['parameters'] / 1e6:.0f}M | {row['library']} | " + " | ".join(map(short, numbers))
            + f" | {row['closest_image']:.2f} {row['closest_text']:.2f} |" + (" **fails**" if "error" in row else ""))


def versions() -> str:
    names = ("torch", "torchvision", "open_clip_torch", "timm", "transformers", "openai-clip", "numpy")
    return ",\n".join(", ".join(f"{name} {importlib.metadata.version(name).split('+')[0]}" for name in part) for part in (names[:4], names[4:]))


def markdown(lines) -> str:
    return HEAD + "".join(line + "\n" for line in lines) + f"\nMeasured with {versions()}.\n"


def write_into(page: pathlib.Path, rows: dict, order: list) -> None:
    """Puts the rows into the page's table in the given order; those of the page that were not measured anew stay."""
    before, rest = page.read_text().split("<!-- table -->\n")
    table, after = rest.split("<!-- end of table -->\n")
    if versions() not in table:
        sys.exit(f"{page} was measured with other versions than {versions()}: measure every row, and empty the table first")
    lines = {cells.split(" | ")[0].removeprefix("| "): cells for cells in table.removeprefix(HEAD).splitlines() if cells.startswith("|")}
    lines |= {name: line(row) for name, row in rows.items()}
    text = markdown(lines[name] for name in dict.fromkeys([*order, *lines]) if name in lines)
    page.write_text(f"{before}<!-- table -->\n{text}<!-- end of table -->\n{after}")
