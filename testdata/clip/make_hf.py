"""Writes tiny models as Hugging Face's library saves them, with the numbers that it computes.

  build/venv/bin/python testdata/clip/make_hf.py

  hf/clip        CLIPModel as the hub's configs of OpenAI's models have it: eos_token_id 2, which means the largest id
  hf/clip-eos    CLIPModel with its own end token, GELU and epsilon; the weights in several files
  hf/metaclip-2  MetaClip2Model, which takes eos_token_id 2 at its word
  hf/siglip      SiglipModel
  hf/siglip2     Siglip2Model, which takes images of any shape (NaFlex)
  hf/chinese-clip   ChineseCLIPModel
  hf/altclip     AltCLIPModel
  hf/clipseg     CLIPSegForImageSegmentation, whose CLIP is read
  hf/outputs.safetensors   of each: tokens, features and logits; the pictures are formula.py's. Of siglip2 the grid of each
                           picture too; its patches are formula.py's, and zeros behind the last of the grid
  hf/gradients.safetensors of siglip2 and altclip: the loss and the gradient of every weight, under the weight's name
"""

import pathlib
import shutil

import torch
from safetensors.torch import save_file
from transformers import (AltCLIPConfig, AltCLIPModel, ChineseCLIPConfig, ChineseCLIPModel, CLIPConfig, CLIPSegConfig, CLIPSegForImageSegmentation, CLIPImageProcessor, CLIPModel, MetaClip2Config, MetaClip2Model, Siglip2Config, Siglip2ImageProcessor,
                          Siglip2Model, SiglipConfig, SiglipImageProcessor, SiglipModel)

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
    "altclip": (AltCLIPModel, AltCLIPConfig(
        vision_config=VISION, text_config=dict(vocab_size=64, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
                                               max_position_embeddings=12, project_dim=12), projection_dim=6), CLIPImageProcessor),
    "siglip2": (Siglip2Model, Siglip2Config(
        vision_config={k: v for k, v in VISION.items() if k != "image_size"} | dict(num_patches=9),
        text_config=TEXT | dict(hidden_size=16, intermediate_size=64)), Siglip2ImageProcessor),
    "siglip": (SiglipModel, SiglipConfig(vision_config=VISION, text_config=TEXT | dict(hidden_size=16, intermediate_size=64)), SiglipImageProcessor),
}


def tokens(name: str, config) -> torch.Tensor:
    """Texts of several lengths; where the end token is an id of its own, larger ids and a second end follow it."""
    ids = torch.from_numpy(formula.tokens("tokens", BATCH, 8, 64))
    if name == "chinese-clip":
        return ids
    if name == "altclip":
        return torch.from_numpy(formula.roberta_tokens("tokens", BATCH, 8, 64))
    end = config.text_config.eos_token_id
    if name in ("clip-eos", "metaclip-2"):
        ids = torch.where(ids == end, end + 1, ids)
        for row, length in zip(ids, (ids != 0).sum(1)):
            row[length - 1] = 61
            row[max(1, length - 3)] = row[length - 2] = end
    return ids


# The grids of siglip2's pictures: with and without padding, larger and smaller than the table of 3 x 3 positions.
GRIDS = [(3, 5), (1, 15), (15, 1), (3, 3), (2, 7), (4, 3), (1, 1), (5, 2)]
PATCHES = 15


def pictures(name: str) -> dict:
    if name != "siglip2":
        return {"pixel_values": torch.from_numpy(formula.pixels("pixels", BATCH, SIZE, SIZE))}
    kept = torch.arange(PATCHES) < torch.tensor([[rows * columns] for rows, columns in GRIDS])
    values = torch.from_numpy(formula.pixels("pixels", BATCH, PATCHES, 8 * 8)).reshape(BATCH, PATCHES, 8 * 8 * 3)
    return {"pixel_values": values * kept[:, :, None], "pixel_attention_mask": kept.int(), "spatial_shapes": torch.tensor(GRIDS)}


def gradients(model: torch.nn.Module, inputs: dict) -> dict:
    with torch.enable_grad():
        loss = model(**inputs, return_loss=True).loss
        loss.backward()
    return {"loss": loss.detach()} | {key: p.grad for key, p in model.named_parameters()}


@torch.no_grad()
def main() -> None:
    shutil.rmtree(HERE, ignore_errors=True)
    out, grads = {}, {}
    for name, (kind, config, processor) in MODELS.items():
        model = kind(config).eval()
        for key, p in model.named_parameters():
            if not key.startswith("decoder."):  # which nobody reads
                p.copy_(torch.from_numpy(formula.weight(key.removeprefix("clip."), tuple(p.shape))))
        model.save_pretrained(HERE / name, max_shard_size="20KB" if name == "clip-eos" else "1GB")
        square = dict(size=dict(height=SIZE, width=SIZE)) if name == "siglip" else dict(size=dict(shortest_edge=SIZE), crop_size=dict(height=SIZE, width=SIZE))
        if name == "siglip2":
            square = dict(patch_size=8, max_num_patches=PATCHES)
        processor(**square).save_pretrained(HERE / name)
        ids = tokens(name, config)
        pad = {"chinese-clip": 0, "altclip": 1}.get(name)
        inputs = {"input_ids": ids, "attention_mask": None if pad is None else (ids != pad).long()} | pictures(name)
        result = getattr(model, "clip", model)(**inputs)
        if name in ("siglip2", "altclip"):
            grads |= {f"{name}/{key}": g for key, g in gradients(model, inputs).items()}
        out |= {f"{name}/tokens": ids, f"{name}/image": result.image_embeds, f"{name}/text": result.text_embeds, f"{name}/logits": result.logits_per_image}
    out["siglip2/grids"] = torch.tensor(GRIDS)
    for file, tensors in (("outputs", out), ("gradients", grads)):
        save_file({key: t.contiguous() for key, t in tensors.items()}, HERE / f"{file}.safetensors")


main()
