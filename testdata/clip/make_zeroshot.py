"""Writes clip/zeroshot/*.txt, and the classifiers that open_clip builds from them, for clip/zeroshot_test.go.

  pip install torch==2.11.0 open_clip_torch==3.3.0 timm==1.0.31 safetensors numpy
  python testdata/clip/make_zeroshot.py
"""

import importlib.resources
import json
import pathlib

import open_clip
import torch
from open_clip.tokenizer import SimpleTokenizer
from safetensors.numpy import save_file

import formula

HERE = pathlib.Path(__file__).parent
TEXTS = HERE.parent.parent / "clip" / "zeroshot"
BATCH = 8
SETS = {"openai_imagenet_80": open_clip.OPENAI_IMAGENET_TEMPLATES, "openai_imagenet_7": open_clip.SIMPLE_IMAGENET_TEMPLATES}


def texts() -> None:
    TEXTS.mkdir(exist_ok=True)
    for name, templates in SETS.items():
        (TEXTS / f"{name}.txt").write_text("".join(t("{}") + "\n" for t in templates))
    synsets = importlib.resources.files("timm").joinpath("data/_info/imagenet_synsets.txt").read_text().split()
    assert synsets == sorted(synsets) and len(synsets) == len(open_clip.IMAGENET_CLASSNAMES) == 1000
    lines = (f"{s}\t{name}\n" for s, name in zip(synsets, open_clip.IMAGENET_CLASSNAMES))
    (TEXTS / "imagenet_classes.txt").write_text("".join(lines))


def classifiers() -> None:
    """The tiny config with the tokenizer's vocabulary, on every 50th class of ImageNet."""
    config = json.loads((HERE / "tiny.json").read_text())
    config["text_cfg"]["vocab_size"] = 49408
    model = open_clip.CLIP(**config)
    size = config["vision_cfg"]["image_size"]
    with torch.no_grad():
        for key, p in model.named_parameters():
            p.copy_(torch.from_numpy(formula.weight(key, tuple(p.shape))))
        images = model.encode_image(torch.from_numpy(formula.pixels("pixels", BATCH, size, size)), normalize=True)
    out = {}
    for name, templates in SETS.items():
        weights = open_clip.build_zero_shot_classifier(
            model, SimpleTokenizer(context_length=config["text_cfg"]["context_length"]), open_clip.IMAGENET_CLASSNAMES[::50], templates)
        logits = model.logit_scale.exp() * images @ weights
        ordered = logits.sort(1, descending=True).values
        print(name, "the smallest gap among the first six logits is", (ordered[:, :5] - ordered[:, 1:6]).min().item())
        out[name + ".weights"] = weights.T
        out[name + ".prob"] = logits.softmax(1)
        out[name + ".top5"] = logits.topk(5).indices
    save_file({k: v.detach().contiguous().numpy() for k, v in out.items()}, HERE / "zeroshot.safetensors")


torch.set_num_threads(1)
texts()
classifiers()
