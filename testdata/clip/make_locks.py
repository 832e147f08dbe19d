"""Writes what still learns when open_clip locks a tower, for clip/lock_test.go.

  pip install torch==2.11.0 open_clip_torch==3.3.0 timm==1.0.31 transformers==5.24.0 safetensors numpy
  python testdata/clip/make_locks.py

Of each tiny model and each lock there is a list for 0, 1, 2... unlocked groups: what learns beside the list before. An
entry is a key, or a module all of whose weights learn. The last list is empty: that count is beyond the tower's groups.
"""

import json
import pathlib

import torch

from variants import build, inputs, loss_of

HERE = pathlib.Path(__file__).parent


def of_tower(key: str, tower: str) -> bool:
    return not key.startswith("logit_") and key.startswith("visual.") == (tower == "image")


def learning(model: torch.nn.Module) -> list[str]:
    return [key for key, p in model.named_parameters() if p.requires_grad]


def shortened(keys: list[str], every: list[str]) -> list[str]:
    """Modules in place of keys, where all of a module's keys are there."""
    def highest(key: str) -> str:
        parts = key.split(".")
        prefixes = [".".join(parts[:n]) for n in range(1, len(parts))]
        return next((p for p in prefixes if all(k in keys for k in every if k.startswith(p + "."))), key)
    return list(dict.fromkeys(highest(key) for key in keys))


def steps(config: dict, tower: str, flag: bool, most: int = 9) -> list[list[str]]:
    lists, known = [], []
    for count in range(most):
        model = build(config)
        before = learning(model)
        (model.lock_image_tower if tower == "image" else model.lock_text_tower)(count, flag)
        after = learning(model)
        assert all(key in after for key in before if not of_tower(key, tower)), "a lock of one tower reached the other"
        now = [key for key in after if of_tower(key, tower)]
        assert set(known) <= set(now)
        lists.append(shortened([key for key in now if key not in known], [key for key, _ in model.named_parameters()]))
        known = now
    while lists[-2:] == [[], []]:
        lists.pop()
    return lists


def frozen_statistics(config: dict) -> float:
    """The loss in training with the batch statistics of the whole picture tower frozen."""
    model = build(config)
    model.lock_image_tower(0, True)
    return loss_of(model.train(), *inputs(config))[2].item()


def main() -> None:
    out = {}
    for name, config in json.loads((HERE / "variants.json").read_text()).items():
        resnet = isinstance(config["vision_cfg"].get("layers"), list)
        kind = config["text_cfg"].get("hf_model_config", {}).get("model_type", "roberta")
        count = 1 if kind in ("bert", "m2m_100") else 9  # open_clip 3.3.0 has no layers of theirs
        # 3.3.0 unlocks no group of a ResNet, and CLIP's own text tower asserts --lock-text-freeze-layer-norm.
        out[name] = {"image": steps(config, "image", False, 1 if resnet else 9), "text": steps(config, "text", True, count)}
        if "hf_model_name" in config["text_cfg"]:
            out[name]["text_norms_learn"] = steps(config, "text", False, count)
        if resnet:
            out[name]["frozen_statistics_loss"] = frozen_statistics(config)
    lines = (f"{json.dumps(name)}:{{" + ",\n  ".join(f"{json.dumps(k)}:{json.dumps(v)}" for k, v in locks.items()) + "}" for name, locks in out.items())
    (HERE / "locks.json").write_text("{\n " + ",\n ".join(lines) + "\n}\n")


main()
