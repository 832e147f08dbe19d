"""Goldens of index/concept: scikit-learn's shrunk covariance, and the classifier by scipy's minimiser in plain features.

  python3 -m venv build/venv-concept && build/venv-concept/bin/pip install numpy scipy scikit-learn
  build/venv-concept/bin/python testdata/concept/make_goldens.py
"""

import json
import pathlib

import numpy as np
from scipy.optimize import minimize
from sklearn.covariance import ledoit_wolf

SPREAD, PRECISION, OTHERS = 0.25, 20, 200  # index/concept/fit.go
DIM, ROWS = 6, 60


def unit(x):
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32).astype(float)


def fit(rows, text, yes, no):
    mean, cov = rows.mean(0), ledoit_wolf(rows)[0]
    root = np.linalg.cholesky(cov)
    prior = np.zeros(len(mean)) if text is None else SPREAD * text / np.sqrt(text @ cov @ text)  # as weights of plain features

    others = np.array([r for r in rows if not any((r == e).all() for e in [*yes, *no])])

    def loss(x):
        w, b = x[:-1], x[-1]
        d = root.T @ (w - prior)
        logit = lambda a: (a - mean) @ w + b
        soft = lambda a: np.logaddexp(0, a).sum()
        return (PRECISION / 2 * d @ d + soft(-logit(yes)) + (soft(logit(no)) if len(no) else 0)
                + min(1, OTHERS / len(others)) * soft(logit(others)))

    x = minimize(loss, np.append(prior, 0), method="BFGS", options={"gtol": 1e-7, "maxiter": 5000}).x
    scale = np.linalg.norm(x[:-1])
    return {"row": (x[:-1] / scale).tolist(), "scale": scale, "bias": x[-1] - x[:-1] @ mean}


def main():
    rng = np.random.default_rng(1)
    rows = unit(rng.normal(size=(ROWS, DIM)) * [3, 2, 1, 1, .5, .2] + [1, 0, 0, 2, 0, 0])
    text, yes, no = unit(rng.normal(size=DIM)), rows[:3], rows[10:12]
    out = {"rows": rows.tolist(), "text": text.tolist(), "yes": yes.tolist(), "no": no.tolist(),
           "covariance": ledoit_wolf(rows)[0].tolist(), "shrinkage": ledoit_wolf(rows)[1],
           "fits": {"examples": fit(rows, None, yes, no), "text": fit(rows, text, yes, no), "one": fit(rows, text, yes[:1], no[:0])}}
    (pathlib.Path(__file__).parent / "fits.json").write_text(json.dumps(out, indent=1) + "\n")


main()
