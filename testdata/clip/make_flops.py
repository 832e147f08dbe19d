"""Counts with PyTorch what a forward of open_clip's models costs, for internal/estimate/flops_test.go: no weights, no numbers are computed.

  python testdata/clip/make_flops.py
"""

import copy
import json
import pathlib

import torch
import transformers
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import variants

HERE = pathlib.Path(__file__).parent
CONFIGS = HERE.parent.parent / "clip" / "tower" / "configs"


# Whether a mask masks anything is asked of its numbers, and there are none.
transformers.masking_utils._ignore_bidirectional_mask_sdpa = lambda *args: False


def count(forward) -> int:
    """A multiplication and an addition are two. Attention is counted as its two products, over every pair of tokens."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        forward()
    return counter.get_total_flops()


def flops(config: dict, length: int) -> dict:
    config = copy.deepcopy(config)
    config["text_cfg"]["context_length"] = length
    config["vision_cfg"]["patch_dropout"] = 0.0
    size = config["vision_cfg"]["image_size"]
    height, width = size if isinstance(size, list) else (size, size)
    with torch.device("meta"):
        model = variants.untouched(config).eval()
        pixels, tokens = torch.empty(1, 3, height, width), torch.ones(1, length, dtype=torch.int64)
    return {"image": count(lambda: model.encode_image(pixels)), "text": count(lambda: model.encode_text(tokens))}


def main() -> None:
    out = {}
    configs = {file.stem: json.loads(file.read_text()) for file in sorted(CONFIGS.glob("*.json"))
               if not file.stem.endswith("-quickgelu")}  # which costs the same
    configs |= {"variant:" + name: config for name, config in json.loads((HERE / "variants.json").read_text()).items()}
    for name, config in configs.items():
        length = config["text_cfg"].get("context_length", 77)
        whole, short = flops(config, length), flops(config, 9)
        assert whole["image"] == short["image"]
        out[name] = whole | {"text_of_9_tokens": short["text"]}
    (HERE / "flops.json").write_text(json.dumps(out, indent=1).replace("\n  ", " ").replace("\n }", " }") + "\n")


main()
