"""Writes a tiny CoCa's features, logits and captions as open_clip 3.3.0 computes them, for clip/caption_test.go.

  build/venv/bin/python testdata/clip/make_coca.py [--beam-search FILE]

coca.safetensors: features and logits of every position, and for each image the ids of greedy search and of beam search
with 6 beams in 3 groups, open_clip's default, with 4 beams and with 2; rows are filled with -1. Beam search needs
transformers' BeamSearchScorer, which 5.x has no more: FILE is generation/beam_search.py of 4.57.3, by default
build/venv-tokenizers's.
"""

import argparse
import importlib.util
import json
import pathlib
import sys

import numpy as np
import torch
import transformers.generation

HERE = pathlib.Path(__file__).parent
parser = argparse.ArgumentParser()
parser.add_argument("--beam-search", type=pathlib.Path, default=next(
    (HERE.parent.parent / "build" / "venv-tokenizers").glob("lib/python*/site-packages/transformers/generation/beam_search.py"), None))
args = parser.parse_args()
for name in ("beam_constraints", "beam_search"):
    spec = importlib.util.spec_from_file_location(f"transformers.generation.{name}", args.beam_search.with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
transformers.generation.BeamSearchScorer = module.BeamSearchScorer

import formula  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from variants import build, inputs  # noqa: E402

START, END, SEQ, MIN = 62, 63, 12, 5


@torch.no_grad()
def main() -> None:
    config = json.loads((HERE / "coca.json").read_text())
    model = build(config)
    model.text_decoder.text_projection.mul_(8)  # so that captions differ
    model.text_decoder.text_projection[:, END].mul_(2)  # and some end
    model.text_decoder.text_projection[:, 0].mul_(1.5)  # or have the id of padding
    pixels, tokens = inputs(config)
    pixels = pixels * torch.linspace(0.2, 4, len(pixels)).view(-1, 1, 1, 1)
    out = {"image_features": model.encode_image(pixels, normalize=False), "text_features": model.encode_text(tokens, normalize=False),
           "logits": model(pixels, tokens, output_labels=False)["logits"][:, -1]}
    searches = {"greedy": dict(generation_type="top_k", top_k=1), "beams": dict(num_beams=6, num_beam_groups=3), "beams-4": dict(num_beams=4, num_beam_groups=1),
                "beams-2": dict(num_beams=2, num_beam_groups=1)}
    for name, options in searches.items():
        rows = torch.full((len(pixels), SEQ), -1, dtype=torch.int64)
        for i, image in enumerate(pixels):
            ids = model.generate(image[None], seq_len=SEQ, min_seq_len=MIN, sot_token_id=START, eos_token_id=END, **options)[0]
            rows[i, :len(ids)] = ids
        out[name] = rows
        print(name, rows.tolist())
    assert torch.equal(out["beams"], out["beams-2"])
    save_file({k: v.contiguous() for k, v in out.items()}, HERE / "coca.safetensors")


main()
