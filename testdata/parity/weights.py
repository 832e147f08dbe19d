"""Seeded weights under which a model's features differ from picture to picture and from text to text."""

import pathlib
import sys
import zlib

import torch

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "clip"))
import formula


@torch.no_grad()
def fill(model: torch.nn.Module, half: bool = False) -> None:
    """Uniform numbers on formula.py's scales; half rounds them to what half precision holds."""
    fixed = {key for key, p in model.named_parameters() if not p.requires_grad}
    for key, p in model.state_dict().items():
        if p.is_floating_point() and key not in fixed:
            u = torch.empty(p.shape).uniform_(-1, 1, generator=torch.Generator().manual_seed(zlib.crc32(key.encode())))
            value = torch.as_tensor(formula.scaled(key, u.numpy()))
            if key.endswith("SelfAttention.q.weight"):  # mT5 draws its queries as if they were scaled, which it does not do
                value = value / 8
            p.copy_(value.half() if half else value)


@torch.no_grad()
def calibrate(model: torch.nn.Module, pixels: torch.Tensor) -> None:
    """Running statistics that are those of pictures, as training leaves them: without, a deep ResNet's output explodes."""
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    if not norms:
        return
    momentum = norms[0].momentum
    for m in norms:
        m.reset_running_stats()
        m.momentum = None
    model.train()
    model.encode_image(pixels)
    model.eval()
    for m in norms:
        m.momentum = momentum
