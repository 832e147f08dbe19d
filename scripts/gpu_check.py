"""Everything that needs a GPU, from binaries that were built elsewhere: a table on stdout, and the same as JSON.

  make gpu-check-binaries                    where there is Go: build/gpu, with CUDA graphs and NCCL
  python scripts/gpu_check.py DIR [--json FILE] [--seconds N]

It runs in a checkout, on a machine with PyTorch 2.11 for CUDA 13, whose libraries it uses, and with libjpeg-turbo, without Go. The checks that find the
most come first, and one that fails stops none. Exit status 1 if any failed or had nothing to run.

This script has never run on a GPU.
"""

import argparse
import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent

SPEED = "benchmarks/gpu.py"  # in place of a package: it prints a table, which the JSON keeps

# name, package whose compiled tests run ("" for the program infer), arguments, environment
CHECKS = [
    ("load and score", "", ["score", "--device", "cuda", "--image", "testdata/preprocess/pictures/face.png", "--text", "a face"], {}),
    ("doctor", "", ["doctor", "--device", "cuda"], {}),
    ("uploads, packed attention", "torch", ["Upload|Varlen"], {}),
    ("towers against the CPU", "clip", ["GPU"], {}),
    ("graphs", "torch", ["Captur|CachedGraphs"], {}),
    ("graphs again, collecting always", "torch", ["Captur|CachedGraphs"], {"GOGC": "1"}),
    ("graphs of towers", "clip", ["Graphs"], {}),
    ("training, captured and not", "train", ["GPU|Captur|Graphs"], {}),
    ("NCCL", "torch/distributed", ["NCCL"], {}),
    ("speed beside open_clip", SPEED, ["--rounds", "1", "--seconds", "1", "--no-compile"], {}),
]


def verdict(status: int | None, out: str, tests: bool) -> str:
    """ok, skipped, failed or hung."""
    if status is None:
        return "hung"
    if status != 0:
        return "failed"
    if not tests:
        return "ok"
    passed, skipped = len(re.findall(r"^--- PASS", out, re.M)), len(re.findall(r"^--- SKIP", out, re.M))
    return "ok" if passed and not skipped else "skipped"


def run(binaries: pathlib.Path, check: tuple, libraries: str, seconds: int) -> dict:
    name, package, arguments, environment = check
    if package == SPEED:
        if importlib.util.find_spec("open_clip") is None:
            return {"check": name, "result": "skipped", "seconds": 0.0, "status": None, "command": [], "output": "this Python has no open_clip"}
        command, package = [sys.executable, "benchmarks/gpu.py", str(binaries / "clip.test"), str(binaries / "train.test"), *arguments], ""
    elif package:
        command = [str(binaries / f"{package.replace('/', '-')}.test"), "-test.v", "-test.count", "1", "-test.run", *arguments]
    else:
        command = [str(binaries / "infer"), *arguments]
    path = ":".join(filter(None, [libraries, os.environ.get("LD_LIBRARY_PATH", "")]))
    began = time.monotonic()
    try:
        done = subprocess.run(command, cwd=ROOT / package, env=os.environ | environment | {"LD_LIBRARY_PATH": path}, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace", timeout=seconds)
        status, out = done.returncode, done.stdout
    except subprocess.TimeoutExpired as e:
        status, out = None, (e.stdout or b"").decode(errors="replace")
    except OSError as e:
        status, out = 127, str(e)
    return {"check": name, "result": verdict(status, out, bool(package)), "seconds": round(time.monotonic() - began, 1), "status": status,
            "command": command, "output": out[-4000:]}


def main() -> int:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("binaries", type=pathlib.Path)
    ap.add_argument("--json", type=pathlib.Path, default=pathlib.Path("gpu-check.json"))
    ap.add_argument("--seconds", type=int, default=120, help="after which a check counts as hung")
    args = ap.parse_args()
    torch = importlib.util.find_spec("torch")
    if torch is None or torch.origin is None:
        sys.exit("gpu_check: this Python has no PyTorch: install torch 2.11 for CUDA 13")
    packages = pathlib.Path(torch.origin).parent.parent
    libraries = ":".join(map(str, [packages / "torch" / "lib", *sorted(packages.glob("nvidia/*/lib"))]))
    print("| check | result | seconds |\n|---|---|---|")
    results = []
    for check in CHECKS:
        r = run(args.binaries.resolve(), check, libraries, args.seconds)
        results.append(r)
        print(f"| {r['check']} | {r['result']} | {r['seconds']} |", flush=True)
        args.json.write_text(json.dumps(results, indent=1))  # after each: the machine may be taken away
    bad = [r for r in results if r["result"] != "ok"]
    for r in bad:
        print(f"\n{r['check']}: {r['result']}\n{r['output']}", file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
