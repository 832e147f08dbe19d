"""Images and captions to features on the CPU, beside the peers at their best: same weights, same inputs, by turns.

  go test -c -o build/clip.test ./clip && python benchmarks/encode.py build/clip.test build/ViT-B-32

The peers are open_clip and transformers in float32 and bfloat16, onnxruntime and OpenVINO with the tower that PyTorch exports,
and faster-clip, which keeps the weights in 8 bits and reads encoded images (its texts are another model's).

The images are random ones of the tower's size, normalised beforehand, for faster-clip as PNG; the captions are ordinary ones (9 tokens on average; the peers
read 77). Each side has as many threads as --threads says. In a round every side encodes several times; a figure is the median over
the rounds of its median, a ratio the median of the rounds' ratios to goclip in the same precision, with their spread. GFLOP/s count
the products of the whole tower, for goclip's captions of the tokens that it computes, and stand beside what the processor's
arithmetic reached in the minute before (machine.py). The least cosine is with open_clip's float32 features.

--beside 2 measures beside two processes that compute all the time; GOMP_SPINCOUNT in the environment holds for goclip and for PyTorch.
"""

import argparse
import contextlib
import importlib.metadata
import io
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time
import warnings

import faster_clip
import machine
import numpy as np
import onnxruntime
import open_clip
import openvino
import PIL.Image
import torch
import transformers
from safetensors.torch import load_file

ROOT = pathlib.Path(__file__).resolve().parent.parent

CAPTIONS = ("a dog runs over the wet sand", "two people on a bench in the park", "a red car in front of an old house, seen from the street",
            "the kitchen of a small restaurant", "a cat", "an aerial photograph of a river in winter", "children play football after school",
            "a plate of noodles with vegetables and an egg")


def exported(model: torch.nn.Module, encode, example: torch.Tensor, path: pathlib.Path) -> None:
    """The tower as ONNX."""
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


def onnx(path: pathlib.Path, threads: int):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda x: torch.from_numpy(session.run(None, {"x": x.numpy()})[0])


def vino(path: pathlib.Path, precision: str, threads: int):
    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"})
    return lambda x: torch.from_numpy(compiled(x.numpy())[0])


def fast(hf: pathlib.Path, cache: pathlib.Path, images: list[bytes]):
    """faster-clip's image tower on the first of the PNGs, with these weights laid where it keeps its downloads."""
    file = cache / "sentence-transformers__clip-ViT-B-32/0_CLIPModel/model.safetensors"
    file.parent.mkdir(parents=True)
    file.symlink_to(hf / "model.safetensors")
    os.environ["FASTER_CLIP_CACHE"] = str(cache)
    tower = faster_clip.ClipModel()
    return lambda x: torch.tensor(tower.encode_image(images[:len(x)]))


def pictures(n: int) -> tuple[torch.Tensor, list[bytes]]:
    """Random images of the tower's size: normalised, and as PNG."""
    draws = np.random.default_rng(0).integers(0, 256, (n, 224, 224, 3), np.uint8)
    files = []
    for image in draws:
        file = io.BytesIO()
        PIL.Image.fromarray(image).save(file, "PNG")
        files.append(file.getvalue())
    mean, std = np.float32(open_clip.OPENAI_DATASET_MEAN), np.float32(open_clip.OPENAI_DATASET_STD)
    return torch.from_numpy(np.ascontiguousarray(((draws / np.float32(255) - mean) / std).transpose(0, 3, 1, 2))), files


def flops(width: int, layers: int, tokens: list[int], patch: int = 0) -> float:
    """Of the products of a tower on sequences of these lengths, an addition and a multiplication each."""
    return sum(2 * n * width * (12 * width + 2 * n) * layers + 2 * n * width * patch for n in tokens)


def goclip(binary: pathlib.Path, model: pathlib.Path, folder: str, case: str, times: int, threads: int) -> float:
    """The mean seconds of a case of BenchmarkEncode, "bf16/pictures/8", in a process of its own."""
    out = subprocess.run([binary.resolve(), "-test.run", "^$", "-test.bench", "^BenchmarkEncode$/" + "/".join(f"^{part}$" for part in case.split("/")),
                          "-test.benchtime", f"{times}x", "-test.cpu", str(threads)], check=True, capture_output=True, text=True,
                         env=os.environ | {"GOCLIP_BENCH_MODEL": str(model.resolve()), "GOCLIP_BENCH_INPUTS": folder}).stdout
    return float(re.search(r"([\d.]+) ns/op", out)[1]) * 1e-9


@contextlib.contextmanager
def neighbours(n: int):
    """n other processes that compute all the time."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()


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
    ap.add_argument("--only", default="", help="only the tables whose name holds this, as \"32 pictures\"")
    ap.add_argument("--beside", type=int, default=0, metavar="N", help="other processes that compute all the time")
    args = ap.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    model = open_clip.create_model("ViT-B-32").eval()
    model.load_state_dict(load_file(args.model / "open_clip_model.safetensors"))
    half = open_clip.create_model("ViT-B-32", precision="pure_bf16").eval()
    half.load_state_dict(model.state_dict())
    pixels, files = pictures(32)
    tokens = open_clip.get_tokenizer("ViT-B-32")([CAPTIONS[i % len(CAPTIONS)] for i in range(32)])
    lengths = (tokens.argmax(1) + 1).tolist()
    print(f"{machine.header()}\nopen_clip {open_clip.__version__}, transformers {transformers.__version__}, PyTorch {torch.__version__}, onnxruntime {onnxruntime.__version__}, "
          f"OpenVINO {openvino.__version__}, faster-clip {importlib.metadata.version('faster-clip')}, {args.threads} threads\n")
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        work = pathlib.Path(folder)
        pixels.numpy().tofile(work / "pixels")
        tokens.numpy().tofile(work / "tokens")
        subprocess.run([ROOT / "bin/infer", "convert", "--to", "hf", args.model, work / "hf"], check=True, capture_output=True)
        features = lambda out: getattr(out, "pooler_output", out)  # noqa: E731
        hf = transformers.CLIPModel.from_pretrained(work / "hf", attn_implementation="sdpa").eval()
        hf_half = transformers.CLIPModel.from_pretrained(work / "hf", attn_implementation="sdpa", dtype=torch.bfloat16).eval()
        hugging = {"pictures": lambda m, x: features(m.get_image_features(pixel_values=x.to(m.dtype))), "texts": lambda m, x: features(m.get_text_features(input_ids=x))}

        for what, inputs in ("pictures", pixels), ("texts", tokens):
            encode = {"pictures": lambda m, x: m.encode_image(x), "texts": lambda m, x: m.encode_text(x)}[what]
            exported(model, lambda x: encode(model, x), inputs[:2], work / f"{what}.onnx")  # noqa: B023
            peers = {  # what each gives of the inputs
                ("open_clip", "fp32"): lambda x: encode(model, x),  # noqa: B023
                ("open_clip", "bf16"): lambda x: encode(half, x.bfloat16() if x.is_floating_point() else x),  # noqa: B023
                ("transformers", "fp32"): lambda x: hugging[what](hf, x),  # noqa: B023
                ("transformers", "bf16"): lambda x: hugging[what](hf_half, x),  # noqa: B023
                ("onnxruntime", "fp32"): onnx(work / f"{what}.onnx", args.threads),
                ("OpenVINO", "fp32"): vino(work / f"{what}.onnx", "f32", args.threads),
                ("OpenVINO", "bf16"): vino(work / f"{what}.onnx", "bf16", args.threads),
            }
            if what == "pictures":
                peers["faster-clip", "int8"] = fast(work / "hf", work / "faster-clip", files)
            for n, times in (1, 20), (8, 6), (32, 3):
                if args.only not in f"{n} {what}":
                    continue
                x = inputs[:n].clone()
                want = torch.nn.functional.normalize(encode(model, x)).double()
                cosine = lambda got: (torch.nn.functional.normalize(got.double()) * want).sum(1).min().item()  # noqa: B023, E731
                least = {side: cosine(peer(x)) for side, peer in peers.items()}  # and they are warm
                assert all(c > (0.99999 if side[1] == "fp32" else 0.99) for side, c in least.items()), least
                peak, rounds = machine.peaks(args.threads), []
                with neighbours(args.beside):
                    for _ in range(args.rounds):
                        took = {("goclip", p): goclip(args.binary, args.model, folder, f"{p}/{what}/{n}", times, args.threads) for p in ("fp32", "fp32-strict", "bf16", "int8")}
                        rounds.append(took | {side: statistics.median(timed(lambda: peer(x), times)) for side, peer in peers.items()})  # noqa: B023
                for side in rounds[0]:
                    if side[0] == "goclip":
                        got = np.fromfile(work / f"{side[1]}-{what}-{n}", dtype=np.float32)
                        least[side] = cosine(torch.from_numpy(got).view(n, -1))
                whole = flops(768, 12, [50] * n, 3072) if what == "pictures" else flops(512, 12, [77] * n)
                own = whole if what == "pictures" else flops(512, 12, lengths[:n])
                print(f"\n{n} {what}. {machine.minute(peak)}"
                      "\n\n| side | precision | median | goclip is times faster | GFLOP/s | of the peak | least cosine |\n|---|---|---|---|---|---|---|")
                for side in rounds[0]:
                    seconds, ratios = statistics.median(r[side] for r in rounds), sorted(r[side] / r["goclip", side[1]] for r in rounds)
                    rate = (own if side[0] == "goclip" else whole) * 1e-9 / seconds
                    faster = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})" if side[0] != "goclip" else ""
                    print(f"| {side[0]} | {side[1]} | {seconds * 1e3:.1f} ms | {faster} | {rate:,.0f} | {rate / machine.peak_of(side[1], peak):.0%} | {least[side]:.6f} |", flush=True)


if __name__ == "__main__":
    main()
