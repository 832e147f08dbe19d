"""Drawing: SVG or WebP to a square RGB PNG on white, the same bytes on every run."""

import io
import random

import resvg_py
from PIL import Image

WHITE = (255, 255, 255)


def margin(key: str, size: int) -> int:
    """White rim in pixels, 0 to an eighth of the size. Hands fill their square differently; so do the training pictures."""
    return random.Random(f"margin/{key}").randint(0, size // 8)


def svg(icons: dict, name: str) -> str:
    """An iconify icon as an SVG document."""
    icon = icons["icons"][name]
    box = [icon.get(k, icons.get(k, d)) for k, d in (("left", 0), ("top", 0), ("width", 16), ("height", 16))]
    view = " ".join(str(v) for v in box)
    return (f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="{view}" '
            f'width="{box[2]}" height="{box[3]}" color="black">{icon["body"]}</svg>')


def from_svg(document: str, size: int, rim: int = 0) -> bytes:
    side = size - 2 * rim
    data = bytes(resvg_py.svg_to_bytes(svg_string=document, width=side, height=side))
    return _on_white(Image.open(io.BytesIO(data)), size, side)


def from_bitmap(data: bytes, size: int, rim: int = 0) -> bytes:
    side = size - 2 * rim
    return _on_white(Image.open(io.BytesIO(data)), size, side)


def _on_white(picture: Image.Image, size: int, side: int) -> bytes:
    picture = picture.convert("RGBA")
    if max(picture.size) != side:
        ratio = side / max(picture.size)
        picture = picture.resize([max(1, round(v * ratio)) for v in picture.size], Image.Resampling.LANCZOS)
    page = Image.new("RGBA", (size, size), (*WHITE, 255))
    page.alpha_composite(picture, ((size - picture.width) // 2, (size - picture.height) // 2))
    out = io.BytesIO()
    page.convert("RGB").save(out, "PNG", optimize=True)  # no palette: PIL resizes palette pictures without filtering
    return out.getvalue()
