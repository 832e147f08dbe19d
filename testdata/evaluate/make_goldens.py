"""Writes two small data sets in CLIP_benchmark's layout, by its own exporter, and what its own functions say of the
shipped model on them, for train/evaluate and cmd/infer.

  pip install torch==2.11.0 torchvision==0.26.0 open_clip_torch==3.3.0 webdataset==1.0.2 numpy==2.3.5 scikit-learn==1.9.1 \
      clip_benchmark==1.6.2
  python -O testdata/evaluate/make_goldens.py

-O leaves out the assertion that linear probes run on CUDA alone.
"""

import io
import json
import pathlib
import re
import shutil
import tarfile
import tempfile
import types

import open_clip
import torch
import webdataset.writer
from clip_benchmark.datasets.builder import build_dataset
from clip_benchmark.metrics import linear_probe, zeroshot_classification, zeroshot_retrieval
from clip_benchmark.webdataset_builder import PIL_to_bytes, convert_dataset, convert_retrieval_dataset
from PIL import Image

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
CLASSES = ["1f52d", "1f484", "1f914", "1f4b8", "1f41a", "1f32b", "1f6b4", "1f4e8"]  # drawn by three hands or more
OTHERS = ["cat face", "red apple", "automobile", "rainbow", "soccer ball", "microscope", "kiss mark"]
TEMPLATES = ["a drawing of a {c}.", "{c}", "an emoji of the {c}."]
PAIRS, SIZE, BATCH, SEED = 30, 32, 16, 0


def members(name: str) -> list[tuple[str, str, Image.Image]]:
    """Hand, code and image of each .png, with its caption in image.info."""
    out = []
    with tarfile.open(ROOT / "data" / name) as tar:
        for m in tar:
            if not m.name.endswith(".png"):
                continue
            hand, code = m.name.removesuffix(".png").rsplit("_", 1)
            image = Image.open(io.BytesIO(tar.extractfile(m).read())).convert("RGB")
            image.info["caption"] = tar.extractfile(m.name.replace(".png", ".txt")).read().decode().strip()
            out.append((hand, code, image))
    return out


class Set(list):
    """Samples with what the exporter asks for."""

    classes, templates = None, None


def classes(names: dict[str, str]) -> tuple[Set, Set]:
    """Training and test images: hands of the same emoji, turned and cropped, not equally many of a class."""
    train, test = Set(), Set()
    for train_or_test in (train, test):
        train_or_test.classes = [names[c] for c in CLASSES] + OTHERS
        train_or_test.templates = TEMPLATES
    drawn = members("emoji-demo.tar")
    for label, code in enumerate(CLASSES):
        hands = [image for _, c, image in drawn if c == code]
        for i, image in enumerate(hands):
            for turn in (-60, 20, 130):
                one = image.rotate(turn, fillcolor=(255, 255, 255)).resize((SIZE, SIZE))
                noise = drawn[(37 * len(train) + 11 * len(test)) % len(drawn)][2].resize((SIZE, SIZE))
                one = Image.blend(one, noise, 0.45)
                (test if (i + turn // 10) % 3 == 0 else train).append((PIL_to_bytes("webp")(one), label))
    return train, test


def pairs(drawn: list[tuple[str, str, Image.Image]]) -> Set:
    """Images of one to three captions, all different: of equal ones torch.topk takes any first."""
    out = Set()
    for i, (_, _, image) in enumerate(drawn[:: len(drawn) // PAIRS][:PAIRS]):
        name = image.info["caption"]
        captions = [name, "an emoji of the " + name, f"{name}, drawn by hand"][: 1 + i % 3]
        out.append((PIL_to_bytes("webp")(image.resize((SIZE, SIZE))), captions))
    return out


def export() -> None:
    webdataset.writer.time = types.SimpleNamespace(time=lambda: 0)  # the same archives each time
    for name in ("classes", "captions"):
        shutil.rmtree(HERE / name, ignore_errors=True)
    held_out = members("openmoji-eval-00000.tar") + members("openmoji-eval-00001.tar")
    train, test = classes({code: re.sub(r"[^\w ]", "", image.info["caption"]) for _, code, image in held_out})
    for split, samples in (("train", train), ("test", test)):
        convert_dataset(samples, split, str(HERE / "classes"), max_count=50, verbose=False)
    convert_retrieval_dataset(pairs(held_out), "test", str(HERE / "captions"), max_count=50, verbose=False)


def loader(name: str, split: str, transform) -> torch.utils.data.DataLoader:
    dataset = build_dataset("wds/" + name, root=str(HERE / name), transform=transform, split=split)
    return torch.utils.data.DataLoader(dataset.batched(BATCH), batch_size=None, shuffle=False, num_workers=0)


def probes(model, transform) -> list[dict]:
    """linear_probe.evaluate without CUDA: with no validation rows, with the test's as such, and with three shots."""
    torch.nn.Module.cuda = torch.Tensor.cuda = lambda self, *_: self
    torch.nn.DataParallel = lambda module, device_ids: module
    out = []
    for shots, validate in ((-1, False), (-1, True), (3, False)):
        with tempfile.TemporaryDirectory() as features:
            for _ in range(2):  # the first time it keeps the features, and the loaders draw numbers too
                torch.manual_seed(SEED)
                result = linear_probe.evaluate(
                    model, loader("classes", "train", transform), loader("classes", "test", transform), shots, BATCH, 0, 0.1, 10,
                    "m", SEED, features, "cpu", val_dataloader=loader("classes", "test", transform) if validate else None, amp=False)
            out.append(result)
            if shots < 0 and not validate:
                x, y = (torch.load(f"{features}/m/{part}_train.pt") for part in ("features", "targets"))
                torch.manual_seed(SEED)
                order = torch.randperm(len(x))
                data = torch.utils.data.DataLoader(linear_probe.FeatureDataset(x[order], y[order]), batch_size=BATCH, shuffle=True)
                fit = linear_probe.train(data, x.shape[1], int(y.max()) + 1, 0, 0.1, 10, False, "cpu", SEED)
                out[-1]["bias"] = fit.bias.tolist()
    return out


def main() -> None:
    export()
    torch.set_num_threads(1)
    model, _, transform = open_clip.create_model_and_transforms("local-dir:" + str(ROOT / "models" / "emoji-64"))
    tokenizer = open_clip.get_tokenizer("local-dir:" + str(ROOT / "models" / "emoji-64"))
    model.eval()
    test = loader("classes", "test", transform)
    out = {
        "zeroshot_classification": zeroshot_classification.evaluate(
            model, test, tokenizer, test.dataset.classes, test.dataset.templates, "cpu", amp=False),
        "zeroshot_retrieval": zeroshot_retrieval.evaluate(
            model, loader("captions", "test", transform), tokenizer, "cpu", amp=False, recall_k_list=[1, 5, 10]),
        "linear_probe": probes(model, transform),
    }
    (HERE / "goldens.json").write_text(json.dumps(out, indent=1) + "\n")
    print(json.dumps({k: v for k, v in out.items()}, indent=1))


if __name__ == "__main__":
    main()
