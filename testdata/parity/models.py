"""Full-size models as their own libraries build them, without a download."""

import json
import pathlib

import open_clip
import torch
import transformers
from open_clip import hf_model

import inputs
import weights

CONFIGS = pathlib.Path(__file__).parents[2] / "clip" / "tower" / "configs"

# What the hub's config.json of each name says.
ROBERTA = dict(vocab_size=50265, max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5,
               bos_token_id=0, pad_token_id=1, eos_token_id=2)
LARGE = dict(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096)
HUB = {"roberta-base": transformers.RobertaConfig(**ROBERTA),
       "xlm-roberta-base": transformers.XLMRobertaConfig(**ROBERTA | {"vocab_size": 250002}),
       "xlm-roberta-large": transformers.XLMRobertaConfig(**ROBERTA | LARGE | {"vocab_size": 250002}),
       "facebook/nllb-200-distilled-600M": transformers.M2M100Config(
           vocab_size=256206, d_model=1024, encoder_layers=12, encoder_attention_heads=16, encoder_ffn_dim=4096, decoder_layers=1, max_position_embeddings=1024,
           scale_embedding=True, activation_function="relu", encoder_layerdrop=0.0, pad_token_id=1),
       "google/mt5-base": transformers.MT5Config(
           vocab_size=250112, d_model=768, d_kv=64, d_ff=2048, num_layers=12, num_heads=12, num_decoder_layers=1, feed_forward_proj="gated-gelu", pad_token_id=0)}

hf_model.AutoConfig.from_pretrained = lambda name: HUB[name]
open_clip.add_model_config(CONFIGS / "vit_b_32-roberta-base.json")  # 3.3.0 has no config of this name any more


def create(name: str, **options) -> torch.nn.Module:
    """open_clip's model of a config; OpenAI's own code comes in by openai()."""
    return open_clip.create_model(name, pretrained_text=False, **options).eval()


def seeded(name: str, half: bool = False) -> torch.nn.Module:
    """The same with seeded weights; half keeps them to what half precision holds."""
    model = create(name)
    weights.fill(model, half)
    weights.calibrate(model, inputs.pixels(1, 4, open_clip.get_model_config(name)["vision_cfg"]["image_size"]))
    if half:
        model.load_state_dict({k: v.half().to(v.dtype) for k, v in model.state_dict().items()})
    return model


def write_config(model: torch.nn.Module, config: dict, directory: pathlib.Path) -> None:
    pre = {k: model.visual.preprocess_cfg[k] for k in ("mean", "std", "interpolation", "resize_mode", "size")}
    (directory / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": pre}))


def openai(state: dict) -> torch.nn.Module:
    """OpenAI's own model, which reads its sizes off the weights' shapes. It is in half precision, as OpenAI published it."""
    from clip.model import build_model
    return build_model(dict(state))


def libraries(name: str, own: bool) -> str:
    config = open_clip.get_model_config(name)
    parts = ["openai-clip" if own else "open_clip"]
    parts += ["timm"] if "timm_model_name" in config["vision_cfg"] else []
    parts += ["hf"] if "hf_model_name" in config["text_cfg"] else []
    return ", ".join(parts)
