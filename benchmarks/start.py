"""From a command line to a first score, in seconds: `infer score` and open_clip's classes (first_score_open_clip.py), by turns.

  go build -o bin/ ./cmd/... && build/venv/bin/python benchmarks/start.py build/ViT-B-32

The weights are in the page cache, 605 MB of them with a ViT-B-32. Both print the same shares. One image and two texts are
hardly arithmetic: the processor's peak stands above the table to tell a slow minute from a slow program.
"""

import pathlib
import subprocess
import sys
import time

import machine
import pair

ROOT = pathlib.Path(__file__).resolve().parent.parent
PICTURE, TEXTS = ROOT / "data/demo/dog.png", ("a dog", "a car")


def seconds(command: list) -> float:
    began = time.perf_counter()
    subprocess.run([str(word) for word in command], check=True, capture_output=True)
    return time.perf_counter() - began


def main() -> None:
    model = sys.argv[1]
    ours = [ROOT / "bin/infer", "score", "--model", model, "--image", PICTURE, "--text", TEXTS[0], "--text", TEXTS[1]]
    peer = [sys.executable, ROOT / "benchmarks/first_score_open_clip.py", model, PICTURE, *TEXTS]
    peak = machine.peaks(2)
    result = pair.alternate("command line to first score", "s", lambda: seconds(ours), lambda: seconds(peer), pairs=5)
    print(f"\n{machine.minute(peak)}\n")
    print(pair.HEADER.replace("Python", "open_clip"))
    print(result.row())
    print(f"\nopen_clip takes {1 / sorted(result.ratios)[len(result.ratios) // 2]:.1f} times as long")


if __name__ == "__main__":
    main()
