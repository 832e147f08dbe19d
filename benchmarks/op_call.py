"""What calling an operator costs, its free included, from Go and from Python: small tensors, one thread, no gradients.

  go test -c -o build/torch.test ./torch && build/venv/bin/python benchmarks/op_call.py build/torch.test
"""

import argparse
import re
import statistics
import subprocess
import time

import torch
import torch.nn.functional as F

import machine
import pair

CALLS = 200_000
OPERATORS = {
    "add": lambda x, w, v: x.add(w),
    "softmax": lambda x, w, v: x.softmax(1),
    "linear": lambda x, w, v: F.linear(x, w, v),
    "layer_norm": lambda x, w, v: F.layer_norm(x, (4,), v, v, 1e-5),
    "transpose": lambda x, w, v: x.transpose(0, 1),
}


def go(binary: str, name: str) -> float:
    out = subprocess.run([binary, "-test.run", "^$", "-test.bench", f"^BenchmarkCall$/^{name}$", "-test.benchtime", f"{CALLS}x",
                          "-test.cpu", "1"], check=True, capture_output=True, text=True).stdout
    found = re.search(r"BenchmarkCall/\S+\s+\d+\s+([\d.]+) ns/op", out)
    if found is None:
        raise SystemExit(f"{binary} printed no figure:\n{out}")
    return float(found[1]) * 1e-9


@torch.no_grad()
def python(name: str) -> float:
    x, w, v = torch.randn(4, 4), torch.randn(4, 4), torch.randn(4)
    call = OPERATORS[name]
    began = time.perf_counter()
    for _ in range(CALLS):
        call(x, w, v)
    return (time.perf_counter() - began) / CALLS


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("binary", help="the compiled tests of package torch")
    args = ap.parse_args()
    torch.set_num_threads(1)
    print(f"\nAn operator's call on 4x4 tensors, torch {torch.__version__}. {machine.minute(machine.peaks(1))}\n\n{pair.HEADER}")
    results = [pair.alternate(name, "us", lambda: go(args.binary, name), lambda: python(name), scale=1e6) for name in OPERATORS]
    for result in results:
        print(result.row())
    print(f"\nMean of the ratios: {statistics.geometric_mean(statistics.median(r.ratios) for r in results):.2f}")


if __name__ == "__main__":
    main()
