"""open_clip's way from a command line to a first score: what `infer score --model DIR --image P --text T --text U` does.

  build/venv/bin/python benchmarks/first_score_open_clip.py DIR PICTURE TEXT TEXT
"""

import sys

import open_clip
import torch
from PIL import Image

directory, picture, *texts = sys.argv[1:]
model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{directory}")
model.eval()
tokens = open_clip.SimpleTokenizer()(texts)
with torch.no_grad():
    image = model.encode_image(transform(Image.open(picture)).unsqueeze(0), normalize=True)
    text = model.encode_text(tokens, normalize=True)
    print((model.logit_scale.exp() * image @ text.T).softmax(-1))
