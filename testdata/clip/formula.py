"""Weights and inputs that Python and Go compute alike, so that neither need be stored.

Element i of the tensor called KEY is u = 2 * (z >> 40) / 2^24 - 1 with z = splitmix64(fnv1a64(KEY) + i * GAMMA), times
a scale that follows from the key, all in float64 and rounded once to float32.
"""

import math

import numpy as np

GAMMA = np.uint64(0x9E3779B97F4A7C15)


def uniform(key: str, count: int) -> np.ndarray:
    h = 0xCBF29CE484222325
    for b in key.encode():
        h = (h ^ b) * 0x100000001B3 % 2**64
    with np.errstate(over="ignore"):
        z = np.uint64(h) + np.arange(count, dtype=np.uint64) * GAMMA
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(40)).astype(np.float64) / 2**24 * 2 - 1


def weight(key: str, shape: tuple[int, ...]) -> np.ndarray:
    return scaled(key, uniform(key, math.prod(shape)).reshape(shape)).astype(np.float32)


def scaled(key: str, u: np.ndarray) -> np.ndarray:
    """Numbers between -1 and 1 on the scale of the tensor's kind, at which no layer's output dies or explodes."""
    shape = u.shape
    if key == "logit_scale":
        value = np.full(shape, math.log(1 / 0.07))
    elif key == "logit_bias":
        value = np.full(shape, -10.0)
    elif key.endswith(("bias", "running_mean")):
        value = 0.05 * u
    elif len(shape) == 1 and key.endswith(("weight", "gamma", "running_var")):
        value = 1 + 0.1 * u
    elif "emb" in key:
        value = 0.03 * u
    else:
        fan_in = shape[0] if key.endswith(("visual.proj", "text_projection")) else math.prod(shape[1:])
        value = 1.7320508 * u / math.sqrt(fan_in)
    return value


def pixels(key: str, batch: int, height: int, width: int) -> np.ndarray:
    return (1.5 * uniform(key, batch * 3 * height * width)).reshape(batch, 3, height, width).astype(np.float32)


def tokens(key: str, batch: int, context: int, vocab: int) -> np.ndarray:
    """Texts of different lengths, the last one as long as the context; the end token is the largest id."""
    u = (uniform(key, batch * context).reshape(batch, context) + 1) / 2
    ids = np.zeros((batch, context), dtype=np.int64)
    for row in range(batch):
        n = context if row == batch - 1 else min(context, 4 + 3 * row)
        ids[row, :n] = 1 + (u[row, :n] * (vocab - 3)).astype(np.int64)
        ids[row, 0], ids[row, n - 1] = vocab - 2, vocab - 1
    return ids


def roberta_tokens(key: str, batch: int, context: int, vocab: int) -> np.ndarray:
    """The same lengths between RoBERTa's begin 0 and end 2, padded with 1."""
    ids = tokens(key, batch, context, vocab)
    real = np.cumsum(ids[:, ::-1] != 0, axis=1)[:, ::-1] > 0
    first, last = np.zeros_like(real), real & ~np.roll(real, -1, axis=1)
    first[:, 0], last[:, -1] = True, real[:, -1]
    return np.where(first, 0, np.where(last, 2, np.where(real, 3 + ids % (vocab - 3), 1)))
