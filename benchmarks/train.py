"""Training samples a second of bin/train and of open_clip's classes in open_clip's loop: same data, weights and machine.

    go build -o bin/ ./cmd/... && build/venv/bin/python benchmarks/train.py [--rounds 3] [--steps 8]

Trains three models on data/openmoji-eval-*.tar, in the order of the files, without augmentation, on two threads, in float32 and
with bfloat16 products (amp_bf16).
The two sides take turns in each round; a figure is the median over all rounds of a step's time, the wait for its data
included, without the first two of each run. Both losses are printed, step by step: they agree, so both did the same work.
The loop is that of open_clip_train/train.py (zero_grad, forward, ClipLoss, backward, clip, step, clamp) with its
optimiser's groups; only its data loader with worker processes is left out, and pictures are decoded before the clock runs.

MFU is the share of the processor's peak, in float32's or in bfloat16's arithmetic, which is measured between the runs (machine.py)
and of which the best counts. "as open_clip computes it" counts all 77 tokens of a text and whole blocks, for both sides; "as computed" counts for goclip what it does.
Memory is the most that a side's process had in RAM, in a run of its own.
"""
import argparse
import itertools
import json
import math
import multiprocessing
import os
import pathlib
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

import machine
import numpy as np
import open_clip
import torch
from open_clip.loss import ClipLoss
from open_clip.transform import AugmentationCfg, image_transform
from safetensors.torch import load_file

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks" / "baseline"))
import samples  # noqa: E402

DATA = ROOT / "data" / "openmoji-eval-*.tar"
WORK = (("ViT-B-32", 32), ("ViT-S-32-alt", 32), ("emoji-64", 256))
LR, WARM, THREADS = 1e-4, 2, 2


def goclip(model: pathlib.Path, batch: int, steps: int, precision: str) -> list[dict]:
    """The steps, each with the operations that goclip counts and the process's peak memory."""
    with tempfile.TemporaryDirectory() as logs:
        process = subprocess.Popen([ROOT / "bin" / "train", "--model", model, "--train-data", DATA, "--batch-size", str(batch), "--max-steps", str(steps),
                        "--no-shuffle", "--aug-cfg", "scale=[1,1] ratio=[1,1]", "--force-patch-dropout", "0", "--precision", precision, "--device", "cpu",
                        "--lr", str(LR), "--lr-scheduler", "const", "--warmup", "0", "--grad-clip-norm", "1", "--threads", str(THREADS),
                        "--workers", str(THREADS), "--save-frequency", "0", "--logs", logs, "--name", "run"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        if status != 0:
            raise SystemExit(f"bin/train ended with {os.waitstatus_to_exitcode(status)}")
        run = pathlib.Path(logs) / "run"
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        flops = float(re.search(r"([\d.e+-]+) TFLOP in", (run / "out.log").read_text())[1]) * 1e12 / len(rows)
        return [row | {"flops": flops, "memory": usage.ru_maxrss * 1024} for row in rows]


def peer(directory: pathlib.Path, batch: int, steps: int, precision: str) -> list[dict]:
    """The same of open_clip, in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(peer_steps, (directory, batch, steps, precision))


def peer_steps(directory: pathlib.Path, batch: int, steps: int, precision: str) -> list[dict]:
    torch.set_num_threads(THREADS)
    config = json.loads((directory / "open_clip_config.json").read_text())["model_cfg"]
    config["vision_cfg"]["patch_dropout"] = 0.0
    model = open_clip.CLIP(**config)
    model.load_state_dict(load_file(directory / "open_clip_model.safetensors"))
    augment = image_transform(config["vision_cfg"]["image_size"], is_train=True, aug_cfg=AugmentationCfg(scale=(1.0, 1.0)))
    data = samples.load(str(DATA))
    tokens = open_clip.SimpleTokenizer(context_length=config["text_cfg"]["context_length"])([s.text for s in data])
    named = list(model.named_parameters())
    excluded = lambda n, p: p.ndim < 2 or "bn" in n or "ln" in n or "bias" in n or "logit_scale" in n  # noqa: E731
    optimizer = torch.optim.AdamW([{"params": [p for n, p in named if excluded(n, p)], "weight_decay": 0.0},
                                   {"params": [p for n, p in named if not excluded(n, p)], "weight_decay": 0.2}], lr=LR, betas=(0.9, 0.98), eps=1e-6)
    loss_fn, out = ClipLoss(), []
    model.train()
    with ThreadPoolExecutor(THREADS) as pool:
        for step, at in enumerate(itertools.islice(itertools.cycle(range(len(data) // batch)), steps)):
            began = time.perf_counter()
            rows = range(at * batch, (at + 1) * batch)
            images = torch.stack(list(pool.map(lambda i: augment(data[i].image), rows)))
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "amp_bf16"):
                loss = loss_fn(*model(images, tokens[rows.start:rows.stop]))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0, norm_type=2.0)
            optimizer.step()
            with torch.no_grad():
                model.logit_scale.clamp_(0, math.log(100))
            out.append({"step": step + 1, "loss": loss.item(), "step_time": time.perf_counter() - began})
    return [row | {"memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024} for row in out]


def peak(precision: str) -> float:
    return machine.peak_of(precision, machine.peaks(THREADS)) * 1e9


def seconds(runs: list[list[dict]]) -> float:
    return statistics.median(row["step_time"] for run in runs for row in run[WARM:])


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--steps", type=int, default=8, help="of a run")
    ap.add_argument("--precision", nargs="*", default=["fp32", "amp_bf16"])
    ap.add_argument("--model", help="only this one: " + ", ".join(name for name, _ in WORK))
    args = ap.parse_args()
    torch.set_num_threads(THREADS)
    flops = json.loads((ROOT / "testdata" / "clip" / "flops.json").read_text())
    print(f"\nTraining on {THREADS} threads, torch {torch.__version__}\n")
    print("| model, batch, precision | goclip | open_clip | the peak | times faster, of each round | goclip's MFU, as open_clip computes it | open_clip's MFU | goclip's MFU, as computed | "
          "largest difference of the losses | peak memory of goclip | of open_clip | share |\n|---|---|---|---|---|---|---|---|---|---|---|---|")
    for (name, batch), precision in itertools.product(WORK, args.precision):
        if args.model not in (None, name):
            continue
        ours, theirs, peaks = [], [], []
        with tempfile.TemporaryDirectory() as directory:
            model = pathlib.Path(directory) / "model"
            subprocess.run([ROOT / "bin" / "infer", "convert", "--pretrained", "random", name, model], check=True, capture_output=True)
            for _ in range(args.rounds):
                ours.append(goclip(model, batch, args.steps, precision))
                peaks.append(peak(precision))
                theirs.append(peer(model, batch, args.steps, precision))
                peaks.append(peak(precision))
        speed, pair = max(peaks), 3 * (flops[name]["image"] + flops[name]["text"])
        rates = [batch / seconds(ours), batch / seconds(theirs)]
        ratios = [seconds([b]) / seconds([a]) for a, b in zip(ours, theirs)]
        own = statistics.mean(run[0]["flops"] for run in ours) / seconds(ours) / speed
        apart = max(abs(a["loss"] - b["loss"]) for x, y in zip(ours, theirs) for a, b in zip(x, y))
        memory = [statistics.median(run[0]["memory"] for run in runs) for runs in (ours, theirs)]
        print(f"| {name}, {batch}, {precision} | {rates[0]:.1f} samples/s | {rates[1]:.1f} samples/s | {speed * 1e-9:,.0f} GFLOP/s | {', '.join(f'{r:.2f}' for r in ratios)} | {pair * rates[0] / speed:.0%} | "
              f"{pair * rates[1] / speed:.0%} | {own:.0%} | {apart:.1e} of {np.mean([r['loss'] for x in theirs for r in x]):.2f} | "
              f"{memory[0] / 1e9:.2f} GB | {memory[1] / 1e9:.2f} GB | {memory[0] / memory[1]:.2f} |", flush=True)


if __name__ == "__main__":
    main()
