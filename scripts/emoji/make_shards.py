"""Makes the emoji shards from downloaded packages. scripts/make_emoji.sh fetches them and calls this.

  build/emoji/train-00000.tar ...  all hands but OpenMoji, shuffled
  data/openmoji-eval-0000?.tar      OpenMoji, one picture per base emoji, its plain name as caption
  data/emoji-demo.tar              a random sample of the training pictures
  data/unseen-emoji*.tar           twenty of OpenMoji's pictures that are no emoji of Unicode's, for benchmarks/finetune.py
  data/demo/*.png                  two OpenMoji pictures for the demo
"""

import argparse
import collections
import csv
import multiprocessing
import pathlib
import random

import captions
import draw
import names
import packages
import shards
import unseen

SIZE = 72        # training pictures: the model reads 64, random crops need some room
EVAL_SIZE = 64
DEMO_SIZE = 256
PER_SHARD = 2048
DEMO = {"1f436": "dog.png", "1f3ce": "racing_car.png"}


def draw_one(job: tuple) -> shards.Sample:
    hand, key, emoji, kind, source = job
    rim = draw.margin(key, SIZE)
    png = draw.from_svg(source, SIZE, rim) if kind == "svg" else draw.from_bitmap(source, SIZE, rim)
    return shards.Sample(key, png, captions.caption(emoji, key),
                         {"hand": hand, "code": emoji.code, "name": emoji.label})


def jobs(folder: pathlib.Path, emoji: dict[str, names.Emoji], index: names.Index):
    for hand, package in packages.HANDS.items():
        archive = packages.Archive(folder, package)
        if hand == "fluent-3d":
            files = {names.code_of(pathlib.PurePath(p).stem): p for p in archive.names if p.endswith(".webp")}
            for code, path in sorted(files.items()):
                if code in emoji:
                    yield hand, f"{hand}_{code}", emoji[code], "webp", archive.read(path.removeprefix("package/"))
            continue
        icons = archive.json("icons.json")
        seen: collections.Counter = collections.Counter()
        for code, name in names.drawings(archive, emoji, index):
            seen[code] += 1
            suffix = "" if seen[code] == 1 else f"_{seen[code]}"
            yield hand, f"{hand}_{code}{suffix}", emoji[code], "svg", draw.svg(icons, name)


def stated_names(folder: pathlib.Path) -> dict[str, str]:
    """Icon name to code, from every hand that states both."""
    out: dict[str, str] = {}
    for hand, package in packages.HANDS.items():
        archive = packages.Archive(folder, package)
        if archive.has("chars.json"):
            for hexcode, name in sorted(archive.json("chars.json").items()):
                out.setdefault(name, names.code_of(hexcode))
    return out


def held_out(folder: pathlib.Path, emoji: dict[str, names.Emoji]) -> tuple[list[shards.Sample], dict[str, bytes]]:
    """The evaluation samples in Unicode's order, and the demo's pictures by file name."""
    archive = packages.Archive(folder, packages.HELD_OUT)
    files = {}
    for path in archive.names:
        p = pathlib.PurePath(path)
        if p.suffix == ".svg" and p.parent.as_posix() == "package/color/svg":
            files[names.code_of(p.stem)] = path.removeprefix("package/")
    samples, demo = [], {}
    for code, e in emoji.items():
        if code not in files:
            continue
        document = archive.read(files[code]).decode()
        meta = {"hand": "openmoji", "code": code, "name": e.label}
        samples.append(shards.Sample(f"openmoji_{code}", draw.from_svg(document, EVAL_SIZE), e.label, meta))
        if code in DEMO:
            demo[DEMO[code]] = draw.from_svg(document, DEMO_SIZE)
    if len({s.text for s in samples}) != len(samples):
        raise SystemExit("openmoji: two emoji have the same name")
    return samples, demo


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--packages", type=pathlib.Path, required=True, help="folder with the package files")
    ap.add_argument("--out", type=pathlib.Path, required=True, help="folder for the training shards")
    ap.add_argument("--data", type=pathlib.Path, required=True, help="folder for what the repository keeps")
    ap.add_argument("--demo-pictures", type=int, default=1200)
    ap.add_argument("--workers", type=int, default=2)
    args = ap.parse_args()

    archive = packages.Archive(args.packages, packages.NAMES)
    emoji = names.load(archive)
    index = names.Index(emoji, archive, stated_names(args.packages))

    evaluation, demo = held_out(args.packages, emoji)
    half = (len(evaluation) + 1) // 2
    for n in range(2):
        shards.write(args.data / f"openmoji-eval-{n:05d}.tar", evaluation[n * half:(n + 1) * half], meta=False)
    unseen.write(packages.Archive(args.packages, packages.HELD_OUT), emoji, args.data)
    (args.data / "demo").mkdir(parents=True, exist_ok=True)
    for name, png in demo.items():
        (args.data / "demo" / name).write_bytes(png)
    print(f"openmoji {len(evaluation)} of {len(emoji)} base emoji")

    with multiprocessing.Pool(args.workers) as pool:
        train = pool.map(draw_one, jobs(args.packages, emoji, index), chunksize=32)
    random.Random("shuffle").shuffle(train)
    for stale in args.out.glob("train-*.tar"):
        stale.unlink()
    starts = range(0, len(train), PER_SHARD)
    for n, at in enumerate(starts):
        shards.write(args.out / f"train-{n:05d}.tar", train[at:at + PER_SHARD])
    shards.write(args.data / "emoji-demo.tar", train[:args.demo_pictures], meta=False)

    counts = collections.Counter(s.meta["hand"] for s in train)
    codes = collections.defaultdict(set)
    for s in train:
        codes[s.meta["hand"]].add(s.meta["code"])
    with open(args.out / "counts.csv", "w", newline="") as f:
        rows = csv.writer(f, lineterminator="\n")
        rows.writerow(["hand", "pictures", "emoji", "package", "licence"])
        for hand, package in packages.HANDS.items():
            rows.writerow([hand, counts[hand], len(codes[hand]), package.spec, package.licence])
    for hand in packages.HANDS:
        print(f"{hand} {counts[hand]} pictures of {len(codes[hand])} emoji")
    print(f"{len(train)} training pictures in {len(starts)} shards")


if __name__ == "__main__":
    main()
