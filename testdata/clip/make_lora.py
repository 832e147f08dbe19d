"""Writes features, loss and gradients of low-rank adaptation, for clip/lora_test.go.

  pip install torch==2.11.0 open_clip_torch==3.3.0 timm==1.0.31 transformers==5.24.0 safetensors numpy
  python testdata/clip/make_lora.py

Each adapted weight W of an open_clip model is W + alpha / rank * B A (Hu et al., arXiv 2106.09685), by PyTorch's
parametrizations; a packed weight of queries, keys and values has a pair for each of the three.
"""

import json
import pathlib

import torch
from safetensors.numpy import save_file
from torch.nn.utils import parametrize

import formula
from variants import SAMPLES, build, inputs, loss_of

HERE = pathlib.Path(__file__).parent
RANK, ALPHA = 2, 3.0
VARIANTS = ("eos", "clipa", "siglip-tanh", "roberta-mean")
WEIGHTS = ("in_proj_weight", "out_proj.weight", "c_fc.weight", "c_proj.weight",  # CLIP's own blocks
           "attn.qkv.weight", "attn.proj.weight", "mlp.fc1.weight", "mlp.fc2.weight",  # timm's
           "self.query.weight", "self.key.weight", "self.value.weight", "output.dense.weight", "intermediate.dense.weight")
BLOCKS = (".resblocks.", ".blocks.", ".layer.")


class LowRank(torch.nn.Module):
    def __init__(self, key: str, weight: torch.Tensor):
        super().__init__()
        self.parts = 3 if key.endswith(("in_proj_weight", "qkv.weight")) else 1
        name = key.removesuffix("weight").removesuffix("_").removesuffix(".") + ".lora_"
        self.keys = name + "A", name + "B"
        shapes = (self.parts * RANK, weight.shape[1]), (weight.shape[0], RANK)
        self.a, self.b = (torch.nn.Parameter(torch.from_numpy(formula.weight(k, s))) for k, s in zip(self.keys, shapes))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        pairs = zip(self.b.chunk(self.parts), self.a.chunk(self.parts))
        return weight + ALPHA / RANK * torch.cat([b @ a for b, a in pairs])


def main() -> None:
    out = {}
    configs = json.loads((HERE / "variants.json").read_text())
    for name in VARIANTS:
        model = build(configs[name])
        pairs = []
        for key, p in list(model.named_parameters()):
            p.requires_grad_(key.startswith("logit_"))
            if any(b in key for b in BLOCKS) and key.endswith(WEIGHTS):
                module, _, attribute = key.rpartition(".")
                pairs.append(LowRank(key, p))
                parametrize.register_parametrization(model.get_submodule(module), attribute, pairs[-1])
        images, texts, loss = loss_of(model, *inputs(configs[name]))
        loss.backward()
        out |= {f"{name}/image_features": images, f"{name}/text_features": texts, f"{name}/loss": loss}
        learned = {key: p for key, p in model.named_parameters() if key.startswith("logit_")}
        for pair in pairs:
            learned |= dict(zip(pair.keys, (pair.a, pair.b)))
        for key, p in learned.items():
            g = p.grad.flatten()
            facts = torch.stack([g.abs().max(), g.double().norm().float()])
            out[f"{name}/grad.{key}"] = torch.cat([facts, g[::max(1, g.numel() // SAMPLES)]])
    save_file({k: v.detach().contiguous().numpy() for k, v in out.items()}, HERE / "lora.safetensors")


main()
