"""Compares this checkout's commands with an earlier commit's: processor time, alternating.

    python benchmarks/commits.py COMMIT MODEL_DIRECTORY [--rounds 3]

MODEL_DIRECTORY holds a ViT-B-32 of any weights (make build/ViT-B-32). Both sides run with one thread: `infer score` of
one image, `infer embed` of 64 images, and six training steps of 32 images of ViT-S-32-alt. In each round the first to run
changes. A figure is the median of the rounds, in seconds of processor time of the whole command.
"""
import argparse
import os
import resource
import statistics
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from machine import header

ROOT = Path(__file__).resolve().parent.parent


def build(tree, out):
    subprocess.run(["go", "build", "-buildvcs=false", "-o", f"{out}/", "./cmd/train", "./cmd/infer"], cwd=tree, check=True)


def checkout(commit, tree, *paths):
    """The commit's files, or those of paths, with this checkout's libtorch."""
    tree.mkdir()
    archive = subprocess.run(["git", "archive", commit, *paths], cwd=ROOT, check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", tree], input=archive, check=True)
    (tree / "third_party").mkdir(exist_ok=True)
    for library in (ROOT / "third_party").iterdir():
        if not (tree / "third_party" / library.name).exists():
            (tree / "third_party" / library.name).symlink_to(library.resolve())
    return tree


def emoji(folder, n=400):
    """n images with their captions as a table, from the shard that the repository ships."""
    rows = []
    with tarfile.open(ROOT / "data/emoji-demo.tar") as shard:
        for member in shard:
            (folder / member.name).write_bytes(shard.extractfile(member).read())
            if member.name.endswith(".png"):
                rows.append(folder / member.name)
    lines = [f"{p}\t{p.with_suffix('.txt').read_text().strip()}" for p in rows[:n]]
    (folder / "train.csv").write_text("\n".join(["filepath\ttitle", *lines]) + "\n")
    return [str(p) for p in rows]


def seconds(command):
    """Processor time of a command. What it says is shown if it fails."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ, OMP_WAIT_POLICY="passive"))
    if done.returncode:
        sys.exit(f"{' '.join(command[:8])} ...: exit status {done.returncode}\n{done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main():
    args = argparse.ArgumentParser()
    args.add_argument("before", help="the commit to compare with")
    args.add_argument("model", help="the directory of a ViT-B-32")
    args.add_argument("--rounds", type=int, default=3)
    args = args.parse_args()
    with tempfile.TemporaryDirectory() as at:
        at = Path(at)
        build(checkout(args.before, at / "tree"), at / "before")
        build(ROOT, at / "now")
        data = at / "images"
        data.mkdir()
        images = emoji(data)
        work = {
            "score 1 image": lambda bin, n: [bin / "infer", "score", "--model", args.model, "--threads", "1", "--text", "a dog", "--text", "a cat", images[0]],
            "embed 64 images": lambda bin, n: [bin / "infer", "embed", "--model", args.model, "--threads", "1", "--out", at / f"{n}.npy", *images[:64]],
            "6 training steps": lambda bin, n: [bin / "train", "--model", "ViT-S-32-alt", "--train-data", data / "train.csv", "--csv-separator", "\\t", "--batch-size", "32",
                                                "--max-steps", "6", "--workers", "1", "--threads", "1", "--precision", "fp32", "--save-frequency", "0", "--logs", at / "logs", "--name", n],
        }
        print(header())
        print(f"before: {args.before}, now: this checkout; {args.rounds} rounds alternating, one thread, processor time in seconds\n")
        print(f"{'':<18}{'before':>8}{'now':>8}{'before/now':>12}{'of rounds':>16}")
        run = 0
        for name, command in work.items():
            taken = {"before": [], "now": []}
            for r in range(args.rounds + 1):  # the first is not counted
                for side in sorted(taken, reverse=r % 2 == 1):
                    run += 1
                    taken[side].append(seconds([str(part) for part in command(at / side, f"run{run}")]))
            before, now = taken["before"][1:], taken["now"][1:]
            ratios = [b / n for b, n in zip(before, now)]
            b, n = statistics.median(before), statistics.median(now)
            print(f"{name:<18}{b:>8.2f}{n:>8.2f}{b / n:>12.2f}{f'{min(ratios):.2f} to {max(ratios):.2f}':>16}", flush=True)


if __name__ == "__main__":
    main()
