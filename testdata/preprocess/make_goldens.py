"""Makes the goldens of clip/preprocess: what Pillow, torchvision and open_clip give for the pictures of pictures.py.

    pip install pillow==13.0.0 torch==2.11.0 torchvision==0.26.0 open_clip_torch==3.3.0 transformers==5.24.0 scikit-image
    python testdata/preprocess/make_goldens.py              # pictures and goldens
    python testdata/preprocess/make_goldens.py --keep       # goldens of the pictures that are there

The SHA-256 of upright pictures are those of ImageOps.exif_transpose. The Hugging Face cases are transformers' Pillow
image processors, given the text of a preprocessor_config.json, after convert("RGB"): so convert_to_rgb was up to
transformers 4.57, with which the published models were scored; version 5 lays transparent pictures on white.

Writes pictures/*, goldens.json (modes, sizes, SHA-256 of the decoded bytes, and for every transform its place in
goldens.bin.gz, which holds the (H, W, 3) bytes just before ToTensor) and normalize.f32 (3 x 256 float32 of
ToTensor and Normalize).
"""
import argparse
import gzip
import hashlib
import json
import random
from pathlib import Path

import numpy as np
import torch
import torchvision.transforms.functional as F
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from open_clip.transform import image_transform
from PIL import Image, ImageOps
from torchvision.transforms import Compose, InterpolationMode
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

import pictures

HERE = Path(__file__).parent
LARGE = {"face_420.jpg", "rgb_500x333.png"}  # 224 pixels as well
MODES = {"face_420.jpg", "rgb_500x333.png", "rgb_1x1.png", "rgb_3x7.png", "rgb_1x500.png", "rgba.png", "palette.png",
         "grey16.png", "bit.png", "cup_cmyk.jpg", "rgb_129x200.png", "grey_alpha.png"}


class Store:
    def __init__(self):
        self.blob = bytearray()

    def add(self, im):
        assert im.mode == "RGB"
        at = len(self.blob)
        self.blob += im.tobytes()
        return {"at": at, "size": [im.height, im.width]}


# Texts of preprocessor_config.json: CLIP's of today, its first form, a margin around the crop, a crop beyond the
# picture, and SigLIP's.
HF_CONFIGS = [
    {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 25}, "crop_size": {"height": 25, "width": 25},
     "resample": 3, "do_convert_rgb": True, "rescale_factor": 0.00392156862745098,
     "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]},
    {"feature_extractor_type": "CLIPFeatureExtractor", "size": 24, "crop_size": 24, "do_resize": True,
     "do_center_crop": True, "do_normalize": True, "resample": 3},
    {"size": {"shortest_edge": 30}, "crop_size": {"height": 23, "width": 27}, "resample": 2},
    {"size": {"shortest_edge": 17}, "crop_size": {"height": 22, "width": 28}},
    {"image_processor_type": "SiglipImageProcessor", "size": {"height": 20, "width": 26}, "resample": 3,
     "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]},
    {"image_processor_type": "SiglipImageProcessor", "size": {"height": 24, "width": 24}, "resample": 2},
]
HF_FILES = ["rgb_129x200.png", "rgb_3x7.png", "rgba.png", "palette.png", "grey.png", "grey_alpha.png", "grey16.png",
            "cup_odd.jpg", "cup_cmyk.jpg"]


def sha(data):
    return hashlib.sha256(data).hexdigest()


def decoded(im):
    raw = im.convert("L") if im.mode == "1" else im
    return {"mode": im.mode, "size": [im.height, im.width], "bytes": sha(raw.tobytes()),
            "rgb": sha(im.convert("RGB").tobytes())}


def evaluation(im, store, name):
    """The configurations of one picture: preprocess_cfg keys and the result."""
    configs = [{"size": 32}]
    if name in LARGE:
        configs.append({"size": 224})
    if name in MODES:
        for mode in ("longest", "squash"):
            configs.append({"size": 24, "resize_mode": mode, "fill_color": 90 if mode == "longest" else 0})
        configs.append({"size": 25, "interpolation": "bilinear"})
        configs.append({"size": [20, 28]})
        configs.append({"size": [20, 28], "interpolation": "bilinear"})
    out = []
    for cfg in configs:
        size = cfg["size"] if isinstance(cfg["size"], int) else tuple(cfg["size"])
        transform = image_transform(size, is_train=False, resize_mode=cfg.get("resize_mode"),
                                    interpolation=cfg.get("interpolation"), fill_color=cfg.get("fill_color", 0))
        try:
            result = Compose(transform.transforms[:-2])(im)
        except ValueError:
            continue  # Pillow refuses a side that rounds to 0
        out.append({"config": cfg, **store.add(result)})
    return out


def training(folder, store):
    """RandomResizedCrop, ColorJitter and Grayscale with given parameters."""
    rng = random.Random(7)
    out = []
    for name in ["face_420.jpg", "rgb_129x200.png", "rgba.png", "palette.png", "grey.png", "cup_cmyk.jpg"]:
        im = Image.open(folder / name)
        for _ in range(4):
            w, h = rng.randint(1, im.width), rng.randint(1, im.height)
            x, y = rng.randint(0, im.width - w), rng.randint(0, im.height - h)
            view = F.resized_crop(im, y, x, h, w, [24, 24], InterpolationMode.BICUBIC).convert("RGB")
            case = {"file": name, "crop": [x, y, w, h], "order": [], "factor": [0, 0, 0, 0],
                    "grey": rng.random() < 0.25}
            if rng.random() < 0.8:
                case["order"] = rng.sample(range(4), 4)
                case["factor"] = [float(np.float32(rng.uniform(0.2, 1.9))) for _ in range(3)]
                case["factor"].append(float(np.float32(rng.uniform(-0.5, 0.5))))
            steps = [F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue]
            for i in case["order"]:
                view = steps[i](view, case["factor"][i])
            if case["grey"]:
                view = F.to_grayscale(view, 3)
            out.append({**case, **store.add(view)})
    return out


def hugging_face(folder, store):
    out = []
    for cfg in HF_CONFIGS:
        siglip = cfg.get("image_processor_type", "").startswith("Siglip")
        processor = (SiglipImageProcessorPil if siglip else CLIPImageProcessorPil)(**cfg)
        for name in HF_FILES:
            im = Image.open(folder / name).convert("RGB")
            values = processor(im, return_tensors="np", do_rescale=False, do_normalize=False)["pixel_values"][0]
            assert values.dtype == np.uint8
            out.append({"file": name, "config": cfg, **store.add(Image.fromarray(values.transpose(1, 2, 0)))})
    return out


def hugging_face_levels():
    """The 256 grey levels after rescale and normalize: float32, (3, 256)."""
    levels = Image.fromarray(np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2))
    processor = CLIPImageProcessorPil(do_resize=False, do_center_crop=False)
    return processor(levels, return_tensors="np")["pixel_values"][0].reshape(3, 256).astype("<f4")


def jpeg_drafts(folder, store):
    out = []
    for scale in (2, 4, 8):
        im = Image.open(folder / "face_420.jpg")
        im.draft("RGB", (im.width // scale, im.height // scale))
        out.append({"file": "face_420.jpg", "scale": scale, **store.add(im.convert("RGB"))})
    return out


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--keep", action="store_true")
    folder = HERE / "pictures"
    if not args.parse_args().keep:
        pictures.write_all(folder)
    store, files = Store(), []
    for path in sorted(folder.iterdir()):
        im = Image.open(path)
        im.load()
        entry = {"file": path.name, **decoded(im)}
        upright = ImageOps.exif_transpose(im)
        if upright.size != im.size or upright.tobytes() != im.tobytes():
            entry["upright"] = {"size": [upright.height, upright.width], "rgb": sha(upright.convert("RGB").tobytes())}
        entry["transforms"] = evaluation(im, store, path.name)
        files.append(entry)
    goldens = {"files": files, "training": training(folder, store), "drafts": jpeg_drafts(folder, store),
               "huggingFace": hugging_face(folder, store)}
    (HERE / "goldens.json").write_text(json.dumps(goldens, indent=None, separators=(",", ":")) + "\n")
    (HERE / "goldens.bin.gz").write_bytes(gzip.compress(bytes(store.blob), 9, mtime=0))
    levels = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    table = F.normalize(F.to_tensor(levels), OPENAI_DATASET_MEAN, OPENAI_DATASET_STD)
    table = table.to(torch.float32).numpy().astype("<f4").tobytes()
    assert table == hugging_face_levels().tobytes()  # scaling in float64, as transformers does, ends on the same values
    (HERE / "normalize.f32").write_bytes(table)


if __name__ == "__main__":
    main()
