"""Writes patches.json, what transformers' Siglip2ImageProcessor makes of pictures, for clip/preprocess/patches_test.go.

  build/venv/bin/python testdata/preprocess/make_patches.py

sizes     [width, height, patch_size, max_num_patches, new height, new width] of 500 sizes
images    of each file and config: the grid's rows and columns, how many patches the mask keeps, and the SHA-256 of
          pixel_values (max_num_patches, patch_size * patch_size * 3), float32 in little-endian order

The Pillow backend is the reference, as for the other processors. How far the torchvision backend, which is transformers'
default since version 5, is from it is printed.
"""

import hashlib
import json
import random
from pathlib import Path

import numpy as np
from PIL import Image
from transformers.models.siglip2.image_processing_pil_siglip2 import Siglip2ImageProcessorPil, get_image_size_for_max_num_patches
from transformers.models.siglip2.image_processing_siglip2 import Siglip2ImageProcessor

HERE = Path(__file__).parent
CONFIGS = [{}, {"max_num_patches": 128}, {"patch_size": 8, "max_num_patches": 15}, {"patch_size": 14, "max_num_patches": 1024, "resample": 3},
           {"max_num_patches": 17, "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}]
FILES = ["rgb_129x200.png", "rgb_500x333.png", "rgb_3x7.png", "rgb_1x500.png", "rgb_1x1.png", "rgba.png", "palette.png", "grey.png", "grey16.png",
         "cup_odd.jpg", "cup_cmyk.jpg", "face_420.jpg"]


def sizes() -> list:
    rng = random.Random(5)
    rows = []
    for _ in range(500):
        w, h = (int(np.exp(rng.uniform(0, 9))) for _ in range(2))
        patch, most = rng.choice([8, 14, 16, 32]), rng.choice([1, 15, 128, 256, 576, 784, 1024])
        rows.append([w, h, patch, most, *get_image_size_for_max_num_patches(h, w, patch, most)])
    return rows


def pictures() -> list:
    rows, largest = [], 0
    for config in CONFIGS:
        for name in FILES:
            im = Image.open(HERE / "pictures" / name).convert("RGB")
            out = Siglip2ImageProcessorPil(**config)(im, return_tensors="np")
            values = out["pixel_values"][0].astype("<f4")
            rows.append({"file": name, "config": {"image_processor_type": "Siglip2ImageProcessor", **config}, "grid": out["spatial_shapes"][0].tolist(),
                         "kept": int(out["pixel_attention_mask"][0].sum()), "sha256": hashlib.sha256(values.tobytes()).hexdigest()})
            other = Siglip2ImageProcessor(**config)(im, return_tensors="np")
            assert other["spatial_shapes"].tolist() == [rows[-1]["grid"]]
            if "image_mean" not in config:
                largest = max(largest, np.abs(other["pixel_values"][0] - values).max() * 127.5)
    print(f"the torchvision backend differs by at most {largest:.2f} of 255 levels")
    return rows


(HERE / "patches.json").write_text(json.dumps({"sizes": sizes(), "images": pictures()}, separators=(",", ":")) + "\n")
