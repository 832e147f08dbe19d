"""Writes what a linear probe learns of a few rows, for train/probe_test.go.

  pip install torch==2.11.0
  python testdata/probe/make_goldens.py

CLIP_benchmark's recipe (benchmark/metrics/linear_probe.py) from zeros and with all rows in one batch, so that no random
number plays a part.
"""

import json
import math
import pathlib

import torch

torch.manual_seed(0)
ROWS, WIDTH, CLASSES, EPOCHS, LR = 18, 4, 3, 10, 0.1
classes = torch.tensor([0] * 9 + [1] * 6 + [2] * 3)  # of equal counts the bias's first gradient would be but rounding
features = torch.nn.functional.normalize(torch.randn(ROWS, WIDTH) + 1.5 * torch.eye(CLASSES, WIDTH)[classes], dim=1)
out = {"features": features.flatten().tolist(), "classes": classes.tolist(), "fits": []}
for decay in (0.0, 0.1, 5.0):
    probe = torch.nn.Linear(WIDTH, CLASSES)
    torch.nn.init.zeros_(probe.weight), torch.nn.init.zeros_(probe.bias)
    optimiser = torch.optim.AdamW(probe.parameters(), lr=LR, weight_decay=decay)
    for step in range(EPOCHS):
        optimiser.param_groups[0]["lr"] = 0.5 * (1 + math.cos(math.pi * step / EPOCHS)) * LR
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(probe(features), classes).backward()
        optimiser.step()
    right = (probe(features).argmax(1) == classes).float()
    recall = torch.stack([right[classes == c].mean() for c in range(CLASSES)]).mean().item()
    out["fits"].append({"weight_decay": decay, "weight": probe.weight.flatten().tolist(), "bias": probe.bias.tolist(), "top1": right.mean().item(), "recall": recall})
pathlib.Path(__file__).with_name("goldens.json").write_text(json.dumps(out) + "\n")
