"""Writes clip/pretrained/table.json: where open_clip's published weights are, and how their images are prepared.

The facts come from open_clip's own table (open_clip/pretrained.py). The rows are those of the configs in clip/tower/configs:
run this after adding one. A field that stands at OpenAI's value is left out: mean and std of OpenAI's images, bicubic,
shortest, the exact GELU. A second file, for the tests, holds what open_clip fetches for each of its pairs.

For infer models each row has the parameters (testdata/clip/params.json), the zero-shot accuracy on ImageNet that open_clip
publishes (docs/openclip_results.csv of its repository, which the package leaves out; without --results the former numbers
stay), the licence of the weights where timm's configs of the tower agree on one, and whether docs/internals/parity.md has the
config in full size.

  pip install open_clip_torch==3.3.0 timm==1.0.31
  python testdata/pretrained/make_table.py [--results openclip_results.csv]
"""

import argparse
import csv
import json
import pathlib

import timm
from open_clip import pretrained

ROOT = pathlib.Path(__file__).parent.parent.parent
CLIP = ROOT / "clip"
PARITY = ROOT / "docs" / "internals" / "parity.md"
TABLE = CLIP / "pretrained" / "table.json"
FETCHED = CLIP / "pretrained" / "testdata" / "open_clip_3.3.0.json"

# open_clip 3.3.0 gives this tag the repository of laion400m_e31; its URL is right.
WRONG_REPOSITORY = {("ViT-B-16-plus-240", "laion400m_e32")}

DEFAULTS = pretrained._pcfg()


def known_hash(url: str) -> str:
    """The SHA-256 in an address: OpenAI's whole, open_clip's first eight digits, Meta's none."""
    if "openaipublic" in url:
        return url.split("/")[-2]
    if "mlfoundations" in url:
        return url.rsplit("-", 1)[1].split(".")[0]
    return ""


def entry(model: str, tag: str, facts: dict) -> dict:
    hub = "" if (model, tag) in WRONG_REPOSITORY else facts["hf_hub"]
    repository, _, file = hub.rpartition("/")  # "org/name/file.bin"; "org/name/" stands for open_clip's two default names
    assert repository or facts["url"], (model, tag)
    assert repository.count("/") in (0, 1), hub
    out = {"model": model, "tag": tag, "repo": repository, "file": file, "url": facts["url"], "sha256": known_hash(facts["url"])}
    out["quick_gelu"] = facts.get("quick_gelu", False)
    for key in ("mean", "std", "interpolation", "resize_mode"):
        if facts[key] != DEFAULTS[key]:
            out[key] = facts[key]
    unknown = set(facts) - {"url", "hf_hub", "quick_gelu", "mean", "std", "interpolation", "resize_mode"}
    assert not unknown, unknown
    return {key: value for key, value in out.items() if value}


def license(model: str) -> str:
    """timm's, of the published weights of the tower that a config names, if they have one and no other."""
    name = json.loads((CLIP / "tower" / "configs" / f"{model}.json").read_text())["vision_cfg"].get("timm_model_name", "")
    tags = timm.list_pretrained() if name else []
    configs = [timm.get_pretrained_cfg(tag) for tag in tags if tag.partition(".")[0] == name]
    licences = {c.license for c in configs}
    return licences.pop() if len(licences) == 1 and None not in licences else ""


def facts_of(entries: list[dict], results: pathlib.Path | None) -> None:
    parameters = json.loads((ROOT / "testdata" / "clip" / "params.json").read_text())
    former = {(e["model"], e["tag"]): e.get("imagenet") for e in json.loads(TABLE.read_text())}
    if results:
        rows = list(csv.DictReader(results.open()))
        former = {(r["name"].removesuffix("-quickgelu"), r["pretrained"]): round(float(r["ImageNet 1k"]), 4) for r in rows if r["ImageNet 1k"]}
    checked = {line.split(" | ")[0].removeprefix("| ").removesuffix("-quickgelu") for line in PARITY.read_text().splitlines() if line.startswith("| ")}
    for e in entries:
        e["parameters"] = parameters[e["model"]]["parameters"]
        more = {"imagenet": former.get((e["model"], e["tag"])), "license": license(e["model"]), "parity": e["model"] in checked}
        e |= {key: value for key, value in more.items() if value}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--results", type=pathlib.Path)
    args = parser.parse_args()
    entries = [
        entry(model, tag, facts)
        for model, tags in pretrained._PRETRAINED.items()
        if (CLIP / "tower" / "configs" / f"{model}.json").exists()
        if not model.endswith("-quickgelu")  # these names repeat the tags whose quick_gelu is true
        for tag, facts in tags.items()
    ]
    owners: dict[tuple, str] = {}
    for e in entries:  # a repository of two entries is a slip, but for SigLIP's 384 weights at 378 pixels
        owner = owners.setdefault((e.get("repo", e.get("url")), e.get("file")), e["model"])
        assert owner in (e["model"], "ViT-SO400M-14-SigLIP-378"), e
    assert len(owners) == len(entries) - 1
    facts_of(entries, args.results)
    TABLE.write_text("[\n" + ",\n".join(json.dumps(e) for e in entries) + "\n]\n")
    print(f"{len(entries)} entries, {len({e['model'] for e in entries})} models")
    pairs = [
        {"model": model, "tag": tag, "url": facts["url"], "hf_hub": facts["hf_hub"]}
        for model, tags in pretrained._PRETRAINED.items()
        for tag, facts in tags.items()
    ]
    FETCHED.parent.mkdir(exist_ok=True)
    FETCHED.write_text("[\n" + ",\n".join(json.dumps(p) for p in pairs) + "\n]\n")
    print(f"{len(pairs)} pairs of open_clip")


if __name__ == "__main__":
    main()
