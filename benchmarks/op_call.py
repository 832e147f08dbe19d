"""What calling an operator costs: a 4x4 addition with its free, from Go and from Python, on one thread.

  go test -c -o build/torch.test ./torch && build/venv/bin/python benchmarks/op_call.py build/torch.test
"""

import argparse
import re
import subprocess
import time

import torch

import pair


def go_add(binary: str) -> float:
    out = subprocess.run([binary, "-test.run", "^$", "-test.bench", "^BenchmarkAdd4x4$", "-test.benchtime", "200000x", "-test.cpu", "1"],
                         check=True, capture_output=True, text=True).stdout
    found = re.search(r"BenchmarkAdd4x4\S*\s+\d+\s+([\d.]+) ns/op", out)
    if found is None:
        raise SystemExit(f"{binary} printed no figure:\n{out}")
    return float(found[1]) * 1e-9


@torch.no_grad()
def python_add(calls: int = 200_000) -> float:
    x, y = torch.randn(4, 4), torch.randn(4, 4)
    began = time.perf_counter()
    for _ in range(calls):
        x.add(y)
    return (time.perf_counter() - began) / calls


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("binary", help="the compiled tests of package torch")
    args = ap.parse_args()
    torch.set_num_threads(1)
    print(f"\nAn operator's call, torch {torch.__version__}\n\n{pair.HEADER}")
    print(pair.alternate("add, 4x4, and its free", "us", lambda: go_add(args.binary), python_add, scale=1e6).row())


if __name__ == "__main__":
    main()
