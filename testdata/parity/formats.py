"""Full-size models in the formats that goclip opens beside open_clip's directory with safetensors.

Each function writes the files, has the library whose format it is load them, and gives what that library computes. open.json tells
clip/parity_formats_test.go how goclip opens them, and what they must hold.
"""

import functools
import json
import pathlib

import clip
import open_clip
import torch
import torchvision
from safetensors.torch import save_file
from torch.nn.functional import normalize
from transformers import (AltCLIPConfig, AltCLIPModel, ChineseCLIPConfig, ChineseCLIPModel, CLIPConfig, CLIPModel, CLIPSegConfig, CLIPSegForImageSegmentation, MetaClip2Config,
                          MetaClip2Model, RobertaForMaskedLM, Siglip2Config, Siglip2Model, SiglipConfig, SiglipModel)

import inputs
import models
import outputs
import weights

Row = tuple[str, int, dict]  # library, parameters, outputs


def opened(directory: pathlib.Path, **how) -> None:
    (directory / "open.json").write_text(json.dumps(how))


def save_bin(model: torch.nn.Module, directory: pathlib.Path) -> None:
    """PyTorch's files with an index, as transformers 4 could save: in two halves."""
    state, map = model.state_dict(), {}
    names = list(state)
    for i, half in enumerate((names[: len(names) // 2], names[len(names) // 2 :]), 1):
        file = f"pytorch_model-{i:05}-of-00002.bin"
        torch.save({name: state[name].clone() for name in half}, directory / file)
        map |= dict.fromkeys(half, file)
    (directory / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": map}))
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(directory)


@torch.inference_mode()
def hugging_face(directory: pathlib.Path, kind: type, config, format: str = "hf", pad: int | None = None, masked: int | None = None, length: int | None = None, **text) -> Row:
    """transformers' directory. The texts are padded as the model's tokenizer pads, if need be with its end token, or masked."""
    model = kind(config)
    weights.fill(model)
    if format == "hf-bin":
        save_bin(model, directory)
    else:
        model.save_pretrained(directory, max_shard_size="500MB" if format == "hf-shards" else "50GB")
    model = kind.from_pretrained(directory).eval()
    model = getattr(model, "clip", model)  # of a CLIPSeg
    ids = inputs.tokens(dict(context_length=length or config.text_config.max_position_embeddings, vocab_size=config.text_config.vocab_size, **text))
    out = {"tokens": ids if pad is None else torch.where(ids == 0, pad, ids)}
    mask = {} if masked is None else {"attention_mask": (ids != masked).long()}
    if kind is Siglip2Model:
        out["pixels"], pictures = flexible(config.vision_config)
    else:
        out["pixels"] = inputs.pixels(0, 2, config.vision_config.image_size)
        pictures = {"pixel_values": out["pixels"]}
    result = model(input_ids=out["tokens"], **mask, **pictures)
    out |= {"image/1": result.image_embeds, "text/1": result.text_embeds, "logits": result.logits_per_image}
    opened(directory, format=format, path=".")
    return "hf", outputs.count(model), out


def flexible(config) -> tuple[torch.Tensor, dict]:
    """A square picture and a wide one that leaves padding: as goclip takes their patches, and as transformers does."""
    size, side = config.patch_size, int(config.num_patches**0.5)
    laid, values = torch.zeros(2, 3, (1 + side) * size, side * size), torch.zeros(2, side * side, size * size * 3)
    grids = torch.tensor([(side, side), (side - 4, side + 4)])
    for i, (rows, columns) in enumerate(grids.tolist()):
        picture = inputs.pixels(i, 1, max(rows, columns) * size)[0, :, :rows * size, :columns * size]
        patches = picture.reshape(3, rows, size, columns, size).permute(1, 3, 0, 2, 4).reshape(-1, 3, size, size)
        values[i, : rows * columns] = patches.permute(0, 2, 3, 1).reshape(rows * columns, -1)
        laid[i, 0, 0, 1], laid[i, 1, 0, 1] = rows, columns
        for j, patch in enumerate(patches):
            laid[i, :, (1 + j // side) * size: (2 + j // side) * size, j % side * size: (j % side + 1) * size] = patch
    kept = torch.arange(side * side) < grids.prod(1, keepdim=True)
    return laid, {"pixel_values": values, "pixel_attention_mask": kept.int(), "spatial_shapes": grids}


# openai/clip-vit-large-patch14. Its end token is 2, by which transformers means the largest id.
LARGE = CLIPConfig(projection_dim=768, text_config=dict(hidden_size=768, intermediate_size=3072, num_attention_heads=12, eos_token_id=2),
                   vision_config=dict(hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, patch_size=14))
# facebook/metaclip-2-worldwide's words, which end with 2 among larger ids.
WORLDWIDE = MetaClip2Config(text_config=dict(vocab_size=901629, bos_token_id=0, eos_token_id=2))


def archive(directory: pathlib.Path, name: str) -> Row:
    """A TorchScript archive as OpenAI published: traced in half precision, with three numbers beside the weights."""
    model = models.openai(models.seeded(name, half=True).state_dict()).eval()
    size = model.visual.input_resolution
    for key, value in (("input_resolution", size), ("context_length", model.context_length), ("vocab_size", model.vocab_size)):
        model.__dict__.pop(key, None)
        model.register_buffer(key, torch.tensor(value))
    pixels, ids = inputs.pixels(0, 2, size), inputs.tokens({})
    calls = {"forward": (pixels.half(), ids), "encode_image": pixels.half(), "encode_text": ids}
    torch.jit.save(torch.jit.trace_module(model, calls, check_trace=False), directory / "model.pt")
    model, _ = clip.load(str(directory / "model.pt"), device="cpu")
    opened(directory, format="openai-jit", path="model.pt")
    return "openai-clip", outputs.count(model), outputs.of(model, pixels, ids)


def loaded(directory: pathlib.Path, name: str, file: str, format: str, image_size: int = 0, context_length: int = 0) -> Row:
    """open_clip's own load of a checkpoint, for pictures or texts of another size too."""
    model = models.create(name, pretrained=str(directory / file), force_image_size=image_size or None, force_context_length=context_length or None)
    config = open_clip.get_model_config(name)
    out = outputs.of(model, inputs.pixels(0, 2, image_size or config["vision_cfg"]["image_size"]),
                     inputs.tokens(config["text_cfg"] | ({"context_length": context_length} if context_length else {})))
    opened(directory, format=format, config=name, pretrained=file, image_size=image_size, context_length=context_length)
    return "open_clip", outputs.count(model), out


def training(directory: pathlib.Path, name: str) -> Row:
    """What open_clip's training leaves: DistributedDataParallel's names, and AdamW's state beside the weights."""
    model = models.seeded(name)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0)
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    torch.save({"epoch": 1, "name": "run", "state_dict": {f"module.{k}": v for k, v in model.state_dict().items()},
                "optimizer": optimizer.state_dict()}, directory / "epoch_1.pt")
    del model, optimizer
    return loaded(directory, name, "epoch_1.pt", "pt")


def legacy(directory: pathlib.Path, name: str) -> Row:
    """torch.save before PyTorch 1.6."""
    torch.save(models.seeded(name).state_dict(), directory / "state_dict.pt", _use_new_zipfile_serialization=False)
    return loaded(directory, name, "state_dict.pt", "legacy")


def binary(directory: pathlib.Path, name: str) -> Row:
    """open_clip's directory with PyTorch's file in it."""
    model, config = models.seeded(name), open_clip.get_model_config(name)
    torch.save(model.state_dict(), directory / "open_clip_pytorch_model.bin")
    models.write_config(model, config, directory)
    model = models.create(f"local-dir:{directory}")
    opened(directory, format="bin", path=".")
    return "open_clip", outputs.count(model), outputs.of(model, inputs.pixels(0, 2, config["vision_cfg"]["image_size"]), inputs.tokens(config["text_cfg"]))


def resized(directory: pathlib.Path, name: str, **sizes) -> Row:
    torch.save(models.seeded(name).state_dict(), directory / "weights.pt")
    return loaded(directory, name, "weights.pt", "resized", **sizes)


@torch.inference_mode()
def towers(directory: pathlib.Path) -> Row:
    """torchvision's file and RoBERTa's, which hold no projections to the common space: these lie in a third, with zeros as towers."""
    name = "vit_b_32-roberta-base"
    vit, roberta = torchvision.models.vit_b_32().eval(), RobertaForMaskedLM(models.HUB["roberta-base"]).eval()
    for model, file in ((vit, "vit_b_32.pth"), (roberta, "pytorch_model.bin")):
        weights.fill(model)
        torch.save(model.state_dict(), directory / file)
        for p in model.parameters():
            p.zero_()
        model.load_state_dict(torch.load(directory / file))
    whole = models.seeded(name)
    projections = whole.visual.head, whole.text.proj
    kept = {"visual.head.proj.weight", "text.proj.weight", "logit_scale"}
    save_file({k: v if k in kept else torch.zeros_like(v) for k, v in whole.state_dict().items()}, directory / "projections.safetensors")
    vit.heads, roberta = torch.nn.Identity(), roberta.roberta
    ids = inputs.tokens(open_clip.get_model_config(name)["text_cfg"])
    out = {"pixels": inputs.pixels(0, 2, 224), "tokens": ids}
    first = roberta(input_ids=ids, attention_mask=(ids != roberta.config.pad_token_id).long()).last_hidden_state[:, 0]
    out |= {"image/1": normalize(projections[0](vit(out["pixels"])), dim=-1), "text/1": normalize(projections[1](first), dim=-1)}
    out["logits"] = whole.logit_scale.exp() * out["image/1"] @ out["text/1"].T
    opened(directory, format="towers", config=name, pretrained="projections.safetensors", image_tower="vit_b_32.pth", text_tower="pytorch_model.bin")
    return "torchvision + transformers", outputs.count(vit, roberta, *projections) + 1, out


ROWS = {
    "hf:ViT-B-32": functools.partial(hugging_face, kind=CLIPModel, config=CLIPConfig(), pad=49407),
    "hf:ViT-L-14": functools.partial(hugging_face, kind=CLIPModel, config=LARGE, pad=49407, format="hf-shards"),
    "hf-bin:ViT-B-32": functools.partial(hugging_face, kind=CLIPModel, config=CLIPConfig(), pad=49407, format="hf-bin"),
    "hf:MetaCLIP-2-B-32": functools.partial(hugging_face, kind=MetaClip2Model, config=WORLDWIDE, hf_model_name="xlm"),
    "hf:ViT-B-16-SigLIP": functools.partial(hugging_face, kind=SiglipModel, config=SiglipConfig(), pad=1),
    "hf:ViT-B-16-SigLIP2": functools.partial(hugging_face, kind=SiglipModel, config=SiglipConfig(text_config=dict(vocab_size=256000)), pad=0),
    "hf:SigLIP2-NaFlex-B-16": functools.partial(hugging_face, kind=Siglip2Model, config=Siglip2Config(text_config=dict(vocab_size=256000)), pad=0),
    "hf:ChineseCLIP-B-16": functools.partial(hugging_face, kind=ChineseCLIPModel, masked=0, length=52, config=ChineseCLIPConfig(
        text_config=dict(vocab_size=21128), vision_config=dict(patch_size=16))),
    "hf:AltCLIP-L-14": functools.partial(hugging_face, kind=AltCLIPModel, masked=1, length=77, hf_model_name="xlm", config=AltCLIPConfig(
        vision_config=dict(hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, patch_size=14))),
    "hf:CLIPSeg-B-16": functools.partial(hugging_face, kind=CLIPSegForImageSegmentation, config=CLIPSegConfig(vision_config=dict(patch_size=16)), pad=49407),
    "openai-jit:ViT-B-32": functools.partial(archive, name="ViT-B-32-quickgelu"),
    "openai-jit:RN50": functools.partial(archive, name="RN50-quickgelu"),
    "pt:ViT-B-32": functools.partial(training, name="ViT-B-32"),
    "legacy:ViT-B-32": functools.partial(legacy, name="ViT-B-32"),
    "bin:ViT-B-32": functools.partial(binary, name="ViT-B-32"),
    "torchvision+roberta": towers,
    "resized:ViT-B-16": functools.partial(resized, name="ViT-B-16", image_size=336),
    "resized-text:ViT-B-16": functools.partial(resized, name="ViT-B-16", context_length=48),
}


def write(name: str, directory: pathlib.Path) -> Row:
    return ROWS[name](directory)
