"""Writes checkpoints as other programs leave them: the weights of formula.py in the model of layouts/tiny.json.

  pip install open_clip_torch==3.3.0 torch==2.11.0
  python testdata/clip/make_layouts.py

  layouts/epoch_1.pt     open_clip's training checkpoint, from DistributedDataParallel, with an optimiser's state beside it
  layouts/state_dict.pt  the weights alone, in the format before PyTorch 1.6
  layouts/custom.pt      the weights of the same model as open_clip's custom_text layout names them
  layouts/openai.pt      a TorchScript archive with half-precision weights and OpenAI's three numbers
"""

import json
import pathlib

import open_clip
import torch

import formula

HERE = pathlib.Path(__file__).parent / "layouts"


class Archive(torch.nn.Module):
    """What OpenAI's archives hold besides the towers."""

    def __init__(self, model: torch.nn.Module, config: dict):
        super().__init__()
        for name, child in model.named_children():
            self.add_module(name, child)
        for name, p in model.named_parameters(recurse=False):
            self.register_parameter(name, p)
        self.register_buffer("input_resolution", torch.tensor(config["vision_cfg"]["image_size"]))
        self.register_buffer("context_length", torch.tensor(config["text_cfg"]["context_length"]))
        self.register_buffer("vocab_size", torch.tensor(config["text_cfg"]["vocab_size"]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.text_projection


def main() -> None:
    config = json.loads((HERE / "tiny.json").read_text())
    model = open_clip.CLIP(**config)
    with torch.no_grad():
        for key, p in model.named_parameters():
            p.copy_(torch.from_numpy(formula.weight(key, tuple(p.shape))))
    weights = dict(model.state_dict())
    optimizer = torch.optim.AdamW([model.logit_scale], lr=1e-3)
    model.logit_scale.grad = torch.ones_like(model.logit_scale)
    state = optimizer.state_dict()
    torch.save({"epoch": 1, "name": "run", "state_dict": {f"module.{k}": v for k, v in weights.items()}, "optimizer": state},
               HERE / "epoch_1.pt")
    torch.save(weights, HERE / "state_dict.pt", _use_new_zipfile_serialization=False)
    text = ("positional_embedding", "text_projection", "token_embedding.", "transformer.", "ln_final.")
    torch.save({f"text.{k}" if k.startswith(text) else k: v for k, v in weights.items()}, HERE / "custom.pt")
    traced = torch.jit.trace(Archive(model, config).eval(), torch.zeros(1, config["text_cfg"]["width"]))
    traced.half()
    torch.jit.save(traced, HERE / "openai.pt")


if __name__ == "__main__":
    main()
