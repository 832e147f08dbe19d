"""Every kind of tower that open_clip builds, tiny, and the sizes of the published ones. make_goldens.py runs it."""

import copy
import functools
import hashlib
import json
import pathlib
import types

import numpy as np
import open_clip
import timm
import torch
import torchvision
import transformers
from open_clip import hf_model
from open_clip.loss import ClipLoss, SigLipLoss
from open_clip.model import resize_pos_embed, resize_text_pos_embed
from safetensors.numpy import save_file
from timm.layers import HybridEmbed, LayerNorm, LayerNorm2d
from timm.models import register_model
from timm.models.convnext import ConvNeXt
from timm.models.eva import Eva
from timm.models.fastvit import FastVit, RepConditionalPosEnc
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from timm.models.vision_transformer_hybrid import ConvStem
from timm.models.vision_transformer_relpos import VisionTransformerRelPos
from timm.models.vitamin import GeGluMlp, MbConvStages, VitCfg

import formula

BATCH, SAMPLES = 8, 8

# What the hub's config.json of each name says; 3.3.0 has no hf_model_config of its own.
ROBERTA = dict(vocab_size=50265, max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5, pad_token_id=1)
LARGE = dict(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096)
NLLB = dict(model_type="m2m_100", vocab_size=256206, d_model=1024, encoder_layers=12, encoder_attention_heads=16, encoder_ffn_dim=4096, decoder_layers=1,
            max_position_embeddings=1024, scale_embedding=True, activation_function="relu", dropout=0.1, attention_dropout=0.1,
            activation_dropout=0.0, encoder_layerdrop=0.0, pad_token_id=1)
MT5 = dict(model_type="mt5", vocab_size=250112, d_model=768, d_kv=64, d_ff=2048, num_layers=12, num_heads=12, num_decoder_layers=1,
           feed_forward_proj="gated-gelu", dropout_rate=0.1, pad_token_id=0)
HUB = {"roberta-base": ROBERTA, "roberta-large": ROBERTA | LARGE, "xlm-roberta-base": ROBERTA | {"vocab_size": 250002},
       "xlm-roberta-large": ROBERTA | LARGE | {"vocab_size": 250002},
       "facebook/nllb-200-distilled-600M": NLLB, "facebook/nllb-200-distilled-1.3B": NLLB | dict(encoder_layers=24, encoder_ffn_dim=8192),
       "google/mt5-base": MT5, "google/mt5-xl": MT5 | dict(d_model=2048, d_ff=5120, num_layers=24, num_heads=32)}
BASES = {"roberta": ROBERTA, "bert": dict(vocab_size=30522, max_position_embeddings=512, pad_token_id=0), "m2m_100": NLLB, "mt5": MT5}


def tiny(name: str, architecture: type, **kwargs) -> None:
    def make(pretrained=False, pretrained_cfg=None, pretrained_cfg_overlay=None, cache_dir=None, **more):
        model = architecture(**kwargs | more)
        model.default_cfg = {}
        return model
    make.__name__, make.__module__ = name, __name__
    register_model(make)


__all__ = []
VIT = dict(img_size=24, patch_size=8, embed_dim=32, depth=2, num_heads=2)
tiny("vit_tiny", VisionTransformer, **VIT)
tiny("vit_tiny_siglip", VisionTransformer, **VIT, class_token=False, global_pool="map")
tiny("vit_tiny_siglip_tanh", VisionTransformer, **VIT, class_token=False, global_pool="map", act_layer="gelu_tanh")
tiny("convnext_mini", ConvNeXt, depths=(1, 1, 2, 1), dims=(8, 16, 24, 32))
tiny("convnext_mini_eps5", ConvNeXt, depths=(1, 2, 1, 1), dims=(8, 12, 16, 32), norm_eps=1e-5)  # as convnext_xxlarge
EVA = dict(img_size=24, patch_size=8, embed_dim=32, depth=2, num_heads=2)
PE = EVA | dict(attn_type="rope", use_pre_transformer_norm=True, use_rot_pos_emb=True, rope_grid_indexing="xy", attn_pool_num_heads=8,
                attn_pool_mlp_ratio=4.0, norm_layer=functools.partial(LayerNorm, eps=1e-5))
tiny("eva_mini", Eva, **EVA, mlp_ratio=2.5)
tiny("eva_mini_post", Eva, **EVA, use_post_norm=True)
tiny("eva_mini_swiglu", Eva, **EVA, mlp_ratio=4 * 2 / 3, qkv_fused=False, swiglu_mlp=True, scale_mlp=True, scale_attn_inner=True,
     use_rot_pos_emb=True, ref_feat_shape=(4, 4))
tiny("pe_mini", Eva, **PE | dict(img_size=32), ref_feat_shape=(3, 3), rope_grid_offset=1.0)
tiny("pe_mini_big", Eva, **PE, mlp_ratio=3.5, ref_feat_shape=(4, 4), class_token=False)


def hybrid(backbone):
    """A vision transformer behind convolutions."""
    return lambda **kwargs: VisionTransformer(embed_layer=functools.partial(HybridEmbed, backbone=backbone(), proj=False), **kwargs)


HYBRID = VIT | dict(img_size=32, patch_size=1)
VITAMIN = HYBRID | dict(mlp_layer=GeGluMlp, mlp_ratio=2.0, class_token=False, global_pool="avg")
tiny("vit_mini_clip", VisionTransformer, **VIT, pre_norm=True, norm_layer=functools.partial(LayerNorm, eps=1e-5))
tiny("vit_mini_gap", VisionTransformer, **VIT, class_token=False, global_pool="avg", qkv_bias=False, init_values=0.1, fc_norm=False)
tiny("vit_mini_relpos", VisionTransformerRelPos, **VIT | dict(num_heads=8), class_token=True, global_pool="token", qkv_bias=False, init_values=0.1, fc_norm=False,
     rel_pos_dim=12)
tiny("vit_mini_mci", hybrid(lambda: ConvStem(channels=(8, 8, 32), stride=(4, 2, 2), kernel_size=(4, 2, 2), padding=0, act_layer=torch.nn.GELU)),
     **HYBRID, no_embed_class=True)
tiny("vitamin_mini", hybrid(lambda: MbConvStages(VitCfg(embed_dim=(8, 16, 32), depths=(2, 4, 1), stem_width=8))), **VITAMIN)
tiny("vitamin_mini_xl", hybrid(lambda: MbConvStages(VitCfg(embed_dim=(8, 16, 32), depths=(2, 4, 1), stem_width=8))), **VITAMIN, pos_embed="none")
CPE = functools.partial(RepConditionalPosEnc, spatial_shape=(7, 7))
tiny("fastvit_mini", FastVit, layers=(1, 2, 1, 2), embed_dims=(8, 16, 32, 64), mlp_ratios=(3, 3, 3, 3), se_downsamples=(False, False, True, True),
     pos_embs=(None, None, None, CPE), token_mixers=("repmixer", "repmixer", "repmixer", "attention"), lkc_use_act=True)
tiny("fastvit_mini2", FastVit, layers=(1, 1, 1, 1, 2), embed_dims=(8, 8, 16, 32, 64), mlp_ratios=(4, 4, 4, 4, 4), se_downsamples=(False,) * 5,
     downsamples=(False, True, True, True, True), pos_embs=(None, None, None, CPE, CPE), lkc_use_act=True,
     token_mixers=("repmixer", "repmixer", "repmixer", "attention", "attention"), norm_layer=functools.partial(LayerNorm2d, eps=1e-5),
     stem_use_scale_branch=False)
tiny("swin_mini", SwinTransformer, img_size=64, patch_size=2, window_size=4, embed_dim=8, depths=(2, 2, 1, 1), num_heads=(1, 2, 2, 4))


def max_pooler(self, x, mask):
    """3.3.0's own fails: masked_fill takes a bool mask, and of the padding."""
    return x.last_hidden_state.masked_fill(mask.unsqueeze(-1) == 0, -torch.inf).max(1).values


hf_model.MaxPooler.forward = max_pooler
hf_model.MaxPooler.cls_token_position = None


def untouched(config: dict) -> torch.nn.Module:
    """The model as open_clip's factory builds it (factory.py create_model), without a download."""
    config = copy.deepcopy(config)
    text = config["text_cfg"]
    custom = config.pop("custom_text", False) or "hf_model_name" in text
    if "hf_model_name" in text:
        own = text.pop("hf_model_config", {})
        hub = HUB.get(text["hf_model_name"], BASES[own.get("model_type", "roberta")]) | own
        kind = hub.pop("model_type", "roberta")
        hf_model.AutoConfig.from_pretrained = lambda name: transformers.AutoConfig.for_model(kind, **hub)
        text["hf_model_pretrained"] = False
        if text.get("hf_proj_type") == "none":
            text["hf_proj_type"] = None
    if "multimodal_cfg" in config:
        return open_clip.CoCa(**config)
    return (open_clip.CustomTextCLIP if custom else open_clip.CLIP)(**config)


def build(config: dict) -> torch.nn.Module:
    model = untouched(config)
    with torch.no_grad():
        for key, p in model.state_dict().items():
            if p.is_floating_point() and (key not in dict(model.named_parameters()) or model.get_parameter(key).requires_grad):
                p.copy_(torch.from_numpy(formula.weight(key, tuple(p.shape))))
    return model.eval()


def inputs(config: dict, suffix: str = "") -> tuple[torch.Tensor, torch.Tensor]:
    text, size = config["text_cfg"], config["vision_cfg"]["image_size"]
    height, width = size if isinstance(size, list) else (size, size)
    vocab = text.get("hf_model_config", text)["vocab_size"]
    padded = "hf_model_name" in text and text.get("hf_model_config", {}).get("model_type", "roberta") in ("roberta", "m2m_100")
    tokens = formula.roberta_tokens if padded else formula.tokens
    return (torch.from_numpy(formula.pixels("pixels" + suffix, BATCH, height, width)),
            torch.from_numpy(tokens("tokens" + suffix, BATCH, text["context_length"], vocab)))


def loss_of(model, pixels, tokens):
    images, texts = model.encode_image(pixels), model.encode_text(tokens)
    normal = [f / f.norm(dim=-1, keepdim=True) for f in (images, texts)]
    if model.logit_bias is not None:
        return images, texts, SigLipLoss()(*normal, model.logit_scale.exp(), model.logit_bias)
    return images, texts, ClipLoss()(*normal, model.logit_scale.exp())


def record(out: dict, name: str, config: dict, training: bool) -> None:
    """Features, loss, and of each gradient its largest value, its norm and a few of its numbers; buffers afterwards."""
    model = build(config).train(training)
    torch.manual_seed(0)  # for stochastic depth in training
    images, texts, loss = loss_of(model, *inputs(config))
    loss.backward()
    out |= {f"{name}/image_features": images, f"{name}/text_features": texts, f"{name}/loss": loss}
    for key, p in model.named_parameters():
        if p.grad is None:
            assert not p.requires_grad, key
            continue
        g = p.grad.flatten()
        facts = torch.stack([g.abs().max(), g.double().norm().float()])
        out[f"{name}/grad.{key}"] = torch.cat([facts, g[::max(1, g.numel() // SAMPLES)]])
    if training:
        for key, b in model.named_buffers():
            if key in model.state_dict():
                out[f"{name}/buffer.{key}"] = b.float().flatten()


def same_as_torchvision() -> None:
    """The picture tower of vit_b_32-roberta-base is torchvision's ViT with its head taken for the projection."""
    theirs = torchvision.models.VisionTransformer(24, 8, 2, 2, 32, 128, num_classes=24).eval()
    ours = timm.create_model("vit_tiny", num_classes=24).eval()
    names = {"conv_proj": "patch_embed.proj", "class_token": "cls_token", "encoder.pos_embedding": "pos_embed", "heads.head": "head",
             "encoder.layers.encoder_layer_": "blocks.", "encoder.ln.": "norm.", "ln_1": "norm1", "ln_2": "norm2",
             "self_attention.in_proj_": "attn.qkv.", "self_attention.out_proj": "attn.proj", "mlp.0": "mlp.fc1", "mlp.3": "mlp.fc2"}
    state = {}
    for key, value in theirs.state_dict().items():
        value = torch.from_numpy(formula.weight(key, tuple(value.shape)))
        theirs.state_dict()[key].copy_(value)
        for a, b in names.items():
            key = key.replace(a, b)
        state[key] = value
    ours.load_state_dict(state)
    x = torch.from_numpy(formula.pixels("pixels", BATCH, 24, 24))
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)


def initial(configs: dict) -> dict:
    """Mean and standard deviation of every tensor as its authors draw it."""
    torch.manual_seed(0)
    return {name: {key: [p.float().mean().item(), p.float().std(correction=0).item()] for key, p in untouched(config).state_dict().items()}
            for name, config in configs.items()}


def positions(out: dict) -> None:
    """open_clip's resize of position embeddings on loading, up and down."""
    for name, grid in (("up", (5, 6)), ("down", (2, 2))):
        state = {"visual.positional_embedding": torch.from_numpy(formula.weight("positions", (1 + 16, 6)))}
        resize_pos_embed(state, types.SimpleNamespace(visual=types.SimpleNamespace(grid_size=grid)))
        out[f"positions/image-{name}"] = state["visual.positional_embedding"]
    for name, length in (("up", 9), ("down", 3)):
        state = {"positional_embedding": torch.from_numpy(formula.weight("positions", (5, 6)))}
        resize_text_pos_embed(state, types.SimpleNamespace(positional_embedding=torch.empty(length, 6)))
        out[f"positions/text-{name}"] = state["positional_embedding"]


def write(here: pathlib.Path) -> None:
    same_as_torchvision()
    out = {}
    configs = json.loads((here / "variants.json").read_text())
    (here / "init.json").write_text(json.dumps(initial(configs)).replace("]], ", "]],\n") + "\n")
    for name, config in configs.items():
        record(out, name, config, False)
        if name in ("resnet", "convnext", "fastvit", "mobileclip-b", "swin"):
            record(out, name + "-training", config, True)
    positions(out)
    save_file({k: v.detach().contiguous().numpy() for k, v in out.items()}, here / "variants.safetensors")


def counts(configs: pathlib.Path, path: pathlib.Path) -> None:
    """The number of parameters, and a digest of every key and shape of the state dict."""
    total = {}
    for file in sorted(configs.glob("*.json")):
        config = json.loads(file.read_text())
        with torch.device("meta"):
            model = untouched(config)
        lines = sorted(f"{key} {list(t.shape)}\n" for key, t in model.state_dict().items())
        total[file.stem] = {"parameters": sum(p.numel() for p in model.parameters()),
                            "state": hashlib.sha256("".join(lines).encode()).hexdigest()[:16]}
    path.write_text(json.dumps(total, indent=1))
