"""Writes one full-size model and what its own library computes with it, for clip/parity_full_test.go.

  python testdata/parity/reference.py NAME DIRECTORY

NAME is a config, openai:CONFIG for OpenAI's own code, or one of formats.py. run.py calls this for every name.
"""

import json
import pathlib
import sys

import open_clip
import torch
from safetensors.torch import save_file

import cuts
import formats
import inputs
import models
import outputs


def config(name: str, directory: pathlib.Path) -> tuple[str, int, dict]:
    """A config in open_clip's directory."""
    own, name = name.startswith("openai:"), name.removeprefix("openai:")
    config = open_clip.get_model_config(name)
    model = models.seeded(name, half=own)
    state = {k: v.contiguous().clone() for k, v in model.state_dict().items()}
    save_file(state, directory / "open_clip_model.safetensors")
    models.write_config(model, config, directory)
    if own:
        model = models.openai(state).float().eval()
    del state
    out = outputs.of(model, inputs.pixels(0, 2, config["vision_cfg"]["image_size"]), inputs.tokens(config["text_cfg"]), cuts.SHARES)
    return models.libraries(name, own), outputs.count(model), out


def main(name: str, directory: pathlib.Path) -> None:
    torch.set_num_threads(2)
    directory.mkdir(parents=True, exist_ok=True)
    library, parameters, out = formats.write(name, directory) if name in formats.ROWS else config(name, directory)
    save_file({k: v.contiguous() for k, v in out.items()}, directory / "outputs.safetensors")
    (directory / "reference.json").write_text(json.dumps({
        "library": library, "parameters": parameters,
        "closest_image": outputs.closest(out["image/1"]), "closest_text": outputs.closest(out["text/1"])}))


main(sys.argv[1], pathlib.Path(sys.argv[2]))
