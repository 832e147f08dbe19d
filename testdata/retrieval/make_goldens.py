"""Writes retrieval metrics by the definitions of open_clip and CLIP_benchmark, for train/evaluate/ranks_test.go.

  python testdata/retrieval/make_goldens.py
"""

import json
import pathlib

import numpy as np
import torch
from open_clip_train.train import get_clip_metrics

HERE = pathlib.Path(__file__).parent
PICTURES, DIM = 23, 6


def rows(rng: np.random.Generator, n: int) -> torch.Tensor:
    x = torch.from_numpy(rng.standard_normal((n, DIM)).astype(np.float32))
    return torch.nn.functional.normalize(x, dim=1)


def recall(scores: torch.Tensor, positive: torch.Tensor, k: int) -> float:
    """CLIP_benchmark: the share of rows of which any of the k best columns is a positive pair."""
    best = scores.topk(min(k, scores.shape[1]), dim=1).indices
    return positive.gather(1, best).any(1).float().mean().item()


def main() -> None:
    rng = np.random.default_rng(0)
    images, texts = rows(rng, PICTURES), rows(rng, PICTURES)
    texts = torch.nn.functional.normalize(texts + images, dim=1)  # so that matches are near, and not all first
    pairs = {k: float(v) for k, v in get_clip_metrics(images, texts, torch.tensor(1.0)).items()}

    of = [i for i in range(PICTURES) for _ in range(1 + i % 5)]
    rng.shuffle(of)
    captions = torch.nn.functional.normalize(rows(rng, len(of)) + images[of], dim=1)
    scores, positive = images @ captions.T, torch.nn.functional.one_hot(torch.tensor(of), PICTURES).T.bool()
    several = {}
    for name, s, p in (("image_to_text", scores, positive), ("text_to_image", scores.T, positive.T)):
        for k in (1, 5, 10):
            several[f"{name}_R@{k}"] = recall(s, p, k)
        place = p.gather(1, s.argsort(dim=1, descending=True)).int().argmax(1).numpy()  # of the first match
        several[f"{name}_mean_rank"], several[f"{name}_median_rank"] = float(place.mean() + 1), float(np.floor(np.median(place)) + 1)
    out = {"dim": DIM, "images": images.flatten().tolist(), "texts": texts.flatten().tolist(), "pairs": pairs,
           "captions": captions.flatten().tolist(), "of": [int(i) for i in of], "several": several}
    (HERE / "goldens.json").write_text(json.dumps(out) + "\n")


main()
