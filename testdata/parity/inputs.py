"""Two pictures with large forms in them, and four texts from short to full."""

import torch
from weights import formula


def pixels(seed: int, count: int, size: int) -> torch.Tensor:
    """Normalised pictures: noise of 5x5 and 28x28 fields and of single pixels. Pixels' noise alone averages out in a tower."""
    g = torch.Generator().manual_seed(seed)
    layers = []
    for fields, share in ((5, 1.0), (28, 0.4), (size, 0.2)):
        x = torch.randn(count, 3, fields, fields, generator=g) * share
        layers.append(torch.nn.functional.interpolate(x, size=(size, size), mode="bicubic"))
    return sum(layers).clamp(-1.9, 2.1).contiguous()


def tokens(text: dict) -> torch.Tensor:
    """Ids for a text_cfg."""
    length = text.get("context_length", 77)
    if text.get("hf_model_name", "").startswith("google/mt5"):
        ids = formula.tokens("tokens", 4, length, 250112)
    elif text.get("hf_model_name", "").startswith("facebook/nllb"):
        ids = formula.roberta_tokens("tokens", 4, length, 256206)
    elif "hf_model_name" in text:
        vocab = text.get("vocab_size", 250002 if text["hf_model_name"].startswith("xlm") else 50265)
        ids = formula.roberta_tokens("tokens", 4, length, vocab)
    else:
        ids = formula.tokens("tokens", 4, length, text.get("vocab_size", 49408))
    return torch.from_numpy(ids)
