"""This machine: its name, and what its arithmetic reaches in this minute (peak.cpp)."""

import datetime
import os
import pathlib
import platform
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PEAK = ROOT / "build/peak"


def cpu() -> dict[str, str]:
    """The fields of the first processor in /proc/cpuinfo."""
    lines = pathlib.Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


def kinds() -> list[str]:
    """The instructions that CLIP's products are faster with, the best first."""
    flags = cpu().get("flags", "").split()
    return [name for name in ("amx_bf16", "avx512_bf16", "avx512_vnni", "avx512f", "avx2") if name in flags] or [platform.machine()]


def slug() -> str:
    """A name for files: "amd-epyc-avx512-bf16-2cores"."""
    name = re.sub(r"\((R|TM)\)|CPU|Processor|@.*", "", cpu().get("model name", ""))
    return "-".join(re.findall(r"[a-z0-9]+", f"{name} {kinds()[0]} {os.cpu_count()}cores".lower()))


def header() -> str:
    flags = ", ".join(kinds())
    return f"{cpu().get('model name', platform.machine())} ({flags}), {os.cpu_count()} CPUs, {datetime.date.today()}"


def peaks(threads: int) -> dict[str, float]:
    """GFLOP/s of each kind that the processor has: fp32, avx512_bf16, avx512_vnni, amx_bf16, amx_bf16_with_loads."""
    if platform.machine() != "x86_64":
        return {}
    source = ROOT / "benchmarks/peak.cpp"
    if not PEAK.exists() or PEAK.stat().st_mtime < source.stat().st_mtime:
        PEAK.parent.mkdir(exist_ok=True)
        subprocess.run(["c++", "-O2", "-fopenmp", "-o", PEAK, source], check=True)
    out = subprocess.run([PEAK, str(threads)], check=True, capture_output=True, text=True).stdout
    return {kind: float(rate) for kind, rate in (line.split() for line in out.splitlines())}


def minute(found: dict[str, float]) -> str:
    """The line above a table: what the processor's arithmetic reached just before it."""
    return "In the minute before: " + ", ".join(f"{kind} {rate:,.0f} GFLOP/s" for kind, rate in found.items())


def share(flops: float, seconds: float, precision: str, found: dict[str, float]) -> str:
    """Products of so many operations in that time: GFLOP/s, and of the peak."""
    rate = flops * 1e-9 / seconds
    return f"{rate:,.0f} of {peak_of(precision, found):,.0f} GFLOP/s, {rate / peak_of(precision, found):.0%}"


def peak_of(precision: str, found: dict[str, float]) -> float:
    """The peak that a precision's products are held against; split float32 on AMX is held against float32's."""
    preferred = {"bf16": ("amx_bf16", "avx512_bf16"), "amp_bf16": ("amx_bf16", "avx512_bf16"), "int8": ("avx512_vnni",)}.get(precision, ())
    return next((found[kind] for kind in preferred if kind in found), found.get("fp32", float("nan")))


if __name__ == "__main__":
    print({"slug": slug, "header": header}[sys.argv[1]]() if len(sys.argv) > 1 else peaks(os.cpu_count() or 1))
