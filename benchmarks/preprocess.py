"""Times clip/preprocess beside Pillow and torchvision: JPEG bytes to the (3, 224, 224) tensor, one thread each.

    pip install pillow==13.0.0 torch==2.11.0 torchvision==0.26.0 open_clip_torch==3.3.0
    python benchmarks/preprocess.py [--rounds 5]

Enlarges three photographs of testdata/preprocess, adds camera grain, and saves them at 640x480, 500x375 and 256x256 with
quality 88 (78, 52 and 21 kB: what such files of the data sets have). The two sides take turns in each round; a figure is
the median of the rounds' medians, in processor time, which other programs on the machine hardly change. The last line of
a size says what cropping, resizing and normalising leave of the rate at which libjpeg-turbo decodes the same files in
full ("decode"). "fast" is Limits.FastJPEG, whose pixels are not Pillow's. Nothing is asserted.
"""
import argparse
import io
import os
import re
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import machine
import numpy as np
import torch
from open_clip.transform import image_transform
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
SIZES = ((640, 480), (500, 375), (256, 256))
PHOTOGRAPHS = ("face_420.jpg", "cup_444.jpg", "cat_progressive.jpg")
STAGES = ("decode", "transform", "whole", "fast")


def write_pictures(folder):
    for w, h in SIZES:
        for i, name in enumerate(PHOTOGRAPHS):
            im = Image.open(ROOT / "testdata/preprocess/pictures" / name).convert("RGB").resize((w, h), Image.BICUBIC)
            grain = np.random.default_rng(i).normal(0, 5, (h, w, 1))
            pixels = np.clip(np.asarray(im) + grain, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{w}x{h}_{i}.jpg", quality=88)


def milliseconds(run, seconds):
    """The median processor time of repeated runs."""
    run()
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 5:
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return 1e3 * statistics.median(times)


def python_times(folder, seconds):
    transform = image_transform(224, is_train=False)
    out = {}
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()

        def decoded():
            im = Image.open(io.BytesIO(data))
            im.load()
            return im

        im = decoded()
        runs = {"decode": decoded, "transform": lambda: transform(im), "whole": lambda: transform(decoded())}
        for stage, run in runs.items():
            out[path.name, stage] = milliseconds(run, seconds)
    return out


def go_times(binary, folder, seconds):
    env = dict(os.environ, GOCLIP_BENCH_PICTURES=str(folder), GOMAXPROCS="1")
    text = subprocess.run([binary, "-test.run", "^$", "-test.bench", "BenchmarkImages", "-test.benchtime", f"{seconds}s"],
                          cwd=ROOT / "clip/preprocess", env=env, check=True, capture_output=True, text=True).stdout
    found = re.findall(r"BenchmarkImages/(\S+?)/(\S+?)(?:-\d+)?\s.*?([\d.]+) cpu-ns/op", text)
    return {(name, stage): float(ns) / 1e6 for name, stage, ns in found}


def median(rounds, size, stage):
    """The median over rounds of the mean over the pictures of one size."""
    return statistics.median(
        statistics.mean(ms for (name, s), ms in r.items() if s == stage and name.startswith(size)) for r in rounds)


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--rounds", type=int, default=5)
    args.add_argument("--seconds", type=float, default=0.2, help="for each picture and stage of a round")
    args = args.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        binary = folder / "preprocess.test"
        subprocess.run(["go", "test", "-c", "-o", binary, "./clip/preprocess"], cwd=ROOT, check=True)
        pictures = folder / "pictures"
        pictures.mkdir()
        write_pictures(pictures)
        peak = machine.peaks(1)
        python, go = [], []
        for _ in range(args.rounds):
            python.append(python_times(pictures, args.seconds))
            go.append(go_times(binary, pictures, args.seconds))
    print(f"{machine.minute(peak)}\n")
    print(f"{'to 224x224':<22}{'Pillow ms':>11}{'goclip ms':>11}{'times':>8}")
    for w, h in SIZES:
        size = f"{w}x{h}"
        for stage in STAGES:
            ours = median(go, size, stage)
            theirs = median(python, size, "whole" if stage == "fast" else stage)
            print(f"{size + ' ' + stage:<22}{theirs:>11.3f}{ours:>11.3f}{theirs / ours:>8.2f}")
        whole, decode = median(go, size, "whole"), median(go, size, "decode")
        print(f"{size}: {1e3 / whole:.0f} pictures a second and core, {100 * decode / whole:.0f}% of the decoding rate\n")


if __name__ == "__main__":
    main()
