"""Whether transformers reads what infer convert --to hf writes: the same tokens, pixels and features.

  build/venv/bin/python testdata/parity/written.py MODEL

MODEL is what infer --model takes. A random one will do: random features of other pictures and texts are far apart.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

ROOT = pathlib.Path(__file__).parents[2]
PICTURES = [ROOT / "data" / "demo" / name for name in ("dog.png", "racing_car.png")]
TEXTS = ["a photo of a dog", "racing car, 2 doors", "¡olé! it's naïve", "a"]
TOLERANCE = 1e-5


def infer(*args: str, **more) -> str:
    return subprocess.run([ROOT / "bin" / "infer", *args], check=True, capture_output=True, text=True, **more).stdout


def normal(x) -> np.ndarray:
    x = getattr(x, "pooler_output", x)
    return torch.nn.functional.normalize(x, dim=-1).numpy()


@torch.inference_mode()
def main(model: str) -> int:
    with tempfile.TemporaryDirectory() as scratch:
        directory, out = f"{scratch}/hf", f"{scratch}/out"
        infer("convert", "--to", "hf", model, directory)
        infer("embed", "--model", directory, "--images", *map(str, PICTURES), "--texts", "-", "--out", out, input="\n".join(TEXTS) + "\n")
        ours = {part: np.load(f"{out}/{part}_features.npy") for part in ("image", "text")}
        ids = [json.loads(line) for line in infer("tokenize", "--model", directory, input="\n".join(TEXTS) + "\n").splitlines()]
        theirs, tokenizer = AutoModel.from_pretrained(directory).eval(), AutoTokenizer.from_pretrained(directory)
        tokens = tokenizer(TEXTS, padding="max_length", truncation=True, return_tensors="pt")
        pixels = AutoImageProcessor.from_pretrained(directory)([Image.open(p).convert("RGB") for p in PICTURES], return_tensors="pt")
        wanted = {"image": normal(theirs.get_image_features(pixels["pixel_values"])), "text": normal(theirs.get_text_features(tokens["input_ids"]))}
    end = tokenizer.eos_token_id
    same = all(a[: a.index(end) + 1] == b[: b.index(end) + 1] for a, b in zip(ids, tokens["input_ids"].tolist()))
    worst = {part: float(np.abs(ours[part] - wanted[part]).max()) for part in ours}
    print(f"{type(theirs).__name__} reads what goclip wrote: tokens {'equal' if same else 'DIFFER'}, "
          + ", ".join(f"{part} features differ by {d:.1e}" for part, d in worst.items()))
    return 0 if same and max(worst.values()) <= TOLERANCE else 1


sys.exit(main(sys.argv[1]))
