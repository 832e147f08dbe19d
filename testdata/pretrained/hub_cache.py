"""Fetches a model with huggingface_hub, or finds it in a cache, and prints what it found.

The tests of clip/pretrained run it when build/venv is there: once against their own hub, to have a cache that Python
wrote, and once offline on a cache that goclip wrote.

  HF_ENDPOINT=http://127.0.0.1:PORT HF_HUB_CACHE=DIR build/venv/bin/python testdata/pretrained/hub_cache.py ORG/NAME REVISION FILE...
"""

import json
import pathlib
import sys

from huggingface_hub import hf_hub_download, scan_cache_dir, snapshot_download, try_to_load_from_cache


def main() -> None:
    repo, revision, *files = sys.argv[1:]
    snapshot = pathlib.Path(snapshot_download(repo, revision=revision))
    found = {}
    for file in files:
        path = hf_hub_download(repo, file, revision=revision)
        assert path == try_to_load_from_cache(repo, file, revision=revision), path
        found[file] = pathlib.Path(path).read_bytes().hex()
    scan = scan_cache_dir()
    print(
        json.dumps(
            {
                "commit": snapshot.name,
                "files": found,
                "repos": sorted(r.repo_id for r in scan.repos),
                "refs": sorted(ref for r in scan.repos for ref in r.refs),
                "warnings": [str(w) for w in scan.warnings],
            }
        )
    )


if __name__ == "__main__":
    main()
