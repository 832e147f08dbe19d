"""Writes one full-size model and what its own library computes with it, for clip/parity_full_test.go.

  python testdata/parity/reference.py NAME DIRECTORY

NAME is a config, or openai:CONFIG for OpenAI's own code. run.py calls this for every name.
"""

import json
import pathlib
import sys

import open_clip
import torch
from safetensors.torch import save_file

import cuts
import inputs
import models
import weights


def built(name: str, config: dict, own: bool) -> torch.nn.Module:
    model = models.create(name)
    weights.fill(model, half=own)
    weights.calibrate(model, inputs.pixels(1, 4, config["vision_cfg"]["image_size"]))
    if own:
        model.load_state_dict({k: v.half().to(v.dtype) for k, v in model.state_dict().items()})
    return model


@torch.inference_mode()
def outputs(model: torch.nn.Module, pixels: torch.Tensor, tokens: torch.Tensor) -> dict:
    out = {"pixels": pixels, "tokens": tokens}
    for share in cuts.SHARES:
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


def main(name: str, directory: pathlib.Path) -> None:
    torch.set_num_threads(2)
    own, name = name.startswith("openai:"), name.removeprefix("openai:")
    config = open_clip.get_model_config(name)
    model = built(name, config, own)
    directory.mkdir(parents=True, exist_ok=True)
    state = {k: v.contiguous().clone() for k, v in model.state_dict().items()}
    save_file(state, directory / "open_clip_model.safetensors")
    pre = {k: model.visual.preprocess_cfg[k] for k in ("mean", "std", "interpolation", "resize_mode", "size")}
    (directory / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": pre}))
    if own:
        model = models.openai(state)
    del state
    out = outputs(model, inputs.pixels(0, 2, config["vision_cfg"]["image_size"]), inputs.tokens(config))
    save_file({k: v.contiguous() for k, v in out.items()}, directory / "outputs.safetensors")
    (directory / "reference.json").write_text(json.dumps({
        "library": models.libraries(name, own), "parameters": sum(p.numel() for p in model.parameters()),
        "closest_image": closest(out["image/1"]), "closest_text": closest(out["text/1"])}))


main(sys.argv[1], pathlib.Path(sys.argv[2]))
