"""Writes towers as their own libraries save them and checkpoints of other sizes, with the features that come out.

  build/venv/bin/python testdata/clip/make_towers.py

  towers/vit.pth       torchvision's VisionTransformer, of the sizes of vit_tiny (variants.py)
  towers/vit-old.pth   the same with the perceptron's names from before torchvision 0.12
  towers/roberta.bin   transformers' RobertaForMaskedLM, of the sizes of the variant dual-encoder
  towers/plain.pt      open_clip's model of the variant named plain below, a checkpoint of the flat kind
  towers/outputs.safetensors
      vit, roberta     the class token and the first token, before any projection
      resized/...      features of open_clip's own load of plain.pt into a model of other pictures and a longer context
      biased/...       logits of its load into a model with a logit bias, which plain.pt has not
"""

import copy
import json
import pathlib

import open_clip
import torch
from open_clip.factory import load_checkpoint
from safetensors.torch import save_file
from torchvision.models.vision_transformer import VisionTransformer
from transformers import RobertaConfig, RobertaForMaskedLM

import formula

HERE = pathlib.Path(__file__).parent / "towers"
BATCH = 8
PLAIN = {"embed_dim": 16, "quick_gelu": True,
         "vision_cfg": {"image_size": 24, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
         "text_cfg": {"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1}}


def fill(model: torch.nn.Module) -> torch.nn.Module:
    with torch.no_grad():
        for key, p in model.named_parameters():
            p.copy_(torch.from_numpy(formula.weight(key, tuple(p.shape))))
    return model.eval()


def pixels(size: int) -> torch.Tensor:
    return torch.from_numpy(formula.pixels("pixels", BATCH, size, size))


@torch.inference_mode()
def main() -> None:
    HERE.mkdir(exist_ok=True)
    out = {}
    vit = fill(VisionTransformer(image_size=24, patch_size=8, num_layers=2, num_heads=2, hidden_dim=32, mlp_dim=128, num_classes=3))
    state = vit.state_dict()
    torch.save(state, HERE / "vit.pth")
    torch.save({k.replace(".mlp.0.", ".mlp.linear_1.").replace(".mlp.3.", ".mlp.linear_2."): v for k, v in state.items()}, HERE / "vit-old.pth")
    vit.heads = torch.nn.Identity()
    out["vit"] = vit(pixels(24))

    text = json.loads((HERE.parent / "variants.json").read_text())["dual-encoder"]["text_cfg"]
    hub = dict(max_position_embeddings=514, type_vocab_size=1, layer_norm_eps=1e-5, pad_token_id=1) | text["hf_model_config"]
    roberta = fill(RobertaForMaskedLM(RobertaConfig(**hub)))
    torch.save(roberta.state_dict(), HERE / "roberta.bin")
    tokens = torch.from_numpy(formula.roberta_tokens("tokens", BATCH, text["context_length"], hub["vocab_size"]))
    out["roberta"] = roberta.roberta(input_ids=tokens, attention_mask=(tokens != 1).long()).last_hidden_state[:, 0]

    torch.save(fill(open_clip.CLIP(**copy.deepcopy(PLAIN))).state_dict(), HERE / "plain.pt")
    (HERE / "plain.json").write_text(json.dumps(PLAIN) + "\n")
    resized = copy.deepcopy(PLAIN)
    resized["vision_cfg"]["image_size"], resized["text_cfg"]["context_length"] = 40, 11
    model = open_clip.CLIP(**resized).eval()
    load_checkpoint(model, str(HERE / "plain.pt"))
    tokens = torch.from_numpy(formula.tokens("tokens", BATCH, 11, 64))
    out |= {"resized/image": model.encode_image(pixels(40)), "resized/text": model.encode_text(tokens)}

    model = open_clip.CLIP(**copy.deepcopy(PLAIN), init_logit_bias=-10).eval()
    load_checkpoint(model, str(HERE / "plain.pt"))
    tokens = torch.from_numpy(formula.tokens("tokens", BATCH, 8, 64))
    out["biased/logits"] = model.get_logits(pixels(24), tokens)[0]
    save_file({k: v.contiguous() for k, v in out.items()}, HERE / "outputs.safetensors")


main()
