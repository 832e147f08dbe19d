"""Pictures and captions to features on the CPU, beside open_clip and onnxruntime: same weights, same inputs, by turns.

  go test -c -o build/clip.test ./clip && python benchmarks/encode.py build/clip.test build/ViT-B-32

The pictures are random numbers of their size, ready for the tower; the captions are ordinary ones (12 tokens on average, open_clip
and onnxruntime read 77). Each side has two threads. In a round each encodes once for each repetition; a figure is the median of all,
the ratio is the median of the rounds' ratios with their spread. The least cosine with open_clip's features is printed beside each.
"""

import argparse
import os
import pathlib
import re
import statistics
import subprocess
import tempfile
import time
import warnings

import numpy as np
import onnxruntime
import open_clip
import torch
from safetensors.torch import load_file

CAPTIONS = ("a dog runs over the wet sand", "two people on a bench in the park", "a red car in front of an old house, seen from the street",
            "the kitchen of a small restaurant", "a cat", "an aerial photograph of a river in winter", "children play football after school",
            "a plate of noodles with vegetables and an egg")


def exported(model: torch.nn.Module, encode, example: torch.Tensor, path: pathlib.Path, threads: int):
    """The tower in onnxruntime, exported by PyTorch."""
    class Tower(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, x):
            return encode(x)

    torch.backends.mha.set_fastpath_enabled(False)  # the exporter knows no fused attention
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(Tower(), (example,), path, input_names=["x"], output_names=["y"], dynamic_axes={"x": {0: "n"}, "y": {0: "n"}},
                          opset_version=17, dynamo=False)
    torch.backends.mha.set_fastpath_enabled(True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda x: torch.from_numpy(session.run(None, {"x": x.numpy()})[0])


def timed(f, times: int) -> list[float]:
    out = []
    for _ in range(times):
        start = time.perf_counter()
        f()
        out.append(time.perf_counter() - start)
    return out


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("binary", type=pathlib.Path, help="the compiled tests of package clip")
    ap.add_argument("model", type=pathlib.Path, help="a directory with a ViT-B-32")
    ap.add_argument("--rounds", type=int, default=5)
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--only", default="", help="only the rows whose name holds this")
    args = ap.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    model = open_clip.create_model("ViT-B-32").eval()
    model.load_state_dict(load_file(args.model / "open_clip_model.safetensors"))
    pixels = torch.randn(32, 3, 224, 224)
    tokens = open_clip.get_tokenizer("ViT-B-32")([CAPTIONS[i % len(CAPTIONS)] for i in range(32)])
    print(f"open_clip {open_clip.__version__}, PyTorch {torch.__version__}, onnxruntime {onnxruntime.__version__}, {args.threads} threads\n")
    print("| work | goclip | open_clip | times faster | onnxruntime | times faster | least cosine |\n|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        work = pathlib.Path(folder)
        pixels.numpy().tofile(work / "pixels")
        tokens.numpy().tofile(work / "tokens")

        def ours(case: str, times: int) -> float:
            out = subprocess.run([args.binary.resolve(), "-test.run", "^$", "-test.bench", "^BenchmarkEncode$/" + "/".join(f"^{part}$" for part in case.split("/")),
                                  "-test.benchtime", f"{times}x", "-test.cpu", str(args.threads)], check=True, capture_output=True, text=True,
                                 env=os.environ | {"GOCLIP_BENCH_MODEL": str(args.model.resolve()), "GOCLIP_BENCH_INPUTS": folder}).stdout
            return float(re.search(r"([\d.]+) ns/op", out)[1]) * 1e-9

        towers = {"pictures": (model.encode_image, pixels), "texts": (model.encode_text, tokens)}
        for what, (encode, inputs) in towers.items():
            onnx = exported(model, encode, inputs[:2], work / f"{what}.onnx", args.threads)
            for n, times in (1, 10), (8, 4), (32, 2):
                x = inputs[:n].clone()
                for precision in "plain", "fp32", "bf16", "int8":
                    name = f"{n} {what}, {precision}"
                    if args.only not in name:
                        continue
                    want, _ = torch.nn.functional.normalize(encode(x)), onnx(x)  # and both are warm
                    rounds = []
                    for _ in range(args.rounds):
                        rounds.append((ours(f"{precision}/{what}/{n}", times), statistics.median(timed(lambda: encode(x), times)), statistics.median(timed(lambda: onnx(x), times))))
                    got = torch.from_numpy(np.fromfile(work / f"{precision}-{what}-{n}", dtype=np.float32)).view(n, -1)
                    cosine = (want.double() * got.double()).sum(1).min().item()
                    mine, theirs, onnxs = (statistics.median(column) for column in zip(*rounds))
                    ratio = lambda i: sorted(r[i] / r[0] for r in rounds)  # noqa: B023, E731
                    say = lambda r: f"{statistics.median(r):.2f} ({r[0]:.2f} to {r[-1]:.2f})"  # noqa: E731
                    print(f"| {name} | {mine * 1e3:.1f} ms | {theirs * 1e3:.1f} ms | {say(ratio(1))} | {onnxs * 1e3:.1f} ms | {say(ratio(2))} | {cosine:.6f} |", flush=True)


if __name__ == "__main__":
    main()
