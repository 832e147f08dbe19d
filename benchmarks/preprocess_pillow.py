"""Times clip/preprocess beside Pillow and torchvision, on the same files, one thread each.

    pip install pillow==13.0.0 torch==2.11.0 torchvision==0.26.0 open_clip_torch==3.3.0
    python benchmarks/preprocess_pillow.py

Writes a 512x512 picture made by formula as PNG and JPEG to a temporary folder, times open_clip's evaluation transform
from file bytes to the (3, 224, 224) tensor, then runs `go test -bench` on the same files, and prints both.
"""
import io
import os
import re
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from open_clip.transform import image_transform
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent


def picture(n=512):
    """Waves and a little grain, (n, n, 3) uint8."""
    y, x = np.mgrid[0:n, 0:n].astype(np.float64)
    grain = np.random.default_rng(1).integers(0, 8, (n, n, 3))
    waves = [np.sin(a * x / 40 + b * y / 50) for a, b in ((1, 2), (2, 1), (1, -1))]
    return np.clip(127 + 100 * np.stack(waves, 2) + grain, 0, 255).astype(np.uint8)


def milliseconds(run, seconds=2.0):
    """The median of repeated runs."""
    run()
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return 1e3 * sorted(times)[len(times) // 2]


def python_times(files):
    transform = image_transform(224, is_train=False)
    out = {}
    for name, data in files.items():
        out[name] = milliseconds(lambda: transform(Image.open(io.BytesIO(data))))
        im = Image.open(io.BytesIO(data))
        im.load()
        out[name + " decoded"] = milliseconds(lambda: transform(im))
    return out


def go_times(folder):
    env = dict(os.environ, GOCLIP_BENCH_PICTURES=str(folder), GOMAXPROCS="1")
    text = subprocess.run(["go", "test", "-run", "^$", "-bench", "BenchmarkPictures", "./clip/preprocess"], cwd=ROOT,
                          env=env, check=True, capture_output=True, text=True).stdout
    found = re.findall(r"BenchmarkPictures/(\S+?)(?:-\d+)?\s+\d+\s+([\d.]+) ns/op", text)
    return {name.replace("_", " "): float(ns) / 1e6 for name, ns in found}


def main():
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for name, options in (("picture.png", {}), ("picture.jpg", {"quality": 90})):
            path = Path(folder) / name
            Image.fromarray(picture()).save(path, **options)
            files[name] = path.read_bytes()
        python, go = python_times(files), go_times(folder)
    print(f"{'512x512 to 224':<22}{'Pillow ms':>11}{'goclip ms':>11}{'ratio':>8}")
    for name, ms in python.items():
        print(f"{name:<22}{ms:>11.2f}{go[name]:>11.2f}{go[name] / ms:>8.2f}")


if __name__ == "__main__":
    main()
