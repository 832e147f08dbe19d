"""Every full-size config and format, one at a time: its own library's numbers, goclip's, a row in build/parity/rows.jsonl.

  pip install torch==2.11.0 torchvision==0.26.0 open_clip_torch==3.3.0 timm==1.0.31 transformers==5.24.0 openai-clip==1.0.1 safetensors numpy
  go test -tags parity -c -o build/parity/parity.test ./clip
  python testdata/parity/run.py [--split] [--resume] [--write-doc] [--out build/parity] [NAME ...]

Exits with 1 if a row fails. --split compares with split products, too (docs/performance.md), on a model of AMX where the processor has
none, which takes a minute for a base model. --resume keeps the rows of an interrupted run that passed; --write-doc puts the rows into
docs/internals/parity.md, where those of other names stay; --out is where parity.test lies and the rows go. Each model is deleted after
its comparison: 5 GB of disk and 11 GB of memory are enough.
"""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys

import table

ROOT = pathlib.Path(__file__).parents[2]
NAMES = """
ViT-S-32-alt ViT-S-16-alt ViT-S-32 ViT-S-16 ViT-M-32-alt ViT-M-16-alt ViT-M-32 ViT-M-16
ViT-B-32 ViT-B-32-quickgelu ViT-B-16 ViT-B-32-plus-256 ViT-B-16-plus-240
RN50 RN101 RN50x4 roberta-ViT-B-32 vit_b_32-roberta-base xlm-roberta-base-ViT-B-32 ViT-B-16-SigLIP
convnext_base_w EVA02-B-16 PE-Core-B-16 MobileCLIP-S1 MobileCLIP-B MobileCLIP2-S0 MobileCLIP2-S3 ViTamin-S ViTamin-B
swin_base_patch4_window7_224 vit_medium_patch16_gap_256 vit_relpos_medium_patch16_cls_224 coca_ViT-B-32 nllb-clip-base mt5-base-ViT-B-32
openai:RN50-quickgelu openai:ViT-B-32-quickgelu
ViT-L-14 ViT-L-14-quickgelu ViT-L-14-CLIPA RN50x16 ViT-L-14-336 RN50x64 xlm-roberta-large-ViT-H-14
hf:ViT-B-32 hf:ViT-L-14 hf-bin:ViT-B-32 hf:MetaCLIP-2-B-32 hf:ViT-B-16-SigLIP hf:ViT-B-16-SigLIP2
hf:SigLIP2-NaFlex-B-16 hf:ChineseCLIP-B-16 hf:AltCLIP-L-14 hf:CLIPSeg-B-16
openai-jit:ViT-B-32 openai-jit:RN50 pt:ViT-B-32 legacy:ViT-B-32 bin:ViT-B-32
torchvision+roberta resized:ViT-B-16 resized-text:ViT-B-16
""".split()


def compare(name: str, out: pathlib.Path, split: bool) -> dict:
    """The row of one name, with an error if anything fails."""
    directory = out / name.replace(":", "-")
    shutil.rmtree(directory, ignore_errors=True)
    row = {"name": name}
    try:
        steps = ([sys.executable, pathlib.Path(__file__).with_name("reference.py"), name, directory],
                 [out / "parity.test", "-test.run", "^TestParityFull$", "-test.timeout", "30m"])
        for command in steps:
            environment = os.environ | {"GOCLIP_PARITY": str(directory)} | ({"GOCLIP_PARITY_SPLIT": "1"} if split else {})
            done = subprocess.run(command, cwd=ROOT / "clip", env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            if done.returncode:
                row["error"] = done.stdout[-3000:]
                break
        facts = [json.loads(file.read_text()) for file in (directory / "reference.json", directory / "row.json") if file.exists()]
        if len({f["parameters"] for f in facts}) > 1:
            row["error"] = f"the library has {facts[0]['parameters']} parameters, goclip {facts[1]['parameters']}"
        for f in facts:
            row |= f
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return row


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--split", action="store_true")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--write-doc", action="store_true")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "build" / "parity")
    parser.add_argument("names", nargs="*", default=NAMES)
    args = parser.parse_args()
    out = args.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    file = out / "rows.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()] if args.resume and file.exists() else []
    rows = {row["name"]: row for row in rows if "error" not in row}
    file.write_text("".join(json.dumps(row) + "\n" for row in rows.values()))
    for name in args.names:
        if name not in rows:
            rows[name] = row = compare(name, out, args.split)
            with file.open("a") as f:
                f.write(json.dumps(row) + "\n")
            print(table.line(row), row.get("error", ""), flush=True)
    rows = {name: rows[name] for name in dict.fromkeys([*NAMES, *rows]) if name in rows}
    if args.write_doc:
        table.write_into(ROOT / "docs" / "internals" / "parity.md", rows, NAMES)
    text = table.markdown(table.line(row) for row in rows.values())
    (out / "table.md").write_text(text)
    print(text)
    failed = [name for name, row in rows.items() if "error" in row]
    print(f"{len(rows) - len(failed)} of {len(rows)} rows agree" + (f"; these do not: {', '.join(failed)}" if failed else ""))
    return bool(failed)


sys.exit(main())
