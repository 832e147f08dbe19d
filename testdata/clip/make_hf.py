"""Writes tiny models as Hugging Face's library saves them, with the numbers that it computes.

  build/venv/bin/python testdata/clip/make_hf.py

  hf/clip        CLIPModel as the hub's configs of OpenAI's models have it: eos_token_id 2, which means the largest id
  hf/clip-eos    CLIPModel with its own end token, GELU and epsilon; the weights in several files
  hf/metaclip-2  MetaClip2Model, which takes eos_token_id 2 at its word
  hf/siglip      SiglipModel
  hf/chinese-clip   ChineseCLIPModel
  hf/clipseg     CLIPSegForImageSegmentation, whose CLIP is read
  hf/outputs.safetensors   of each: tokens, features and logits; the pictures are formula.py's
"""

import pathlib
import shutil

import torch
from safetensors.torch import save_file
from transformers import (ChineseCLIPConfig, ChineseCLIPModel, CLIPConfig, CLIPSegConfig, CLIPSegForImageSegmentation, CLIPImageProcessor, CLIPModel, MetaClip2Config, MetaClip2Model, SiglipConfig, SiglipImageProcessor,
                          SiglipModel)

import formula

HERE = pathlib.Path(__file__).parent / "hf"
BATCH, SIZE = 8, 24
VISION = dict(hidden_size=16, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=SIZE, patch_size=8)
TEXT = dict(hidden_size=8, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, vocab_size=64, max_position_embeddings=8)
GELU = dict(hidden_act="gelu", layer_norm_eps=1e-3)

MODELS = {
    "clip": (CLIPModel, CLIPConfig(vision_config=VISION, text_config=TEXT | dict(eos_token_id=2), projection_dim=6), CLIPImageProcessor),
    "clip-eos": (CLIPModel, CLIPConfig(vision_config=VISION | GELU, text_config=TEXT | GELU | dict(eos_token_id=60), projection_dim=6), CLIPImageProcessor),
    "metaclip-2": (MetaClip2Model, MetaClip2Config(vision_config=VISION | dict(hidden_act="gelu"), text_config=TEXT | dict(hidden_act="gelu", eos_token_id=2),
                                                   projection_dim=6), CLIPImageProcessor),
    "chinese-clip": (ChineseCLIPModel, ChineseCLIPConfig(
        vision_config=VISION, text_config=dict(vocab_size=64, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
                                               max_position_embeddings=10), projection_dim=6), CLIPImageProcessor),
    "clipseg": (CLIPSegForImageSegmentation, CLIPSegConfig(
        vision_config=VISION, text_config=TEXT | dict(eos_token_id=2), projection_dim=6, extract_layers=[0, 1], reduce_dim=4, decoder_num_attention_heads=1,
        decoder_intermediate_size=8), CLIPImageProcessor),
    "siglip": (SiglipModel, SiglipConfig(vision_config=VISION, text_config=TEXT | dict(hidden_size=16, intermediate_size=64)), SiglipImageProcessor),
}


def tokens(name: str, config) -> torch.Tensor:
    """Texts of several lengths; where the end token is an id of its own, larger ids and a second end follow it."""
    ids = torch.from_numpy(formula.tokens("tokens", BATCH, 8, 64))
    if name == "chinese-clip":
        return ids
    end = config.text_config.eos_token_id
    if name in ("clip-eos", "metaclip-2"):
        ids = torch.where(ids == end, end + 1, ids)
        for row, length in zip(ids, (ids != 0).sum(1)):
            row[length - 1] = 61
            row[max(1, length - 3)] = row[length - 2] = end
    return ids


@torch.inference_mode()
def main() -> None:
    shutil.rmtree(HERE, ignore_errors=True)
    out = {}
    for name, (kind, config, processor) in MODELS.items():
        model = kind(config).eval()
        for key, p in model.named_parameters():
            if not key.startswith("decoder."):  # which nobody reads
                p.copy_(torch.from_numpy(formula.weight(key.removeprefix("clip."), tuple(p.shape))))
        model.save_pretrained(HERE / name, max_shard_size="20KB" if name == "clip-eos" else "1GB")
        square = dict(size=dict(height=SIZE, width=SIZE)) if name == "siglip" else dict(size=dict(shortest_edge=SIZE), crop_size=dict(height=SIZE, width=SIZE))
        processor(**square).save_pretrained(HERE / name)
        ids = tokens(name, config)
        result = getattr(model, "clip", model)(input_ids=ids, attention_mask=(ids != 0).long() if name == "chinese-clip" else None, pixel_values=torch.from_numpy(formula.pixels("pixels", BATCH, SIZE, SIZE)))
        out |= {f"{name}/tokens": ids, f"{name}/image": result.image_embeds, f"{name}/text": result.text_embeds, f"{name}/logits": result.logits_per_image}
    save_file({key: t.contiguous() for key, t in out.items()}, HERE / "outputs.safetensors")


main()
