"""Compares how this checkout decodes JPEG, PNG, GIF, BMP, TIFF and WebP with how an earlier commit did: pixels and time.

    pip install pillow==13.0.0 numpy
    python benchmarks/decode.py COMMIT [--rounds 5]

Both sides decode the images of data/ and testdata/, every 40th image of the shards of data/, and a photograph and a
drawing of 1600x1200 pixels in each format. Pixels, mode and palette must be equal to the bit. Each side is a process
of one thread; they take turns in each round, and the first to run changes. A figure is the median of the rounds, in
processor time, of the sum over a format's images. The exit status is 1 where pixels differ or an image is refused
that was read before.
"""
import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from commits import checkout
from machine import header

ROOT = Path(__file__).resolve().parent.parent
SUFFIXES = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".gif": "GIF", ".bmp": "BMP", ".tif": "TIFF", ".tiff": "TIFF", ".webp": "WebP"}
PROGRAM = """package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"github.com/goclip/goclip/clip/preprocess"
)

func now() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

func main() {
	least, _ := strconv.ParseInt(os.Args[1], 10, 64)
	ctx := context.Background()
	for _, path := range os.Args[2:] {
		data, err := os.ReadFile(path)
		if err != nil {
			panic(err)
		}
		img, err := preprocess.Decode(CONTEXT data, preprocess.DefaultLimits)
		if err != nil {
			fmt.Printf("%q refused 0\\n", path)
			continue
		}
		sum := sha256.New()
		fmt.Fprintln(sum, img.Width, img.Height, img.Mode, img.Palette)
		sum.Write(img.Pix)
		n, start := int64(0), now()
		for n < 3 || now()-start < least {
			if img, err = preprocess.Decode(CONTEXT data, preprocess.DefaultLimits); err != nil {
				panic(err)
			}
			n++
		}
		fmt.Printf("%q %x %d\\n", path, sum.Sum(nil), (now()-start)/n)
	}
	_ = ctx
}
"""


def build(tree, out):
    """PROGRAM inside the module of tree, which is left as it is."""
    context = "ctx," if "func Decode(ctx context.Context" in (tree / "clip/preprocess/decode.go").read_text() else ""
    with tempfile.TemporaryDirectory() as at:
        source, overlay = Path(at, "main.go"), Path(at, "overlay.json")
        source.write_text(PROGRAM.replace("CONTEXT", context))
        overlay.write_text(json.dumps({"Replace": {str(tree / "benchmarks/decode/main.go"): str(source)}}))
        subprocess.run(["go", "build", "-overlay", overlay, "-o", out, "./benchmarks/decode"], cwd=tree, check=True)


def images(folder):
    names = subprocess.run(["git", "ls-files", "data", "testdata"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\n")
    found = [ROOT / name for name in names if Path(name).suffix in SUFFIXES]
    for shard in sorted((ROOT / "data").glob("*.tar")):
        with tarfile.open(shard) as t:
            members = [m for m in t.getmembers() if Path(m.name).suffix in SUFFIXES]
            for i, m in enumerate(members[::40]):
                found.append(folder / f"{shard.stem}_{i}{Path(m.name).suffix}")
                found[-1].write_bytes(t.extractfile(m).read())
    face = Image.open(ROOT / "testdata/preprocess/pictures/face_420.jpg").convert("RGB").resize((1600, 1200), Image.BICUBIC)
    grain = np.random.default_rng(1).normal(0, 4, (1200, 1600, 1))
    photograph = Image.fromarray(np.clip(np.asarray(face) + grain, 0, 255).astype(np.uint8))
    drawing = Image.open(ROOT / "data/demo/dog.png").convert("RGB").resize((1600, 1200), Image.NEAREST)
    for name, im in (("photograph", photograph), ("drawing", drawing)):
        for suffix, options in ((".jpg", {"quality": 88}), (".progressive.jpg", {"quality": 88, "progressive": True}), (".png", {}), (".gif", {}), (".bmp", {}),
                                (".tif", {"compression": "tiff_lzw"}), (".deflate.tif", {"compression": "tiff_adobe_deflate"}),
                                (".webp", {"quality": 80}), (".lossless.webp", {"lossless": True, "method": 2})):
            found.append(folder / (name + suffix))
            im.save(found[-1], **options)
    return found


def decode(program, paths, seconds):
    """{path: (hash or "refused", nanoseconds)}"""
    env = dict(os.environ, GOMAXPROCS="1")
    text = subprocess.run([program, str(int(seconds * 1e9)), *paths], env=env, check=True, capture_output=True, text=True).stdout
    return {path: (what, int(ns)) for path, what, ns in re.findall(r'"(.*)" (\w+) (\d+)\n', text)}


def main():
    args = argparse.ArgumentParser()
    args.add_argument("before", help="the commit to compare with")
    args.add_argument("--rounds", type=int, default=5)
    args.add_argument("--seconds", type=float, default=0.03, help="for each image of a round")
    args = args.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        build(checkout(args.before, folder / "before", "go.mod", "go.sum", "clip/preprocess"), folder / "before.bin")
        build(ROOT, folder / "now.bin")
        made = folder / "images"
        made.mkdir()
        paths = images(made)
        rounds = {"before": [], "now": []}
        for r in range(args.rounds):
            for side in sorted(rounds, reverse=r % 2 == 1):
                rounds[side].append(decode(folder / f"{side}.bin", paths, args.seconds))
    before, now = rounds["before"][0], rounds["now"][0]
    print(header())
    print(f"{len(paths)} images, before: {args.before}, now: this checkout; {args.rounds} rounds by turns, processor time of one thread\n")
    print(f"{'':<8}{'images':>8}{'equal':>8}{'read now':>10}{'wrong':>8}{'before ms':>12}{'now ms':>10}{'before/now':>12}{'of rounds':>14}")
    wrong = 0
    for kind in dict.fromkeys(SUFFIXES.values()):
        of = [str(p) for p in paths if SUFFIXES[p.suffix] == kind]
        equal = [p for p in of if before[p][0] == now[p][0] != "refused"]
        new = [p for p in of if before[p][0] == "refused" != now[p][0]]
        bad = [p for p in of if before[p][0] not in ("refused", now[p][0])]
        wrong += len(bad)
        sums = {side: [sum(r[p][1] for p in equal) / 1e6 for r in rounds[side]] for side in rounds}
        ratios = [b / n for b, n in zip(sums["before"], sums["now"])]
        b, n = (statistics.median(sums[side]) for side in ("before", "now"))
        print(f"{kind:<8}{len(of):>8}{len(equal):>8}{len(new):>10}{len(bad):>8}{b:>12.2f}{n:>10.2f}{b / n:>12.2f}{f'{min(ratios):.2f} to {max(ratios):.2f}':>14}")
        for p in bad:
            print(f"  {p}: {'now refused' if now[p][0] == 'refused' else 'other pixels'}")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
