"""A model with the first blocks of each tower only: where a difference begins shows as the cuts get deeper."""

import contextlib
import math

SHARES = (0.25, 0.5, 0.75, 1.0)

# Where each kind of tower keeps its blocks; a ResNet, a ConvNeXt, a FastViT and a Swin have four or five stages of them.
LISTS = ("visual.transformer.resblocks", "visual.trunk.blocks", *(f"visual.trunk.{stages}.{stage}.blocks" for stages in ("stages", "layers") for stage in range(5)),
         "visual.layer1", "visual.layer2", "visual.layer3", "visual.layer4",
         "transformer.resblocks", "text.transformer.resblocks", "text.transformer.encoder.layer", "text.transformer.layers", "text.transformer.block")


@contextlib.contextmanager
def cut(model, share: float):
    """Leaves ceil(share * n) blocks of each list of n for the time of a with."""
    kept = []
    modules = dict(model.named_modules())
    for path in LISTS:
        if path in modules:
            parent, _, name = path.rpartition(".")
            kept.append((modules[parent], name, modules[path]))
            setattr(modules[parent], name, modules[path][: math.ceil(share * len(modules[path]))])
    assert len(kept) >= 2, "a tower of an unknown kind"
    yield
    for parent, name, blocks in kept:
        setattr(parent, name, blocks)
