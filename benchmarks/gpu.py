"""A ViT-B/32 on a GPU beside open_clip: encoding, answers to one request, and training steps, in bfloat16, by turns in one run.

  scripts/build_cuda.sh go test -tags cuda -c -o build/clip.cuda.test ./clip
  scripts/build_cuda.sh go test -tags cuda -c -o build/train.cuda.test ./train
  python benchmarks/gpu.py build/clip.cuda.test build/train.cuda.test [--batch 1024] [--device cuda]

It needs open_clip on the GPU's machine and no Go. open_clip runs eagerly and compiled (torch.compile, its default mode), in training under
autocast with its fused AdamW, in inference with weights in bfloat16. "tower" are pictures and texts that are on the device already, "answer" a
request from the host to the host; captions are ordinary (12 tokens on average; open_clip computes 77) or have all 77 tokens. "share" is
goclip's share of the rate of a product of 8192 x 8192 in bfloat16, measured in the same run, counting the operations that goclip does not save
(all 77 tokens, whole blocks). With --device cpu it tries itself out, in float32 and on few pairs.

This script has never run on a GPU.
"""

import argparse
import gc
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time

import open_clip
import torch
from open_clip.loss import ClipLoss

IMAGE_FLOPS, TEXT_FLOPS = 8.818e9, 5.960e9  # multiplications and additions of a forward (testdata/clip/flops.json)


def tokens(n: int, length: int) -> torch.Tensor:
    """The texts of benchmarkTokens in clip/device_bench_test.go."""
    out = torch.zeros(n, 77, dtype=torch.long)
    for i in range(n):
        end = length - 1 if length else (5, 7, 8, 9, 10, 11, 11, 12, 14, 18)[i % 10]
        out[i, 0] = 49406
        for j in range(1, end):
            out[i, j] = 300 + (131 * i + 17 * j) % 40000
        out[i, end] = 49407
    return out


def goclip(binary: pathlib.Path, case: str, seconds: float, device: str, batch: int) -> float | None:
    """The seconds of one iteration of a benchmark, None where this build has not got it."""
    pattern = "/".join(f"^{part}$" for part in case.split("/"))
    ran = subprocess.run([binary.resolve(), "-test.run", "^$", "-test.bench", pattern, "-test.benchtime", f"{seconds}s"], capture_output=True, text=True,
                         env=os.environ | {"GOCLIP_BENCH_DEVICE": device, "GOCLIP_BENCH_BATCH": str(batch)})
    if ran.returncode != 0:
        raise RuntimeError(f"{binary.name} {case}: exit status {ran.returncode}\n{ran.stdout[-2000:]}{ran.stderr[-2000:]}")
    return iteration(ran.stdout)


def iteration(out: str) -> float | None:
    """The seconds of one iteration in what a benchmark printed; a skipped one prints none."""
    found = re.search(r"([\d.]+) ns/op", out)
    if found is None and "--- FAIL" in out:
        raise RuntimeError(out[-2000:])
    return float(found[1]) * 1e-9 if found else None


def alone(f, device: str):
    """f(), after which the process holds no memory of the device that goclip, another process, could need."""
    try:
        return f()
    finally:
        gc.collect()
        torch.compiler.reset()
        if device != "cpu":
            torch.cuda.empty_cache()


class Peer:
    """open_clip, eager or compiled."""

    def __init__(self, device: str, compiled: bool):
        self.device, self.compiled = torch.device(device), compiled
        self.half = torch.bfloat16 if self.device.type == "cuda" else torch.float32

    def seconds(self, f, least: float) -> float:
        for _ in range(3):
            f()
        self.wait()
        times, began = [], time.perf_counter()
        while not times or time.perf_counter() - began < least:
            start = time.perf_counter()
            f()
            self.wait()
            times.append(time.perf_counter() - start)
        return statistics.median(times)

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def encode(self, case: str, least: float) -> float:
        where, *_, what, n = case.split("/")
        n = int(n)
        model = open_clip.create_model("ViT-B-32").eval().to(self.device, self.half)
        texts = tokens(n, 77 if what == "texts77" else 0) if what.startswith("texts") else None
        x = texts if texts is not None else torch.randn(n, 3, 224, 224)
        tower = model.encode_text if texts is not None else model.encode_image
        if self.compiled:
            tower = torch.compile(tower)
        there = x.to(self.device) if texts is not None else x.to(self.device, self.half)
        with torch.inference_mode():
            if where == "tower":
                return self.seconds(lambda: tower(there), least)
            return self.seconds(lambda: torch.nn.functional.normalize(tower(x.to(self.device) if texts is not None else x.to(self.device, self.half)).float()).cpu(), least)

    def step(self, captions: str, batch: int, least: float) -> float:
        model = open_clip.create_model("ViT-B-32").to(self.device).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.1, fused=self.device.type == "cuda")
        call, loss_fn = torch.compile(model) if self.compiled else model, ClipLoss()
        images, texts = torch.randn(batch, 3, 224, 224, device=self.device), tokens(batch, 77 if captions == "long" else 0).to(self.device)

        def step() -> None:
            optimizer.zero_grad()
            with torch.autocast(self.device.type, self.half, enabled=self.half != torch.float32):
                image, text, scale = call(images, texts)[:3]
                loss = loss_fn(image, text, scale)
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                model.logit_scale.clamp_(0, 4.6052)
            loss.item()

        return self.seconds(step, least)


def peak(device: str) -> float:
    """The rate of a large product."""
    on = torch.device(device)
    n, dtype = (8192, torch.bfloat16) if on.type == "cuda" else (1024, torch.float32)
    a = torch.randn(n, n, device=on, dtype=dtype)
    return 2 * n**3 / Peer(device, False).seconds(lambda: a @ a, 1)


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("encode", type=pathlib.Path, help="the compiled tests of package clip")
    ap.add_argument("train", type=pathlib.Path, help="the compiled tests of package train")
    ap.add_argument("--device", default="cuda")
    ap.add_argument("--batch", type=int, default=1024, help="pairs of a training step")
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--seconds", type=float, default=3, help="of each measurement")
    ap.add_argument("--peers", choices=("eager", "compiled", "both"), default="both", help="how open_clip runs")
    ap.add_argument("--json", type=pathlib.Path, help="write the rows here too, after each")
    ap.add_argument("--only", default="", help="only the rows whose name matches this regular expression")
    args = ap.parse_args()
    gpu = args.device != "cpu"
    hows = [how for how in ("eager", "compiled") if args.peers in (how, "both")]
    peers = [Peer(args.device, how == "compiled") for how in hows]
    rate = alone(lambda: peak(args.device), args.device)
    print(f"{torch.cuda.get_device_name() if gpu else 'CPU'}, open_clip {open_clip.__version__}, PyTorch {torch.__version__}, a product reaches {rate / 1e12:.1f} TFLOP/s\n")
    print("| work | goclip | a second | share |" + "".join(f" open_clip {how} | times faster |" for how in hows) + "\n|" + "---|" * (4 + 2 * len(hows)))
    many = 1024 if gpu else 32
    cases = [(f"tower/{what}/{many}", flops * many) for what, flops in (("pictures", IMAGE_FLOPS), ("texts77", TEXT_FLOPS), ("texts0", TEXT_FLOPS))]
    cases += [(f"answer/{how}/{what}/1", flops) for how in (("kernels", "graphs") if gpu else ("kernels",)) for what, flops in (("pictures", IMAGE_FLOPS), ("texts", TEXT_FLOPS))]
    steps = [(f"{captions}/{how}", 3 * (IMAGE_FLOPS + TEXT_FLOPS) * args.batch) for captions in ("long", "ordinary") for how in (("kernels", "graph") if gpu else ("kernels",))]
    work = [(f"BenchmarkDevice/{case}", args.encode, flops, int(case.split("/")[-1]), lambda p, case=case: p.encode(case, args.seconds)) for case, flops in cases]
    work += [(f"BenchmarkDeviceStep/{case}", args.train, flops, args.batch, lambda p, case=case: p.step(case.split("/")[0], args.batch, args.seconds)) for case, flops in steps]
    failed, rows = False, []
    for name, binary, flops, n, theirs in work:
        if not re.search(args.only, name):
            continue
        try:
            rounds = [(goclip(binary, name, args.seconds, args.device, args.batch), [alone(lambda p=p: theirs(p), args.device) for p in peers]) for _ in range(args.rounds)]
        except (RuntimeError, torch.OutOfMemoryError) as e:  # the other rows are measured all the same, and the exit status says it
            failed = True
            print(f"| {name} | failed |", flush=True)
            print(f"{name}: {e}", file=sys.stderr, flush=True)
            continue
        if rounds[0][0] is None:
            print(f"| {name} | not in this build |", flush=True)
            continue
        own = statistics.median(r[0] for r in rounds)
        rows.append({"work": name.removeprefix("Benchmark"), "seconds": own, "a_second": n / own, "share_of_peak": flops / own / rate, "peak_flops": rate,
                     "open_clip_seconds": dict(zip(hows, (statistics.median(r[1][i] for r in rounds) for i in range(len(peers)))))})
        row = f"| {name.removeprefix('Benchmark')} | {own * 1e3:.2f} ms | {n / own:,.0f} | {flops / own / rate:.0%} |"
        for i in range(len(peers)):
            ratios = sorted(r[1][i] / r[0] for r in rounds)
            row += f" {statistics.median(r[1][i] for r in rounds) * 1e3:.2f} ms | {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) |"
        print(row, flush=True)
        if args.json:
            args.json.write_text(json.dumps(rows, indent=1))
    if failed:
        sys.exit(1)


if __name__ == "__main__":
    main()
