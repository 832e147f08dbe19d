"""Maps of where in an image a text is, by the Python libraries' own modules, for clip's TestExplainGoldens.

  build/venv/bin/python testdata/clip/make_explain.py

  explain.safetensors
      NAME/values     cosine of the text with what the last attention makes of each place alone, in the library's modules
      NAME/gradient   gradient x attention (arXiv 2103.15679, equations 5 and 6), or Grad-CAM (arXiv 1610.02391)
"""

import json
import pathlib

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

import formula
import variants

HERE = pathlib.Path(__file__).parent
NAMES = ("resnet", "convnext", "convnext-mlp", "eos", "clipa", "sincos-pooler", "pooler-avg", "avg-first", "siglip", "siglip-tanh",
         "dual-encoder", "eva", "eva-post", "eva-swiglu", "pe", "pe-big")
probabilities: list[torch.Tensor] = []


def attention(q, k, v, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, **_):
    """Scaled-dot-product attention that keeps its probabilities (B, heads, T, S)."""
    p = (q @ k.transpose(-2, -1) * (q.shape[-1] ** -0.5 if scale is None else scale)).softmax(-1)
    probabilities.append(p)
    return p @ v


def keep(modules) -> list:
    """Lists that fill with the modules' inputs and outputs."""
    kept = []
    for m in modules:
        m.register_forward_hook(lambda m, args, out: kept.append((args[0], out)))
    return kept


def places(visual, pixels) -> torch.Tensor:
    """(places, E)"""
    trunk = getattr(visual, "trunk", None)
    if hasattr(visual, "attnpool"):
        kept = keep([visual.layer4])
        visual(pixels)
        pool, x = visual.attnpool, kept[0][1].flatten(2).transpose(1, 2)[0]
        return pool.c_proj(pool.v_proj(x + pool.positional_embedding[1:]))
    if hasattr(trunk, "stages"):
        kept = keep([trunk.stages])
        visual(pixels)
        x = kept[0][1]
        return torch.cat([visual.head(trunk.forward_head(x[:, :, i:i + 1, j:j + 1])) for i in range(x.shape[2]) for j in range(x.shape[3])])
    block = trunk.blocks[-1] if trunk is not None else visual.transformer.resblocks[-1]
    kept = keep([block])
    visual(pixels)
    before, after = kept[0]
    if trunk is None:
        ls, first = block.ls_1, 1
        if visual.attn_pool is not None:
            each = [visual.ln_post(visual.attn_pool(after[:, i:i + 1])[:, 0]) for i in range(after.shape[1])]
        elif visual.pool_type == "avg":
            each = [visual.ln_post(after[:, i]) for i in range(after.shape[1])]
        else:
            x = block.ln_1(before)
            each = [visual.ln_post(ls(block.attn(x[:, i:i + 1], x[:, i:i + 1], x[:, i:i + 1])[0]))[:, 0] for i in range(x.shape[1])]
        return torch.cat(each)[first:] @ visual.proj
    first = 0 if trunk.cls_token is None else 1
    if trunk.attn_pool is not None:
        x = trunk.norm(after)
        each = [trunk.attn_pool(x[:, i:i + 1]) for i in range(x.shape[1])]
    elif hasattr(block, "attn") and type(block).__name__ == "EvaBlockPostNorm":
        each = [trunk.norm(block.norm1(alone(block.attn, before, i, first)))[:, 0] for i in range(before.shape[1])]
    else:
        x = block.norm1(before)
        each = [trunk.norm(alone(block.attn, x, i, first))[:, 0] for i in range(x.shape[1])]
    x = torch.cat(each)[first:]
    if hasattr(trunk, "fc_norm"):
        x = trunk.fc_norm(x)
    return visual.head(trunk.head(x))


def alone(attn, x, i, first):
    """What attention makes of token i by itself. Rotary positions turn queries and keys alone, which one token does not need."""
    return attn(x[:, i:i + 1])


def relevance(visual, pixels, text) -> torch.Tensor:
    """(rows, columns) or (places)"""
    trunk = getattr(visual, "trunk", None)
    grid = visual.layer4 if hasattr(visual, "attnpool") else getattr(trunk, "stages", None)
    kept = keep([grid]) if grid is not None else None
    probabilities.clear()
    cosine = (F.normalize(visual(pixels), dim=-1) @ text).sum()
    if grid is not None:
        x = kept[0][1]
        weights = torch.autograd.grad(cosine, x)[0].mean((2, 3), keepdim=True)
        return (x * weights).sum(1).relu().flatten()
    maps = list(probabilities)
    r = torch.eye(maps[0].shape[-1])
    for a, g in zip(maps, torch.autograd.grad(cosine, maps)):
        cam = (a * g).clamp(min=0).mean(1)[0]
        r = cam @ r if cam.shape[0] < cam.shape[1] else r + cam @ r
    if trunk is None and visual.attn_pool is None and visual.pool_type == "avg":
        return r[1:, 1:].mean(0)
    if trunk is None and visual.pool_type == "avg":  # of the pool's queries the first counts for nothing
        return r[1:, 1:].mean(0)
    return r[0, 1 if trunk is None or trunk.cls_token is not None else 0:]


def main() -> None:
    configs = json.loads((HERE / "variants.json").read_text())
    F.scaled_dot_product_attention = attention
    out = {}
    for name in NAMES:
        config = configs[name]
        pixels = variants.inputs(config)[0][:1]
        text = F.normalize(torch.from_numpy(formula.weight("explained", (config["embed_dim"],))), dim=0)
        with torch.no_grad():
            out[f"{name}/values"] = F.normalize(places(variants.build(config).visual, pixels), dim=-1) @ text
        out[f"{name}/gradient"] = relevance(variants.build(config).visual, pixels, text)
    save_file({k: v.detach().contiguous() for k, v in out.items()}, HERE / "explain.safetensors")


main()
