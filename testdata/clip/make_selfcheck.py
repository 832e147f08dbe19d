"""Prints the cosines that `infer doctor` compares with (cmd/infer/doctor_numbers.go), by open_clip 3.3.0.

    build/venv/bin/python testdata/clip/make_selfcheck.py
"""

import numpy as np
import open_clip
import torch
from PIL import Image

MODEL = "local-dir:models/emoji-64"
model, _, preprocess = open_clip.create_model_and_transforms(MODEL)
model.eval()
y, x = np.mgrid[:64, :64]
picture = Image.fromarray(np.stack([4 * x, 4 * y, 2 * (x + y)], axis=-1).astype(np.uint8))
texts = open_clip.get_tokenizer(MODEL)(["a rainbow", "a racing car"])
with torch.no_grad():
    image = model.encode_image(preprocess(picture)[None], normalize=True)
    print((image @ model.encode_text(texts, normalize=True).T).tolist())
