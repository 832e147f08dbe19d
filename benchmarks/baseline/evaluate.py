"""Retrieval among the held-out emoji, and the demo's two pictures against its two texts."""

import pathlib

import torch
from PIL import Image

from samples import Sample

DEMO_TEXTS = ("A cute dog", "A fast car")


class Exam:
    def __init__(self, held_out: list[Sample], demo: pathlib.Path, transform, tokenizer, device: str):
        self.images = torch.stack([transform(s.image) for s in held_out]).to(device)
        self.texts = tokenizer([s.text for s in held_out]).to(device)
        pictures = [Image.open(demo / n).convert("RGB") for n in ("dog.png", "racing_car.png")]
        self.demo_images = torch.stack([transform(p) for p in pictures]).to(device)
        self.demo_texts = tokenizer(list(DEMO_TEXTS)).to(device)

    @torch.no_grad()
    def run(self, model) -> dict:
        model.eval()
        image = torch.cat([model.encode_image(b, normalize=True) for b in self.images.split(256)])
        text = torch.cat([model.encode_text(b, normalize=True) for b in self.texts.split(256)])
        similarity = text @ image.T
        demo = (model.logit_scale.exp() * model.encode_image(self.demo_images, normalize=True)
                @ model.encode_text(self.demo_texts, normalize=True).T).softmax(-1)
        return {"text_to_image": ranks(similarity), "image_to_text": ranks(similarity.T),
                "demo": {"dog": demo[0, 0].item(), "car": demo[1, 1].item()}}


def ranks(similarity: torch.Tensor) -> dict:
    """Recalls and ranks where row i belongs to column i. An equal score counts against the right column."""
    right = similarity.diagonal().unsqueeze(1)
    rank = (similarity >= right).sum(1).clamp(min=1).double()
    return {**{f"R@{k}": (rank <= k).double().mean().item() for k in (1, 5, 10)},
            "mean_rank": rank.mean().item(), "median_rank": rank.median().item()}
