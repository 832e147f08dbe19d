"""Writes what PyTorch's layers, optimisers and printing give, for torch/, torch/nn and torch/optim:

    python make_goldens.py     # needs torch 2.11; writes init.json, sgd.json, print.json beside itself
"""
import json
import os
import struct

import torch
from torch import nn

here = os.path.dirname(os.path.abspath(__file__))


def bits(t):
    """The float32 numbers of t, exactly."""
    return t.detach().float().flatten().contiguous().numpy().tobytes().hex()


def entry(key, t):
    return {"key": key, "shape": list(t.shape), "bits": bits(t)}


def dump(name, value):
    with open(os.path.join(here, name), "w") as f:
        json.dump(value, f, indent=1)
        f.write("\n")


def init():
    layers = {
        "linear": lambda: nn.Linear(7, 5),
        "linear, no bias": lambda: nn.Linear(20, 3, bias=False),
        "conv": lambda: nn.Conv2d(3, 4, 3, padding=1),
        "conv, no bias": lambda: nn.Conv2d(3, 4, 2, stride=2, bias=False),
        "patches": lambda: nn.Conv2d(3, 4, 2, stride=2),
        "layer norm": lambda: nn.LayerNorm(6),
        "embedding": lambda: nn.Embedding(11, 4),
        "batch norm": lambda: nn.BatchNorm2d(3),
        "attention": lambda: nn.MultiheadAttention(8, 2, batch_first=True),
        "sequential": lambda: nn.Sequential(nn.Linear(4, 9), nn.GELU(), nn.Dropout(0.1), nn.Linear(9, 2)),
    }
    out = {}
    for name, layer in layers.items():
        torch.manual_seed(1)
        out[name] = [entry(key, t) for key, t in layer().state_dict().items() if t.dtype == torch.float32]
    torch.manual_seed(3)
    x = torch.randn(2, 5, 8)
    torch.manual_seed(4)
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    out["attention's input"] = [entry("x", x)]
    y = attention(x, x, x, need_weights=False)[0]
    causal = attention(x, x, x, need_weights=False, is_causal=True, attn_mask=nn.Transformer.generate_square_subsequent_mask(5))[0]
    out["attention's result"] = [entry("y", y), entry("causal", causal)]
    dump("init.json", {"cpu": torch.backends.cpu.get_cpu_capability(), "tensors": out})


def sgd():
    out = []
    for options in [
        {"lr": 0.1},
        {"lr": 0.1, "momentum": 0.9},
        {"lr": 0.1, "momentum": 0.9, "dampening": 0.5},
        {"lr": 0.1, "momentum": 0.9, "nesterov": True},
        {"lr": 0.05, "momentum": 0.8, "dampening": 0.1, "weight_decay": 0.01},
        {"lr": 0.05, "weight_decay": 0.1},
    ]:
        w = nn.Parameter(torch.tensor([[1.0, -2.0], [3.0, 4.0]]))
        b = nn.Parameter(torch.tensor([0.5, -0.5]))
        o = torch.optim.SGD([w, b], **options)
        for step in range(5):
            o.zero_grad()
            x = torch.tensor([[step / 10, 1.0], [2.0, -1.0]])
            nn.functional.linear(x, w, b).pow(2).mean().backward()
            o.step()
        out.append({"options": options, "w": bits(w), "b": bits(b)})
    dump("sgd.json", out)


def printing():
    f32, inf, nan = torch.float32, float("inf"), float("nan")
    cases = [
        ([], [0], f32), ([], [0, 3], f32), ([], [0], torch.int64), ([], [2, 0], torch.float16),
        ([3.5], [], f32), ([7], [], torch.int64), ([1], [], torch.bool), ([2.0], [], torch.bfloat16), ([1e-7], [], f32),
        ([1, 2, 3], [3], torch.int64), ([1, -20, 300], [3], torch.int32), ([200, 1], [2], torch.uint8), ([1, -1], [2], torch.int8),
        ([1, 0, 1, 1], [2, 2], torch.bool),
        ([1.0, 2.0, 3.0], [3], f32), ([1.5, -2.25], [1, 2], f32), ([0.0, -0.0], [2], f32), ([1.0, nan, inf], [3], f32),
        ([1.5, nan, -inf], [3], f32), ([nan, nan], [2], f32), ([inf, -inf], [2], f32), ([1e-5, 1.0], [2], f32),
        ([1e9, 1.0], [2], f32), ([100000.0, 3.0], [2], f32), ([1234.5678, 0.5], [2], f32), ([12345.678, 0.5], [2], f32),
        ([1e-8, nan, inf, 0.0], [4], f32), ([1.5, 2.5], [2], torch.float64), ([1e300, 1e-300], [2], torch.float64),
        ([0.1, 0.2], [2], torch.float16), ([0.1, 65504.0], [2], torch.float16), ([0.1, 3.0], [2], torch.bfloat16),
        ([0.00012, 0.1], [2], f32), ([0.12345678, 99.5], [2], f32),
    ]
    out = []

    def add(t, values=None, **more):
        kind = str(t.dtype).removeprefix("torch.")
        out.append({"dtype": kind, "shape": list(t.shape), "values": [str(v) for v in values] if values is not None else None,
                    "text": str(t), **more})

    for values, shape, dtype in cases:
        add(torch.tensor(values, dtype=torch.float64).reshape(shape).to(dtype), values)
    # values None: arange(numel) * scale, reshaped
    for shape, scale, dtype in [([30], 1, torch.int64), ([3, 4], 1, torch.int64), ([2, 3, 4], 1, torch.int64), ([40], 0.25, f32),
                                ([3, 20], 0.25, f32), ([1001], 1, torch.int64), ([1000], 1, torch.int64), ([50, 50], 1, f32),
                                ([50, 50], 0.5, f32), ([10, 3, 200], 0.001, f32), ([2000, 2], 1, torch.int32),
                                ([7, 200, 1], 0.5, torch.float16), ([2, 2, 2, 2], 1, f32), ([1, 7, 1, 150], 1, torch.int64)]:
        n = 1
        for d in shape:
            n *= d
        add((torch.arange(n, dtype=torch.float64) * scale).reshape(shape).to(dtype), scale=scale)
    leaf = torch.tensor([1.0, 2.0], requires_grad=True)
    add(leaf, [1.0, 2.0], grad="leaf")
    add(leaf * 2, [1.0, 2.0], grad="mul")
    wide = torch.arange(12.0, requires_grad=True)
    add(wide.reshape(12) * 2, scale=1, grad="mul")
    dump("print.json", out)


init()
sgd()
printing()
