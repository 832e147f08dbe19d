"""The contrastive loss and its gradients in tiles beside autograd on the whole matrix of logits, both goclip's: time and memory.

  go test -c -o build/loss.test ./clip/loss && python benchmarks/loss.py build/loss.test

Each figure is of a process of its own. With one thread the time is the processor's, which other work on the machine hardly changes.
Beside it stands what the three products, of the logits and of both gradients, reach of the processor's peak in that minute.
"""

import argparse
import re
import statistics
import subprocess

import machine
import pair


def run(binary: str, how: str, pairs: int, threads: int, times: int) -> dict[str, float]:
    """The figures of BenchmarkLoss (clip/loss/bench_test.go) by their units."""
    out = subprocess.run([binary, "-test.run", "^$", "-test.bench", f"^BenchmarkLoss$/^{how}$/^{pairs}$", "-test.benchtime", f"{times}x",
                          "-test.cpu", str(threads)], check=True, capture_output=True, text=True).stdout
    found = re.search(r"^BenchmarkLoss/.*$", out, re.MULTILINE)
    if found is None:
        raise SystemExit(f"{binary} printed no figure:\n{out}")
    words = found[0].split()[2:]
    return {unit: float(value) for value, unit in zip(words[::2], words[1::2])}


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("binary", help="the compiled tests of package clip")
    ap.add_argument("--rounds", type=int, default=5, help="how often the two take turns")
    args = ap.parse_args()
    print("\nThe contrastive loss and its gradients, pairs of 512 numbers\n\n| pairs | tiles | dense | ratio | of all pairs | products of the tiles | of dense |\n|---|---|---|---|---|---|---|")
    for pairs, times in (256, 50), (1024, 10), (4096, 2):
        for threads, what, unit in (1, "processor time, one thread", "cpu-ms/op"), (2, "two threads", "ns/op"):
            seconds = 1e-3 if unit == "cpu-ms/op" else 1e-9
            time = lambda how: run(args.binary, how, pairs, threads, times)[unit] * seconds
            peak, flops = machine.peaks(threads), 3 * 2 * 512 * pairs**2
            result = pair.alternate(f"{pairs}, {what}", "ms", lambda: time("tiled"), lambda: time("dense"), args.rounds, 1e3)
            shares = (machine.share(flops, statistics.median(side) * 1e-3, "fp32", peak) for side in (result.ours, result.peer))
            print(f"{result.row()} {' | '.join(shares)} |", flush=True)
    print("\nThe most memory beside features and their gradients\n\n| pairs | tiles | dense |\n|---|---|---|")
    for pairs in 1024, 4096, 16384:
        tiled, dense = (run(args.binary, how, pairs, 2, 1)["beyond-MiB"] for how in ("tiled", "dense"))
        print(f"| {pairs} | {tiled:.0f} MiB | {dense:.0f} MiB |", flush=True)


if __name__ == "__main__":
    main()
