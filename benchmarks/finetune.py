"""The built-in model fine-tuned on twenty pictures it has never seen: what it gains on them, and what it forgets.

    go build -o bin/ ./cmd/... && build/venv/bin/python benchmarks/finetune.py [--seeds 3] [--only TEXT] [--more NAME=FLAGS]

Trains on data/unseen-emoji.tar (scripts/emoji/unseen.py) with each of the settings below and as many seeds as asked for, and
prints recalls before and after, as means over the seeds. All are of bin/infer's features:

  new      the twenty, text to picture (t2i) and picture to text (i2t), among 1,934: OpenMoji's 1,914 and themselves
  outline  the same twenty as outlines, which no step has seen, in place of the coloured ones
  held out text to picture R@1 among OpenMoji's 1,914, which no step has seen
  known    text to picture R@1 among data/emoji-demo.tar, 1,200 of the pictures that the model was trained on
"""
import argparse
import dataclasses
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks" / "baseline"))
import samples  # noqa: E402

MODEL, NEW = ROOT / "models" / "emoji-64", ROOT / "data" / "unseen-emoji.tar"
SETS = {"new": NEW, "outline": ROOT / "data" / "unseen-emoji-outline.tar", "held": ROOT / "data" / "openmoji-eval-*.tar", "known": ROOT / "data" / "emoji-demo.tar"}
COMMON = "--batch-size 20 --workers 1 --threads 2 --device cpu --val-frequency 0 --save-frequency 0"
OPEN_CLIP = "--lr 5e-4 --wd 0.2 --warmup 0"  # params.py, but for its warm-up of 10,000 steps, in the first 32 of which hardly anything happens
SETTINGS = {
    "the defaults": "",
    "open_clip's rates": OPEN_CLIP,
    "the defaults, without that of the token embeddings": "--token-embedding-lr 0",
    "the defaults, 64 steps of 10": "--batch-size 10",
    "the defaults, 100 epochs": "--epochs 100",
    "the defaults, --wise-ft 0.5": "--wise-ft 0.5",
    "--lr 1e-4": "--lr 1e-4",
    "--lr 2e-4 --wise-ft 0.5": "--lr 2e-4 --wise-ft 0.5",
    "--lr 1e-4 --lock-image": "--lr 1e-4 --lock-image",
    "--lr 1e-3 --lora-rank 8": "--lr 1e-3 --lora-rank 8",
}
COLUMNS = ("new t2i R@1", "R@5", "new i2t R@1", "R@5", "outline t2i R@1", "outline i2t R@1", "held out t2i R@1", "known t2i R@1")


def embed(model: pathlib.Path, work: pathlib.Path, data: dict[str, list]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Features (N, dim) of pictures and texts, set by set."""
    out = {}
    for name, pairs in data.items():
        folder = work / name
        if not folder.exists():
            folder.mkdir()
            for i, s in enumerate(pairs):
                s.image.save(folder / f"{i:05d}.png")
            (folder / "list").write_text("".join(f"{folder}/{i:05d}.png\n" for i in range(len(pairs))))
            (folder / "texts").write_text("".join(s.text + "\n" for s in pairs))
            (folder / "table.csv").write_text("filepath\ttitle\n" + "".join(f"{folder}/{i:05d}.png\t{s.text}\n" for i, s in enumerate(pairs)))
        subprocess.run([ROOT / "bin" / "infer", "embed", "--model", model, "--threads", "2", "--image-list", folder / "list",
                        "--texts", folder / "texts", "--out", folder / "out"], check=True, capture_output=True)
        out[name] = np.load(folder / "out" / "image_features.npy"), np.load(folder / "out" / "text_features.npy")
        assert len(out[name][0]) == len(out[name][1]) == len(pairs)
    return out


def recall(queries: np.ndarray, against: np.ndarray, own: np.ndarray, k: int) -> float:
    """Share of queries that have their own row of against among the nearest k; of equally near ones the earlier comes first."""
    products = queries @ against.T
    mine = products[np.arange(len(queries)), own][:, None]
    before = (products > mine) | (products == mine) & (np.arange(len(against)) < own[:, None])
    return float((before.sum(1) < k).mean())


def measure(model: pathlib.Path, work: pathlib.Path, data: dict[str, list]) -> list[float]:
    f = embed(model, work, data)
    first = lambda name: np.arange(len(f[name][0]))  # noqa: E731
    figures = []
    for name in ("new", "outline"):
        images, texts = (np.concatenate([f[name][side], f["held"][side]]) for side in (0, 1))
        to_picture = [recall(f[name][1], images, first(name), k) for k in (1, 5)]
        to_text = [recall(f[name][0], texts, first(name), k) for k in (1, 5)]
        figures += to_picture + to_text if name == "new" else [to_picture[0], to_text[0]]
    return figures + [recall(f[name][1], f[name][0], first(name), 1) for name in ("held", "known")]


def flags_of(common: str, own: str) -> list[str]:
    """The flags of a run: own ones in place of common ones."""
    words = common.split()
    pairs = dict(zip(words[::2], words[1::2]))
    for flag in own.split():
        pairs.pop(flag, None)
    return [w for pair in pairs.items() for w in pair] + own.split()


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--seeds", type=int, default=3)
    ap.add_argument("--only", default="", help="only the settings whose name holds this")
    ap.add_argument("--more", action="append", default=[], metavar="NAME=FLAGS", help="one more setting")
    ap.add_argument("--captions", default="{}", help="what every caption is, around the name: 'a picture of a {}'")
    ap.add_argument("--common", default=COMMON, help="flags of every run")
    args = ap.parse_args()
    settings = {n: f for n, f in (SETTINGS | dict(m.split("=", 1) for m in args.more)).items() if args.only in n}

    print("| |", " | ".join(COLUMNS), "| s |", flush=True)
    print("|---" * (len(COLUMNS) + 2) + "|")
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        data = {name: [dataclasses.replace(s, text=args.captions.format(s.text)) for s in samples.load(str(shards))] for name, shards in SETS.items()}
        print("| before |", " | ".join(f"{x:.3f}" for x in measure(MODEL, work, data)), "| |", flush=True)
        for name, flags in settings.items():
            rows, seconds = [], []
            for seed in range(args.seeds):
                run = f"{len(list(work.glob('logs/*')))}"
                start = time.monotonic()
                subprocess.run([ROOT / "bin" / "train", "--model", MODEL, "--train-data", work / "new" / "table.csv", *flags_of(args.common, flags), "--seed", str(seed),
                                "--logs", work / "logs", "--name", run], check=True, capture_output=True, text=True)
                seconds.append(time.monotonic() - start)
                checkpoints = work / "logs" / run / "checkpoints"
                trained = next((checkpoints / n for n in ("wise_ft", "latest/ema") if (checkpoints / n).exists()), checkpoints / "latest")
                rows.append(measure(trained, work, data))
            columns = [f"{statistics.mean(c):.3f}" + (f" ±{statistics.stdev(c):.3f}" if len(c) > 1 and i > 5 else "") for i, c in enumerate(zip(*rows))]
            print(f"| {name} |", " | ".join(columns), f"| {statistics.mean(seconds):.0f} |", flush=True)


if __name__ == "__main__":
    main()
