"""Writes what open_clip's losses give on a few features, for clip/loss/golden_test.go.

  pip install torch==2.11.0 open_clip_torch==3.3.0 safetensors numpy
  python testdata/clip/make_losses.py

The features are float32; values and gradients are computed from them in float64.
"""

import pathlib

import torch
import torch.nn.functional as F
from open_clip.loss import ClipLoss, DistillClipLoss, SigLipLoss
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent
PAIRS, WIDTH, TEACHER_WIDTH = 13, 7, 5


def features(width: int) -> torch.Tensor:
    return F.normalize(torch.randn(PAIRS, width), dim=1)


def main() -> None:
    torch.manual_seed(0)
    images, texts = features(WIDTH), features(WIDTH)
    teacher_images, teacher_texts = features(TEACHER_WIDTH), features(TEACHER_WIDTH)
    out = {"images": images, "texts": texts, "teacher_images": teacher_images, "teacher_texts": teacher_texts}
    teacher = teacher_images.double(), teacher_texts.double(), torch.tensor(50.0).double()
    losses = {
        "clip-14": (ClipLoss(), 14.25, None, ()), "clip-100": (ClipLoss(), 100.0, None, ()),
        "siglip": (SigLipLoss(), 10.0, -10.0, ()), "distill": (DistillClipLoss(), 14.25, None, teacher),
    }
    for name, (loss, scale, bias, more) in losses.items():
        inputs = [t.double().requires_grad_() for t in (images, texts, torch.tensor(scale))]
        if bias is not None:
            inputs.append(torch.tensor(bias).double().requires_grad_())
        total = sum(loss(*inputs, *more, output_dict=True).values())  # as open_clip_train/train.py does
        gradients = torch.autograd.grad(total, inputs)
        out[f"{name}.loss"] = total
        for part, gradient in zip(("images", "texts", "scale", "bias"), gradients):
            out[f"{name}.{part}"] = gradient
        print(f"{name:9} {total.item():.12f}")
    save_file({k: v.detach().contiguous().numpy() for k, v in out.items()}, HERE / "losses.safetensors")


main()
