"""Times the decoding of HEIC, AVIF, JPEG XL and JPEG 2000 in clip/preprocess beside Pillow and its plugins, one thread each.

    pip install pillow==13.0.0 numpy pillow-heif==1.8.1 pillow-jxl-plugin==1.3.8
    python benchmarks/heif.py [--rounds 5]

goclip takes the system's libheif, libjxl and OpenJPEG, Pillow and the plugins bring their own. The two sides take turns in each round; a
figure is the median of the rounds' medians, in processor time. Nothing is asserted.
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

import numpy as np
import pillow_heif
import pillow_jxl  # noqa: F401, which registers the format
from PIL import AvifImagePlugin, Image

ROOT = Path(__file__).resolve().parent.parent
SIZES = ((4000, 3000), (640, 480))
FORMATS = ("heic", "avif", "jxl", "jp2")


def write_images(folder):
    face = Image.open(ROOT / "testdata/preprocess/pictures/face_420.jpg").convert("RGB")
    for w, h in SIZES:
        grain = np.random.default_rng(1).normal(0, 3, (h, w, 1))
        im = Image.fromarray(np.clip(np.asarray(face.resize((w, h), Image.BICUBIC)) + grain, 0, 255).astype(np.uint8))
        im.save(folder / f"{w}x{h}.heic", quality=60)
        im.save(folder / f"{w}x{h}.avif", quality=60, speed=9)
        im.save(folder / f"{w}x{h}.jxl", quality=80, effort=3)
        im.save(folder / f"{w}x{h}.jp2", irreversible=True, quality_layers=[20])


def milliseconds(run, seconds):
    run()
    times, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return 1e3 * statistics.median(times)


def python_times(folder, seconds):
    return {path.name: milliseconds(lambda: Image.open(io.BytesIO(path.read_bytes())).load(), seconds) for path in sorted(folder.iterdir())}


def go_times(binary, folder, seconds):
    env = dict(os.environ, GOCLIP_BENCH_PICTURES=str(folder), GOMAXPROCS="1")
    text = subprocess.run([binary, "-test.run", "^$", "-test.bench", "BenchmarkImages/.*/decode", "-test.benchtime", f"{seconds}s"],
                          cwd=ROOT / "clip/preprocess", env=env, check=True, capture_output=True, text=True).stdout
    return {name: float(ns) / 1e6 for name, ns in re.findall(r"BenchmarkImages/(\S+?)/decode(?:-\d+)?\s.*?([\d.]+) cpu-ns/op", text)}


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--rounds", type=int, default=5)
    args.add_argument("--seconds", type=float, default=0.5, help="for each image of a round")
    args = args.parse_args()
    pillow_heif.register_heif_opener()
    pillow_heif.options.DECODE_THREADS = 1
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    import pillow_jxl.JpegXLImagePlugin as plugin
    plugin.DECODE_THREADS = 0
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        binary = os.environ.get("GOCLIP_PREPROCESS_TEST") or folder / "preprocess.test"
        if not os.environ.get("GOCLIP_PREPROCESS_TEST"):
            subprocess.run(["go", "test", "-c", "-o", binary, "./clip/preprocess"], cwd=ROOT, check=True)
        images = folder / "images"
        images.mkdir()
        write_images(images)
        python, go = [], []
        for _ in range(args.rounds):
            python.append(python_times(images, args.seconds))
            go.append(go_times(binary, images, args.seconds))
        lengths = {path.name: path.stat().st_size for path in images.iterdir()}
    print(f"{'':<16}{'kB':>7}{'Pillow ms':>11}{'goclip ms':>11}{'times':>8}{'images/s':>10}")
    for w, h in SIZES:
        for kind in FORMATS:
            name = f"{w}x{h}.{kind}"
            theirs, ours = (statistics.median(r[name] for r in rounds) for rounds in (python, go))
            print(f"{name:<16}{lengths[name] / 1e3:>7.0f}{theirs:>11.1f}{ours:>11.1f}{theirs / ours:>8.2f}{1e3 / ours:>10.1f}")


if __name__ == "__main__":
    main()
