"""What a model computes: normalised features and logits."""

import torch

import cuts


@torch.inference_mode()
def of(model: torch.nn.Module, pixels: torch.Tensor, tokens: torch.Tensor, shares=(1.0,)) -> dict:
    """The outputs of a model that encodes as open_clip's and OpenAI's do, and of what is left of it with a share of its blocks."""
    out = {"pixels": pixels, "tokens": tokens}
    for share in shares:
        with cuts.cut(model, share):
            for part, features in (("image", model.encode_image(pixels)), ("text", model.encode_text(tokens))):
                out[f"{part}/{share:g}"] = torch.nn.functional.normalize(features, dim=-1)
    out["logits"] = model.logit_scale.exp() * out["image/1"] @ out["text/1"].T
    if getattr(model, "logit_bias", None) is not None:
        out["logits"] = out["logits"] + model.logit_bias
    return out


def closest(features: torch.Tensor) -> float:
    """The largest cosine between two different rows: near 1, a comparison would say little."""
    return (features @ features.T - 2 * torch.eye(len(features))).max().item()


def count(*models: torch.nn.Module) -> int:
    return sum(p.numel() for model in models for p in model.parameters())
