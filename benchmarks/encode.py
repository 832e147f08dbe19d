"""Pictures and captions to features on the CPU, beside open_clip, transformers and onnxruntime: same weights, same inputs, by turns.

  go test -c -o build/clip.test ./clip && python benchmarks/encode.py build/clip.test build/ViT-B-32

The pictures are random numbers of their size, ready for the tower; the captions are ordinary ones (9 tokens on average; the peers
read 77). Each side has two threads. In a round every side encodes several times; a figure is the median over the rounds of its
median, a ratio the median of the rounds' ratios with their spread. The least cosine with open_clip's features is printed beside each.
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
import transformers
from safetensors.torch import load_file

ROOT = pathlib.Path(__file__).resolve().parent.parent

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


def goclip(binary: pathlib.Path, model: pathlib.Path, folder: str, case: str, times: int, threads: int) -> float:
    """The mean seconds of a case of BenchmarkEncode, "bf16/pictures/8", in a process of its own."""
    out = subprocess.run([binary.resolve(), "-test.run", "^$", "-test.bench", "^BenchmarkEncode$/" + "/".join(f"^{part}$" for part in case.split("/")),
                          "-test.benchtime", f"{times}x", "-test.cpu", str(threads)], check=True, capture_output=True, text=True,
                         env=os.environ | {"GOCLIP_BENCH_MODEL": str(model.resolve()), "GOCLIP_BENCH_INPUTS": folder}).stdout
    return float(re.search(r"([\d.]+) ns/op", out)[1]) * 1e-9


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
    print(f"open_clip {open_clip.__version__}, transformers {transformers.__version__}, PyTorch {torch.__version__}, onnxruntime {onnxruntime.__version__}, {args.threads} threads\n")
    print("| work | goclip | open_clip | times faster | transformers | times faster | onnxruntime | times faster | least cosine |\n|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        work = pathlib.Path(folder)
        pixels.numpy().tofile(work / "pixels")
        tokens.numpy().tofile(work / "tokens")
        subprocess.run([ROOT / "bin/infer", "convert", "--to", "hf", args.model, work / "hf"], check=True, capture_output=True)
        hf = transformers.CLIPModel.from_pretrained(work / "hf", attn_implementation="sdpa").eval()
        features = lambda out: getattr(out, "pooler_output", out)  # noqa: E731
        hugging = {"pictures": lambda x: features(hf.get_image_features(pixel_values=x)), "texts": lambda x: features(hf.get_text_features(input_ids=x))}

        for what, encode, inputs in ("pictures", model.encode_image, pixels), ("texts", model.encode_text, tokens):
            onnx = exported(model, encode, inputs[:2], work / f"{what}.onnx", args.threads)
            for n, times in (1, 20), (8, 6), (32, 3):
                precisions = [p for p in ("plain", "fp32", "bf16", "int8") if args.only in f"{n} {what}, {p}"]
                if not precisions:
                    continue
                x = inputs[:n].clone()
                want = torch.nn.functional.normalize(encode(x))
                peers = (encode, hugging[what], onnx)
                for peer in peers:  # they agree, and are warm
                    assert (torch.nn.functional.normalize(peer(x)) * want).sum(1).min() > 0.99999
                rounds = [([goclip(args.binary, args.model, folder, f"{p}/{what}/{n}", times, args.threads) for p in precisions], [statistics.median(timed(lambda: peer(x), times)) for peer in peers]) for _ in range(args.rounds)]  # noqa: B023
                for i, precision in enumerate(precisions):
                    got = torch.from_numpy(np.fromfile(work / f"{precision}-{what}-{n}", dtype=np.float32)).view(n, -1)
                    row = f"| {n} {what}, {precision} | {statistics.median(r[0][i] for r in rounds) * 1e3:.1f} ms |"
                    for j in range(len(peers)):
                        ratios = sorted(r[1][j] / r[0][i] for r in rounds)
                        row += f" {statistics.median(r[1][j] for r in rounds) * 1e3:.1f} ms | {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) |"
                    print(f"{row} {(want.double() * got.double()).sum(1).min().item():.6f} |", flush=True)


if __name__ == "__main__":
    main()
