"""Writes checkpoints in every format that CLIP comes in, for torch/checkpoint's tests.

  pip install torch==2.11.0 safetensors==0.8.0 numpy
  python testdata/checkpoint/make_goldens.py

goldens.json says for each file what it holds: each tensor's type, shape and row-major little-endian bytes in hexadecimal, in
the order of the file, and the numbers and strings beside the tensors.
"""

import json
import pathlib
import warnings
from collections import Counter, OrderedDict

import torch
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).parent
TYPES = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
         torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL"}
goldens: dict[str, dict] = {}


def values(*shape: int, dtype=torch.float32, seed: int = 0) -> torch.Tensor:
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 50
    return x > 0 if dtype == torch.bool else x.to(dtype)


def golden(name: str, tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None) -> None:
    out = {}
    for key, t in tensors.items():
        t = t.detach().contiguous()
        out[key] = {"dtype": TYPES[t.dtype], "shape": list(t.shape), "data": t.reshape(-1).view(torch.uint8).numpy().tobytes().hex()}
    goldens[name] = {"names": list(tensors), "tensors": out, "metadata": metadata or {}}


def save(name: str, obj, tensors: dict[str, torch.Tensor], metadata: dict[str, str] | None = None, **how) -> None:
    torch.save(obj, HERE / name, **how)
    golden(name, tensors, metadata)


class Tower(torch.nn.Module):
    """Half-precision weights and fp32 norms under CLIP's names, as OpenAI's archives have them."""

    def __init__(self):
        super().__init__()
        self.conv1 = torch.nn.Conv2d(3, 2, 2, bias=False).half()
        self.class_embedding = torch.nn.Parameter(values(2, seed=1))
        self.resblocks = torch.nn.Sequential(torch.nn.Linear(2, 3).half(), torch.nn.Linear(3, 2).half())
        self.ln_post = torch.nn.LayerNorm(2)

    def forward(self, x):
        return self.ln_post(self.resblocks(self.conv1(x).flatten(1)[:, :2]).float()) + torch.tensor([[0.5, 0.25]])


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.visual = Tower()
        self.logit_scale = torch.nn.Parameter(torch.tensor(2.6592))
        self.register_buffer("input_resolution", torch.tensor(224))
        self.register_buffer("context_length", torch.tensor(77))
        self.register_buffer("vocab_size", torch.tensor(49408))
        self.name, self.scale, self.sizes, self.flags = "tiny", 1.5, [1, 2], {"a": True}

    def forward(self, x):
        if self.flags["a"] and self.sizes[0] == 1:
            return self.visual(x) * self.logit_scale * self.scale
        return x


def scripted() -> None:
    torch.manual_seed(0)
    model = torch.jit.script(Model())
    model.save(HERE / "script.pt")
    archive = torch.jit.load(HERE / "script.pt")
    weights = archive.state_dict()
    assert set(weights) == set(model.state_dict())
    order = ["logit_scale", "input_resolution", "context_length", "vocab_size", "visual.class_embedding", "visual.conv1.weight",
             "visual.resblocks.0.weight", "visual.resblocks.0.bias", "visual.resblocks.1.weight", "visual.resblocks.1.bias",
             "visual.ln_post.weight", "visual.ln_post.bias"]
    golden("script.pt", {k: weights[k] for k in order}, {"training": "true", "name": "tiny", "scale": "1.5"})
    traced = torch.jit.trace(Tower().eval(), torch.zeros(1, 3, 2, 2).half())
    traced.save(HERE / "traced.pt")
    golden("traced.pt", {k: traced.state_dict()[k] for k in ["class_embedding", "conv1.weight", "resblocks.0.weight",
           "resblocks.0.bias", "resblocks.1.weight", "resblocks.1.bias", "ln_post.weight", "ln_post.bias"]}, {"training": "false"})


def plain() -> None:
    types = {d: values(2, 3, dtype=d, seed=i) for i, d in enumerate(TYPES)}
    named = {str(d).removeprefix("torch."): t for d, t in types.items()}
    save("types.pt", named, named)
    save("types-legacy.pt", named, named, _use_new_zipfile_serialization=False)
    for protocol in (3, 4, 5):
        save(f"protocol-{protocol}.pt", named, named, pickle_protocol=protocol)
    save("protocol-4-legacy.pt", named, named, pickle_protocol=4, _use_new_zipfile_serialization=False)

    base = values(4, 6, seed=20)
    views = {"whole": base, "t": base.t(), "rows": base[1:3], "columns": base[:, 2:5], "steps": base[::2, 1::2],
             "expanded": base[0:1, :].expand(3, 6), "permuted": values(2, 3, 4, seed=21).permute(2, 0, 1),
             "one": base[3:, 5:], "channels": values(2, 3, 2, 2, seed=22).to(memory_format=torch.channels_last),
             "tail": base.flatten()[23:], "middle": values(2, 3, 4, 5, seed=23).transpose(0, 1)}
    save("views.pt", views, views)
    save("views-legacy.pt", views, views, _use_new_zipfile_serialization=False)

    odd = {"scalar": torch.tensor(3.25), "empty": torch.zeros(0), "empty2": torch.zeros(3, 0, 2), "one": torch.ones(1, 1, 1)}
    save("odd.pt", odd, odd)
    save("odd-legacy.pt", odd, odd, _use_new_zipfile_serialization=False)


def training() -> None:
    """open_clip's epoch_K.pt (open_clip_train/main.py) and its kin."""
    torch.manual_seed(1)
    model = torch.nn.Sequential(OrderedDict(a=torch.nn.Linear(3, 2), n=torch.nn.BatchNorm1d(2)))
    opt = torch.optim.AdamW(model.parameters())
    model(torch.ones(4, 3)).sum().backward()
    opt.step()
    weights = model.state_dict()
    beside = {"epoch": 3, "name": "run", "loss": 0.5, "done": False}
    text = {"epoch": "3", "name": "run", "loss": "0.5", "done": "false"}
    extra = {"optimizer": opt.state_dict(), "scaler": {}, "dtype": torch.float32, "device": torch.device("cpu"), "large": 1 << 70,
             "size": torch.Size([1, 2]), "bytes": b"\0\1", "none": None, "counter": Counter([1, 1]), "set": {1, 2}, "z": 1j}
    for suffix, how in (("", {}), ("-legacy", {"_use_new_zipfile_serialization": False})):
        save(f"epoch{suffix}.pt", {**beside, "state_dict": weights, **extra}, weights, text, **how)
    save("model-wrapper.pt", {"model": dict(weights), "optimizer": opt.state_dict()}, weights)
    both = {"model": {"x": torch.ones(1)}, "state_dict": weights}
    save("both-wrappers.pt", both, weights)
    save("no-wrapper.pt", {"tower": weights, "optimizer": opt.state_dict(), "optimal": torch.ones(2), "list": [torch.ones(1), (torch.zeros(2),)]},
         {**{"tower." + k: v for k, v in weights.items()}, "optimal": torch.ones(2), "list.0": torch.ones(1), "list.1.0": torch.zeros(2)})
    p = torch.nn.Parameter(values(2, 2, seed=30).bfloat16())
    q = torch.nn.Parameter(values(2, seed=31))
    q.note = "an attribute"
    r = values(2, seed=32)
    r.note = "an attribute"
    save("parameters.pt", OrderedDict(p=p, q=q, r=r, tied=p), {"p": p, "q": q, "r": r, "tied": p})
    save("numbers.pt", {0: torch.ones(1), 5: {"a": torch.zeros(1)}}, {"0": torch.ones(1), "5.a": torch.zeros(1)})


def sharded() -> None:
    tensors = {f"layer.{i}.weight": values(3, i + 1, seed=40 + i) for i in range(4)}
    shards = [dict(list(tensors.items())[:2]), dict(list(tensors.items())[2:])]
    size = sum(t.numel() * 4 for t in tensors.values())
    for index, shard, write in (
        ("model.safetensors.index.json", "model-{}-of-00002.safetensors", lambda s, path: save_file(s, path, {"format": "pt"})),
        ("pytorch_model.bin.index.json", "pytorch_model-{}-of-00002.bin", torch.save),
    ):
        names = [shard.format(f"{i + 1:05d}") for i in range(2)]
        for s, name in zip(shards, names):
            write(s, HERE / name)
        weight_map = {key: name for s, name in zip(shards, names) for key in s}
        (HERE / index).write_text(json.dumps({"metadata": {"total_size": size}, "weight_map": weight_map}, indent=2) + "\n")
        golden(index, tensors, {"total_size": str(size), **({"format": "pt"} if "safetensors" in index else {})})


def main() -> None:
    warnings.simplefilter("ignore")
    plain()
    training()
    sharded()
    scripted()
    (HERE / "goldens.json").write_text(json.dumps(goldens, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
