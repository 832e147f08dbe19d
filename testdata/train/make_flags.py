"""Writes flags.json: the flags of open_clip's training program, from its own parser.

    python testdata/train/make_flags.py

open_clip_torch 3.3.0 must be installed; nothing else of it is run than its parser.
"""

import argparse
import importlib.metadata
import json
import pathlib

from open_clip_train import params

flags = []


def capture(parser, args=None, namespace=None):
    for action in parser._actions:
        if action.dest == "help":
            continue
        flags.append({
            "flag": action.option_strings[0].removeprefix("--"),
            "value": not isinstance(action, argparse._StoreTrueAction),
            "list": action.nargs in ("+", "*"),
            "choices": action.choices,
        })
    raise SystemExit


argparse.ArgumentParser.parse_args = capture
try:
    params.parse_args([])
except SystemExit:
    pass
try:
    version = importlib.metadata.version("open_clip_torch")
except importlib.metadata.PackageNotFoundError:  # run from its sources
    from open_clip.version import __version__ as version
out = {"open_clip": version, "flags": sorted(flags, key=lambda f: f["flag"])}
pathlib.Path(__file__).with_name("flags.json").write_text(json.dumps(out, indent=1) + "\n")
print(len(flags), "flags of open_clip", version)
