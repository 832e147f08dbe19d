"""Run all that needs a GPU, from binaries that were built elsewhere; print a table, and write it as JSON.

  make gpu-check-binaries                    on a machine with Go: build/gpu, with CUDA graphs and NCCL
  python scripts/gpu_check.py DIR [--json FILE] [--seconds N]

Run it in a checkout, on a machine with PyTorch 2.11 for CUDA 13, whose libraries it uses, and with libjpeg-turbo. It needs no
Go. The checks that find the most come first, and one that fails stops none. The exit status is 1 if a check failed, hung or
was skipped. Checks of two ranks need two GPUs, because NCCL refuses two ranks on one; on a machine with one they are not run.

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

SPEED = "benchmarks/gpu.py"  # in place of a package

ALWAYS = {"GOGC": "1"}  # the garbage collector frees graphs and tensors in the midst of the work

# name, package whose compiled tests run ("" for the program infer), arguments, environment, GPUs that it needs
CHECKS = [
    ("load and score", "", ["score", "--device", "cuda", "--image", "testdata/preprocess/pictures/face.png", "--text", "a face"], {}, 1),
    ("doctor", "", ["doctor", "--device", "cuda"], {}, 1),
    ("uploads, packed attention, out of memory", "torch", ["^Test(Upload|VarlenAttention|MemoryOfGPU|StreamsOnGPU)$"], {}, 1),
    ("towers against the CPU", "clip", ["^TestOnGPU$"], {}, 1),
    ("out of memory while encoding", "clip", ["^TestMemoryOfGPU$"], {}, 1),
    ("graphs", "torch", ["^Test(Capture|CachedGraphs)$"], {}, 1),
    ("graphs again, GOGC=1", "torch", ["^Test(Capture|CachedGraphs)$", "-test.count", "3"], ALWAYS, 1),
    ("graphs of towers", "clip", ["^TestGraphs$"], {}, 1),
    ("graphs of towers, GOGC=1", "clip", ["^TestGraphs$"], ALWAYS, 1),
    ("training against the CPU", "train", ["^TestStepsOnGPU$"], {}, 1),
    ("float16 and its scaler", "train", ["^TestScalerOnGPU$"], {}, 1),
    ("captured and eager steps", "train", ["^TestCapturedSteps$"], {}, 1),
    ("captured and eager run, line by line", "train", ["^TestCapturedRun$"], {}, 1),
    ("captured run, GOGC=1", "train", ["^TestCapturedRun$"], ALWAYS, 1),
    ("whole runs with locked towers, LoRA and a teacher, resumed", "train", ["^Test(LockedRuns|ResumeIsExact|TunedRuns|Distillation)$"], {"GOCLIP_TEST_DEVICE": "cuda"}, 1),
    ("NCCL, one rank", "torch/distributed", ["^TestNCCL(NeedsADevice|OfOneRank)$"], {}, 1),
    ("NCCL, two ranks", "torch/distributed", ["^TestNCCLOfTwoRanks$"], {}, 2),
    ("NCCL, a killed rank", "torch/distributed", ["^TestNCCLKilledRank$"], {}, 2),
    ("speed beside open_clip, eager", SPEED, ["--rounds", "1", "--seconds", "1", "--peers", "eager"], {}, 1),
    # Each row compiles for half a minute or more.
    ("speed beside open_clip, compiled", SPEED, ["--rounds", "1", "--seconds", "1", "--peers", "compiled", "--only", "tower/(pictures|texts77)|long/graph"], {}, 1),
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


def command_of(binaries: pathlib.Path, package: str, arguments: list[str], rows: pathlib.Path, cpu: bool) -> tuple[list[str], pathlib.Path]:
    """The command of a check, and where it runs."""
    if package == SPEED:
        if cpu:  # a few of the rows, in a minute
            arguments = [*arguments, "--device", "cpu", "--batch", "8", "--seconds", "0.2", "--peers", "eager", "--only", "answer"]
        return [sys.executable, SPEED, str(binaries / "clip.test"), str(binaries / "train.test"), "--json", str(rows), *arguments], ROOT
    if package:
        return [str(binaries / f"{package.replace('/', '-')}.test"), "-test.v", "-test.run", *arguments], ROOT / package
    return [str(binaries / "infer"), *arguments], ROOT


def run(binaries: pathlib.Path, check: tuple, libraries: str, seconds: int, stand_in: bool) -> dict:
    name, package, arguments, environment, _ = check
    out = {"check": name, "result": "", "seconds": 0.0}
    if package == SPEED and importlib.util.find_spec("open_clip") is None:
        return out | {"result": "skipped", "output": "this Python has no open_clip"}
    rows = binaries / "rows.json"
    rows.unlink(missing_ok=True)
    command, where = command_of(binaries, package, arguments, rows, stand_in)
    path = ":".join(filter(None, [libraries, os.environ.get("LD_LIBRARY_PATH", "")]))
    environment = os.environ | environment | ({} if package == SPEED and stand_in else {"LD_LIBRARY_PATH": path})
    if stand_in:
        environment |= {"STUB_DEVICES": "1", "STUB_CAPABILITY": "90", "STUB_MEMORY": str(1 << 30)}
    began = time.monotonic()
    try:
        done = subprocess.run(command, cwd=where, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              errors="replace", timeout=seconds)
        status, said = done.returncode, done.stdout
    except subprocess.TimeoutExpired as e:
        status, said = None, (e.stdout or b"").decode(errors="replace")
    except OSError as e:
        status, said = 127, str(e)
    out |= {"result": verdict(status, said, package not in ("", SPEED)), "seconds": round(time.monotonic() - began, 1), "status": status,
            "command": " ".join(map(str, command)), "output": said[-4000:]}
    if rows.exists():  # also of a check that failed or hung
        out["rows"] = json.loads(rows.read_text())
    return out


def machine() -> dict:
    """What the figures were measured on."""
    import torch

    out = {"date": time.strftime("%Y-%m-%d"), "pytorch": torch.__version__, "gpus": []}
    for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        p = torch.cuda.get_device_properties(i)
        out["gpus"].append({"name": p.name, "compute_capability": f"{p.major}.{p.minor}", "memory": p.total_memory})
    return out


def main() -> int:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("binaries", type=pathlib.Path)
    ap.add_argument("--json", type=pathlib.Path, default=pathlib.Path("gpu-check.json"))
    ap.add_argument("--seconds", type=int, default=240, help="after which a check counts as hung")
    ap.add_argument("--stand-in", type=pathlib.Path, help="try this script out without a GPU: a directory with the libraries that "
                    "internal/gputest makes; what needs CUDA itself is then skipped, which is no failure, and speed is the CPU's")
    args = ap.parse_args()
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        sys.exit("gpu_check: this Python has no PyTorch: install torch 2.11 for CUDA 13")
    packages = pathlib.Path(found.origin).parent.parent
    libraries = ":".join(map(str, [packages / "torch" / "lib", *sorted(packages.glob("nvidia/*/lib"))]))
    report = machine()
    count = len(report["gpus"])
    if args.stand_in:
        libraries, count, report["stand_in"] = str(args.stand_in.resolve()), 1, True
    print(f"{', '.join(g['name'] for g in report['gpus']) or 'no GPU'}; PyTorch {report['pytorch']}\n")
    print("| check | result | seconds |\n|---|---|---|")
    report["checks"] = []
    for check in CHECKS:
        if check[-1] > max(count, 1):
            r = {"check": check[0], "result": f"not run: needs {check[-1]} GPUs, this machine has {count}", "seconds": 0.0}
        else:
            r = run(args.binaries.resolve(), check, libraries, args.seconds, bool(args.stand_in))
        report["checks"].append(r)
        print(f"| {r['check']} | {r['result']} | {r['seconds']} |", flush=True)
        args.json.write_text(json.dumps(report, indent=1) + "\n")  # after each: the machine may be taken away
    for r in report["checks"]:
        if "rows" in r:
            print(f"\n{r['check']}:\n\n{r['output'] if r['result'] == 'ok' else json.dumps(r['rows'])}")
    bad = [r for r in report["checks"] if r["result"] in ("failed", "hung") or r["result"] == "skipped" and not args.stand_in]
    for r in bad:
        print(f"\n{r['check']}: {r['result']}\n{r['output']}", file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
