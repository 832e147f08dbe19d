#!/usr/bin/env python3
"""Trains with open_clip's own program and with goclip, option by option, and compares every step's loss.

  train.py [--steps 300] [--batch 8] [--resume] [--drift] [-- ROW ...]

Both begin with the same weights and see the same pictures in the same order (no shuffling, no random crop). open_clip runs
as open_clip_train.main; only its data loader is put in order and its losses are listened to. A row holds open_clip's flags and
goclip's; where nothing stands for goclip they are the same. The table is what docs/internals/parity.md holds.

Rounding differences grow from step to step, and how far depends on the flags and on the processor. --drift shows how far
open_clip then differs from itself, from weights of which each is the next float32 above or below; no bound depends on
it. Rows are kept in build/train-parity/rows.jsonl; --resume takes those that are there.
"""

import argparse
import csv
import json
import logging
import math
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile

import open_clip as open_clip_library
import torch
from safetensors.torch import load_file, save_file

ROOT = pathlib.Path(__file__).resolve().parents[2]
WORK = ROOT / "build" / "train-parity"
MODEL = "ViT-S-32-alt"
SMALL = "ViT-S-32-alt-small"
TEACHER = WORK / "teacher"
DONE = WORK / "rows.jsonl"

# name: (open_clip's flags, goclip's flags or None where they are the same, the bound on a step's relative difference)
ROWS = {
    "plain": ("", None, 1e-3),
    "--grad-clip-norm 1": ("--grad-clip-norm 1", None, 1e-3),
    "--wd, --beta1, --beta2, --eps": ("--wd 0.05 --beta1 0.8 --beta2 0.95 --eps 1e-8", None, 1e-3),
    "--lr-scheduler const": ("--lr-scheduler const", None, 1e-3),
    "--lr-scheduler const-cooldown": ("--lr-scheduler const-cooldown --epochs-cooldown 1 --lr-cooldown-end 1e-5 --lr-cooldown-power 0.5", None, 1e-3),
    "--skip-scheduler": ("--skip-scheduler", None, 1e-3),
    "--accum-freq 4": ("--accum-freq 4 --batch-size 2", None, 1e-3),
    "--siglip": ("--siglip", None, 1e-3),
    "--siglip --accum-freq 4": ("--siglip --accum-freq 4 --batch-size 2", None, 1e-3),
    "--grad-checkpointing": ("--grad-checkpointing", None, 1e-3),
    "--lock-image": ("--lock-image", None, 1e-3),
    "--lock-image-unlocked-groups 3": ("--lock-image --lock-image-unlocked-groups 3", None, 1e-3),
    "--lock-text-unlocked-layers 3": ("--lock-text --lock-text-unlocked-layers 3 --lock-text-freeze-layer-norm", None, 1e-3),
    "--force-quick-gelu": ("--force-quick-gelu", None, 1e-3),
    # open_clip gives its teacher neither --force-image-size nor --force-context-length: it has these sizes of its own.
    "--distill-model": ("--distill-model {small} --distill-pretrained {teacher}", "--distill-model {directory}", 1e-3),
    "--precision amp_bf16": ("--precision amp_bf16", None, None),
    "--precision pure_bf16": ("--precision pure_bf16", None, None),
    "224 pixels": ("", None, 1e-3),
}


def data() -> None:
    """Pictures and captions of the shard that the repository ships, as files and a table."""
    folder = WORK / "pictures"
    if (WORK / "train.csv").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    with tarfile.open(ROOT / "data" / "emoji-demo.tar") as tar:
        for member in tar:
            (folder / member.name).write_bytes(tar.extractfile(member).read())
            if member.name.endswith(".png"):
                rows.append(folder / member.name)
    for name, part in (("train", rows[:800]), ("val", rows[800:1000])):
        with open(WORK / f"{name}.csv", "w", newline="") as f:
            out = csv.writer(f, delimiter="\t")
            out.writerow(["filepath", "title"])
            out.writerows([str(p), p.with_suffix(".txt").read_text().strip()] for p in part)


def small_teacher() -> str:
    """The config of a teacher for pictures of 64 pixels and texts of 32 tokens, known to open_clip by its name, to goclip as a directory."""
    config = open_clip_library.get_model_config(MODEL)
    config["vision_cfg"]["image_size"], config["text_cfg"]["context_length"] = 64, 32
    path = WORK / f"{SMALL}.json"
    path.write_text(json.dumps(config))
    open_clip_library.add_model_config(path)
    TEACHER.mkdir(exist_ok=True)
    shutil.copy(weights(2, SMALL), TEACHER / "open_clip_model.safetensors")
    (TEACHER / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    return SMALL


def weights(seed: int, name: str = MODEL) -> pathlib.Path:
    """A model as open_clip draws it."""
    out = WORK / f"weights-{name}-{seed}.safetensors"
    if not out.exists():
        torch.manual_seed(seed)
        model = open_clip_library.create_model(name)
        save_file({key: t.contiguous() for key, t in model.state_dict().items()}, out)
    return out


def moved() -> pathlib.Path:
    """The weights that the runs begin with, each moved to the next float32 above or below."""
    out = WORK / f"weights-{MODEL}-1-moved.safetensors"
    if not out.exists():
        state, draw = load_file(weights(1)), torch.Generator().manual_seed(0)
        for key, t in state.items():
            towards = torch.where(torch.rand(t.shape, generator=draw) < 0.5, -torch.inf, torch.inf)
            state[key] = torch.nextafter(t, towards)
        save_file(state, out)
    return out


def logs(row: str) -> pathlib.Path:
    return WORK / "logs" / re.sub(r"[^a-z0-9]+", "-", row).strip("-")


def flags(row: str, extra: str, o, start: pathlib.Path | None = None) -> list[str]:
    """What both programs understand."""
    epochs = -(-o.steps * o.batch // 800)
    # A small picture and a short text take the time out of all but two rows, and nothing from what the others show.
    size = {"224 pixels": [], "plain": ["--force-image-size", "64"]}.get(row, ["--force-image-size", "64", "--force-context-length", "32"])
    extra = extra.format(small=small_teacher() if "{small}" in extra else "", teacher=weights(2, SMALL) if "{small}" in extra else "", directory=TEACHER)
    common = f"--model {MODEL} --pretrained {start or weights(1)} --train-data {WORK}/train.csv --val-data {WORK}/val.csv --lr 1e-4 --warmup 20 " \
        f"--epochs {epochs} --batch-size {o.batch} --precision fp32 --workers 1 --val-frequency {epochs} --save-frequency 0 " \
        f"--logs {logs(row)} --beta1 0.9 --beta2 0.98 --eps 1e-6 --wd 0.2"
    # What a row names takes the place of the common value.
    words, named = common.split(), extra.split()
    for i in range(0, len(words), 2):
        if words[i] not in named:
            named += words[i:i + 2]
    return named + size


def open_clip(row: str, extra: str, o, name: str = "open_clip", start: pathlib.Path | None = None) -> tuple[list[float], dict]:
    import open_clip_train.data
    import open_clip_train.main as program

    losses, accum = [], 1
    args = flags(row, extra, o, start)
    if "--accum-freq" in args:
        accum = int(args[args.index("--accum-freq") + 1])

    class InOrder(torch.utils.data.DataLoader):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **{**kwargs, "shuffle": False, "pin_memory": False})

    create = program.create_loss

    def listening(options):
        inner = create(options)
        calls = []

        def loss(*args, **kwargs):
            out = inner(*args, **kwargs)
            calls.append(sum(out.values()).item())
            if len(calls) % accum == 0:
                losses.append(calls[-1])
            return out
        return loss

    logging.getLogger().handlers.clear()  # each run adds its own
    was = open_clip_train.data.DataLoader
    open_clip_train.data.DataLoader, program.create_loss = InOrder, listening
    try:
        program.main(args + ["--name", name, "--aug-cfg", "scale=(1.0,1.0)", "ratio=(1.0,1.0)"])
    finally:
        open_clip_train.data.DataLoader, program.create_loss = was, create
    return losses, last_result(row, name)


def goclip(row: str, extra: str, o) -> tuple[list[float], dict]:
    args = flags(row, extra, o) + ["--name", "goclip", "--no-shuffle", "--aug-cfg", "scale=[1,1] ratio=[1,1]", "--threads", str(o.threads), "--csv-separator", "\\t"]
    done = subprocess.run([ROOT / "bin/train", *args], stderr=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"{row}: goclip ended with status {done.returncode}:\n{done.stderr[-2000:]}")
    lines = (logs(row) / "goclip/metrics.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines][:o.steps], last_result(row, "goclip")


def last_result(row: str, name: str) -> dict:
    path = logs(row) / name
    path = path / "results.jsonl" if (path / "results.jsonl").exists() else path / "checkpoints" / "results.jsonl"
    return json.loads(path.read_text().splitlines()[-1]) if path.exists() else {}


def difference(a: list[float], b: list[float]) -> tuple[float, int]:
    """The largest relative difference of two runs' losses, and the step that has it; infinite if one has fewer steps."""
    if len(a) != len(b) or not a:
        return math.inf, min(len(a), len(b)) + 1
    each = [abs(x - y) / abs(x) for x, y in zip(a, b)]
    worst = max(range(len(each)), key=lambda i: each[i])
    return each[worst], worst + 1


def run(row: str, o) -> dict:
    theirs, ours, bound = ROWS[row]
    shutil.rmtree(logs(row), ignore_errors=True)
    want, want_metrics = open_clip(row, theirs, o)
    got, got_metrics = goclip(row, ours or theirs, o)
    out = {"row": row, "steps": o.steps, "batch": o.batch, "threads": o.threads, "first": want[0], "last": want[-1], "drift": None}
    out["recalls"] = [" ".join(f"{m.get(f'text_to_image_R@{k}', float('nan')):.3f}" for k in (1, 5, 10)) for m in (want_metrics, got_metrics)]
    out["difference"], out["step"] = difference(want, got)
    out["agrees"] = bound is None or out["difference"] <= bound and out["recalls"][0] == out["recalls"][1]
    if o.drift:
        again, _ = open_clip(row, theirs, o, "drift", moved())
        out["drift"] = difference(want, again)[0]
    with open(DONE, "a") as f:
        f.write(json.dumps(out) + "\n")
    return out


def power(x: float | None) -> str:
    return "-" if x is None else re.sub("e-0", "e-", f"{x:.1e}")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=300, help="a multiple of 800 / batch")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--resume", action="store_true", help="take the rows that an earlier call of the same size has finished")
    parser.add_argument("--drift", action="store_true", help="also measure open_clip's own drift")
    parser.add_argument("rows", nargs="*")
    o = parser.parse_args()
    torch.set_num_threads(o.threads)
    data()
    done = {}
    if o.resume and DONE.exists():
        for line in map(json.loads, DONE.read_text().splitlines()):
            if (line["steps"], line["batch"], line["threads"]) == (o.steps, o.batch, o.threads):
                done[line["row"]] = line
    failed = 0
    print(f"| option, {o.steps} steps of {o.batch} | first | last | difference | at step | drift | recalls: open_clip | goclip |\n|---|---|---|---|---|---|---|---|", flush=True)
    for row in o.rows or ROWS:
        r = done.get(row) or run(row, o)
        failed += not r["agrees"]
        theirs, ours = r["recalls"]
        print(f"| {row} | {r['first']:.3f} | {r['last']:.3f} | {power(r['difference'])}{'' if r['agrees'] else ' TOO LARGE'} | {r['step']} | {power(r['drift'])} | {theirs} | {ours if ours != theirs else 'equal'} |", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
