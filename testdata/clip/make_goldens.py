"""Writes the numbers that open_clip computes, for clip/parity_test.go and clip/variants_test.go.

  pip install torch==2.11.0 open_clip_torch==3.3.0 timm==1.0.31 transformers==5.24.0 safetensors numpy
  python testdata/clip/make_goldens.py
"""

import json
import pathlib

import torch
from open_clip_train.scheduler import cosine_lr
from safetensors.numpy import save_file

import variants
from variants import build, inputs, loss_of

HERE = pathlib.Path(__file__).parent
CONFIGS = HERE.parent.parent / "clip" / "tower" / "configs"
SAMPLES = 64


def gradients(name: str, config: dict, whole: bool) -> None:
    model = build(config)
    images, texts, loss = loss_of(model, *inputs(config))
    loss.backward()
    out = {"image_features": images, "text_features": texts, "loss": loss}
    for key, p in model.named_parameters():
        g = p.grad.flatten()
        stride = 1 if whole else max(1, g.numel() // SAMPLES)
        out["grad." + key] = g[::stride]
        out["max." + key] = g.abs().max()
        out["norm." + key] = g.double().norm().float()
    save_file({k: v.detach().contiguous().numpy() for k, v in out.items()}, HERE / f"{name}.safetensors")


def steps(config: dict, count: int) -> None:
    """open_clip_train's loop: groups, schedule, clipping and clamp of version 3.3.0. Each of the first 100 steps has a
    batch of its own. From then on the first ten batches come again and again, so the model learns them, and the
    schedule's cosine goes on: the learning rate is back at its peak at step 190 and at zero again at step 280."""
    model = build(config)
    named = list(model.named_parameters())
    excluded = lambda n, p: p.ndim < 2 or "bn" in n or "ln" in n or "bias" in n or "logit_scale" in n
    optimizer = torch.optim.AdamW([{"params": [p for n, p in named if excluded(n, p)], "weight_decay": 0.0},
                                   {"params": [p for n, p in named if not excluded(n, p)], "weight_decay": 0.2}],
                                  lr=1e-3, betas=(0.9, 0.98), eps=1e-6)
    schedule = cosine_lr(optimizer, 1e-3, 10, 100)
    record = {"loss": [], "logit_scale": [], "lr": []}
    for step in range(count):
        schedule(step)
        optimizer.zero_grad()
        _, _, loss = loss_of(model, *inputs(config, f"/{step if step < 100 else step % 10}"))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, 4.6052)
        record["loss"].append(loss.item())
        record["logit_scale"].append(model.logit_scale.item())
        record["lr"].append(optimizer.param_groups[0]["lr"])
    (HERE / "steps.json").write_text(json.dumps(record, indent=1))


def main() -> None:
    torch.set_num_threads(1)
    tiny = json.loads((HERE / "tiny.json").read_text())
    gradients("tiny", tiny, True)
    gradients("tiny-quickgelu", tiny | {"quick_gelu": True}, True)
    emoji = json.loads((CONFIGS / "emoji-64.json").read_text())
    emoji["vision_cfg"]["patch_dropout"] = 0.0
    gradients("emoji-64", emoji, False)
    gradients("ViT-S-32-alt", json.loads((CONFIGS / "ViT-S-32-alt.json").read_text()), False)
    steps(tiny, 300)
    variants.counts(CONFIGS, HERE / "params.json")
    variants.write(HERE)


if __name__ == "__main__":
    main()
