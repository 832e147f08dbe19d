"""Two ways of doing the same work, timed in turn, A B A B ..., so that a machine whose speed drifts slows both alike.

Each side is a function that does the work once and returns its seconds. What counts is the ratio within a pair.
"""

import statistics
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    name: str
    unit: str
    ours: list[float]
    peer: list[float]

    @property
    def ratios(self) -> list[float]:
        return sorted(a / b for a, b in zip(self.ours, self.peer))

    def row(self) -> str:
        ratios = self.ratios
        return (f"| {self.name} | {statistics.median(self.ours):.3g} {self.unit} | {statistics.median(self.peer):.3g} {self.unit} "
                f"| {statistics.median(ratios):.2f} | {ratios[0]:.2f} to {ratios[-1]:.2f} |")


HEADER = "| work | goclip | Python | ratio | of all pairs |\n|---|---|---|---|---|"


def alternate(name: str, unit: str, ours: Callable[[], float], peer: Callable[[], float], pairs: int = 7, scale: float = 1) -> Result:
    """Times pairs after one uncounted round; scale turns seconds into the unit."""
    ours(), peer()
    a, b = [], []
    for _ in range(pairs):
        a.append(ours() * scale)
        b.append(peer() * scale)
    return Result(name, unit, a, b)
