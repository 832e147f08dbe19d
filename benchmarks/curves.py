"""How the cost of encoding grows, beside open_clip's: with the batch, the captions' length, threads and processes, and the pictures.

  go test -c -o build/clip.test ./clip && build/venv/bin/python benchmarks/curves.py build/clip.test build/ViT-B-32 docs/cost.svg

Prints the tables and draws them. Both sides take turns at each point; a figure is the median over the rounds. Beside it stands how
much of the processor's peak in the minute before (machine.py) the tower's products reached in that time.
"""

import argparse
import math
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

import matplotlib
import open_clip
import torch
from safetensors.torch import load_file

matplotlib.use("svg")
matplotlib.rcParams |= {"svg.hashsalt": "goclip", "font.size": 9}
import matplotlib.pyplot as plt  # noqa: E402

import folder as jpegs  # noqa: E402
import machine  # noqa: E402
from encode import flops, goclip, timed  # noqa: E402

CPUS = len(os.sched_getaffinity(0))
PICTURE = flops(768, 12, [50], 3072)  # of the products of ViT-B/32's image tower
LENGTHS = (4, 8, 12, 16, 24, 40, 77)  # tokens of a caption, start and end included


def median(f, rounds: int) -> float:
    return statistics.median(f() for _ in range(rounds))


def table(title: str, head: list[str], rows: list[list], peak: dict[str, float], rate) -> None:
    """rate tells of a row's first cell, a column's name and its value how many operations a second those are."""
    print(f"\n{title}. {machine.minute(peak)}\n\n| {' | '.join(head)} |\n|{'---|' * len(head)}")
    share = lambda x, name, value: rate(x, name, value) * 1e-9 / machine.peak_of("bf16" if "bf16" in name else "fp32", peak)  # noqa: E731
    for x, *values in rows:
        print("| " + " | ".join([str(x), *("" if math.isnan(v) else f"{v:,.1f} ({share(x, name, v):.0%})" for name, v in zip(head[1:], values))]) + " |", flush=True)


def draw(ax, title: str, head: list[str], rows: list[list], xlabel: str, ylabel: str, log: bool = True) -> None:
    x = [row[0] for row in rows]
    for i, name in enumerate(head[1:], 1):
        ax.plot(x, [row[i] for row in rows], marker="o", markersize=3, label=name)
    if log:
        ax.set_xscale("log", base=2)
        ax.set_yscale("log")
    ax.set_xticks(x, [str(v) for v in x])
    ax.minorticks_off()
    ax.set(title=title, xlabel=xlabel, ylabel=ylabel)
    ax.grid(alpha=0.3)
    ax.legend()


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("binary", type=pathlib.Path, help="the compiled tests of package clip")
    ap.add_argument("model", type=pathlib.Path, help="a directory with a ViT-B-32")
    ap.add_argument("plot", type=pathlib.Path, help="the SVG to draw")
    ap.add_argument("--rounds", type=int, default=3)
    args = ap.parse_args()
    torch.set_num_threads(CPUS)
    torch.manual_seed(0)
    model = open_clip.create_model("ViT-B-32").eval()
    model.load_state_dict(load_file(args.model / "open_clip_model.safetensors"))
    pixels = torch.randn(32, 3, 224, 224)
    figure, axes = plt.subplots(2, 2, figsize=(10, 7.5), layout="constrained")
    with tempfile.TemporaryDirectory() as work, torch.inference_mode():
        work = pathlib.Path(work)
        pixels.numpy().tofile(work / "pixels")

        def ours(case: str, threads: int = CPUS, times: int = 2, inputs: pathlib.Path = work) -> float:
            return goclip(args.binary, args.model, str(inputs), case, times, threads)

        open_clip.get_tokenizer("ViT-B-32")(["a dog"]).numpy().tofile(work / "tokens")
        peak = machine.peaks(CPUS)
        head, rows = ["pictures in a batch", "goclip, fp32", "goclip, bf16", "open_clip"], []
        for n in (1, 2, 4, 8, 16, 32, 64, 128, 256):
            times, x = max(2, 16 // n), pixels.repeat(-(-n // 32), 1, 1, 1)[:n]
            model.encode_image(x)
            points = [[1e3 / n * t for t in (ours(f"fp32/pictures/{n}", times=times), ours(f"bf16/pictures/{n}", times=times), statistics.median(timed(lambda: model.encode_image(x), times)))]  # noqa: B023
                      for _ in range(args.rounds if n < 64 else 1)]
            rows.append([n, *map(statistics.median, zip(*points))])
        table("Milliseconds for a picture", head, rows, peak, lambda n, name, ms: PICTURE / ms * 1e3)
        draw(axes[0, 0], "Pictures", head, rows, head[0], "ms for a picture")

        peak = machine.peaks(CPUS)
        head, rows = ["tokens of each of 32 captions", "goclip", "goclip, bf16", "open_clip"], []
        for length in LENGTHS:
            inputs = work / str(length)
            inputs.mkdir()
            (inputs / "pixels").symlink_to(work / "pixels")
            tokens = torch.zeros(32, 77, dtype=torch.int64)
            tokens[:, 0], tokens[:, 1 : length - 1], tokens[:, length - 1] = 49406, torch.randint(300, 40000, (32, length - 2)), 49407
            tokens.numpy().tofile(inputs / "tokens")
            model.encode_text(tokens)
            points = [[1e3 * t for t in (ours("plain/texts/32", inputs=inputs), ours("bf16/texts/32", inputs=inputs), statistics.median(timed(lambda: model.encode_text(tokens), 2)))]  # noqa: B023
                      for _ in range(args.rounds)]
            rows.append([length, *map(statistics.median, zip(*points))])
        table("Milliseconds for 32 captions", head, rows, peak, lambda n, name, ms: 32e3 * flops(512, 12, [77 if name == "open_clip" else n]) / ms)
        draw(axes[0, 1], "Captions", head, rows, head[0], "ms for all")

        peak = machine.peaks(CPUS)
        head, rows = ["processes x threads", "goclip, fp32", "goclip, bf16", "open_clip"], []
        used = {}  # CPUs of each row
        for processes, threads in sorted({(1, 1), (1, CPUS), (CPUS, 1), (CPUS, CPUS)}):
            def rate(precision: str) -> float:
                with ThreadPoolExecutor(processes) as pool:  # noqa: B023
                    return sum(32 / t for t in pool.map(lambda _: ours(f"{precision}/pictures/32", threads, 3), range(processes)))  # noqa: B023

            peer = float("nan")
            if processes == 1:
                torch.set_num_threads(threads)
                peer = 32 / statistics.median(timed(lambda: model.encode_image(pixels), 3))
                torch.set_num_threads(CPUS)
            used[f"{processes} x {threads}"] = min(CPUS, processes * threads)
            rows.append([f"{processes} x {threads}", median(lambda: rate("fp32"), 1), median(lambda: rate("bf16"), 1), peer])  # noqa: B023
        table("Pictures a second in batches of 32, of the peak of the CPUs used", head, rows, peak, lambda x, name, pictures: pictures * PICTURE * CPUS / used[x])
        ax, width = axes[1, 0], 0.27
        for i, name in enumerate(head[1:], 1):
            ax.bar([j + (i - 2) * width for j in range(len(rows))], [row[i] for row in rows], width, label=name)
        ax.set_xticks(range(len(rows)), [row[0] for row in rows])
        ax.set(title="Threads and processes", xlabel=head[0], ylabel="pictures a second")
        ax.legend()

        peak = machine.peaks(CPUS)
        head, rows = ["pictures", "goclip, fp32", "goclip, bf16"], []
        some = work / "some"
        some.mkdir()
        jpegs.write_pictures(some, 1024)
        for n in (1, 4, 16, 64, 256, 1024):
            (work / "list").write_text("\n".join(str(path) for path in sorted(some.iterdir())[:n]))
            rows.append([n, *(median(lambda: jpegs.seconds([jpegs.ROOT / "bin/infer", "embed", "--model", args.model, "--image-list", work / "list", "--precision", p,  # noqa: B023
                                                             "--out", work / "out"]), args.rounds if n < 256 else 1) for p in ("fp32", "bf16"))])
        table("Seconds of `infer embed` on JPEGs of 640x480, start included", head, rows, peak, lambda n, name, s: n * PICTURE / s)
        draw(axes[1, 1], "Whole command on JPEGs of 640x480", head, rows, head[0], "seconds")
    figure.savefig(args.plot, metadata={"Date": None})
    print(f"\n{args.plot} shows them; open_clip {open_clip.__version__}, PyTorch {torch.__version__}, {CPUS} CPUs", file=sys.stderr)


if __name__ == "__main__":
    main()
