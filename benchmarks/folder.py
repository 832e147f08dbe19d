"""A folder of JPEGs of 640x480 to features in a file, whole commands: `infer embed` and open_clip in a script of the same work.

  go build -o bin/ ./cmd/... && build/venv/bin/python benchmarks/folder.py build/ViT-B-32 [--pictures 2000]

open_clip reads with torch's DataLoader in batches of 32 and has the number of worker processes with which it was fastest on a
tenth of the pictures, out of 0 to 3. The two sides take turns; a figure is the seconds from the command line to the end of
the process, start and weights included. The least cosine between the features of both is printed beside, and how fast the
products of the tower would have to run to take that time alone, beside the processor's peak of that minute (machine.py).
"""

import argparse
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import machine
import numpy as np
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parent.parent
FLOPS = 8.8e9  # of the products of ViT-B/32's image tower
PHOTOGRAPHS = ("face_420.jpg", "cup_444.jpg", "cat_progressive.jpg")


def write_pictures(folder: pathlib.Path, n: int) -> None:
    """Photographs of the tests, enlarged, turned and shifted, with a camera's grain: some 78 kB each."""
    photographs = [np.asarray(Image.open(ROOT / "testdata/preprocess/pictures" / name).convert("RGB").resize((640, 480), Image.BICUBIC)) for name in PHOTOGRAPHS]
    grains = [np.random.default_rng(i).normal(0, 5, (480, 640, 1)) for i in range(7)]
    for i in range(n):
        pixels = np.roll(photographs[i % 3][:, :: 1 if i % 2 else -1], 31 * i, axis=1) + grains[i % 7]
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / f"{i:05}.jpg", quality=88)


def peer(directory: str, folder: str, out: str, workers: str, n: str) -> None:
    """open_clip's whole command."""
    import open_clip
    import torch
    from torch.utils.data import DataLoader, Dataset

    torch.set_num_threads(2)
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{directory}")
    model.eval()
    paths = sorted(pathlib.Path(folder).iterdir())[: int(n)]

    class Pictures(Dataset):
        def __len__(self):
            return len(paths)

        def __getitem__(self, i):
            return transform(Image.open(paths[i]))

    with torch.inference_mode():
        rows = [model.encode_image(x, normalize=True) for x in DataLoader(Pictures(), batch_size=32, num_workers=int(workers))]
    np.save(out, torch.cat(rows).numpy())


def seconds(command: list) -> float:
    began = time.perf_counter()
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("model", type=pathlib.Path, help="a directory with a ViT-B-32")
    ap.add_argument("--pictures", type=int, default=2000)
    ap.add_argument("--rounds", type=int, default=1)
    ap.add_argument("--precision", nargs="*", default=["fp32", "bf16"])
    args = ap.parse_args()
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        pictures, some = work / "pictures", work / "some"
        pictures.mkdir(), some.mkdir()
        write_pictures(pictures, args.pictures)
        theirs = lambda workers, n=args.pictures: seconds([sys.executable, __file__, "--peer", args.model, pictures, work / "open_clip.npy", workers, n])  # noqa: E731
        ours = lambda p: seconds([ROOT / "bin/infer", "embed", "--model", args.model, "--images", pictures, "--precision", p, "--threads", 2, "--out", work / p])  # noqa: E731
        tenth = max(32, args.pictures // 10)
        trials = {workers: theirs(workers, tenth) for workers in range(4)}
        best = min(trials, key=trials.get)
        print(f"open_clip, seconds for {tenth} pictures by workers: " + ", ".join(f"{w}: {t:.1f}" for w, t in trials.items()) + "\n")
        peak = machine.peaks(2)
        rounds = [([ours(p) for p in args.precision], theirs(best)) for _ in range(args.rounds)]
        want = np.load(work / "open_clip.npy")
        flops = args.pictures * FLOPS
        print(f"{machine.minute(peak)}\n\n| {args.pictures} JPEGs of 640x480 | goclip | its products | open_clip in fp32, {best} workers | its products | times faster | least cosine |\n|---|---|---|---|---|---|---|")
        for i, p in enumerate(args.precision):
            mine, peers = statistics.median(r[0][i] for r in rounds), statistics.median(r[1] for r in rounds)
            ratios = sorted(r[1] / r[0][i] for r in rounds)
            cosine = (np.load(work / p / "image_features.npy").astype(float) * want).sum(1).min()
            print(f"| {p} | {mine:.1f} s | {machine.share(flops, mine, p, peak)} | {peers:.1f} s | {machine.share(flops, peers, 'fp32', peak)} | {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) | {cosine:.6f} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peer"]:
        peer(*sys.argv[2:])
    else:
        main()
