"""Sources that put device code into a library as data."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.artifact.render import render
from compiler.artifact.weights import WEIGHT_ALIGNMENT, WeightsForm, string_lines


def device_image_sources(
    image: bytes, form: WeightsForm, prefix: str
) -> Iterator[tuple[str, bytes]]:
    """Yield (file name, content), as `weights.weights_sources`."""
    if form == "incbin":
        source = render("device_image.S.j2", prefix=prefix, alignment=WEIGHT_ALIGNMENT)
        yield f"{prefix}_device.S", source.encode()
        yield f"{prefix}_device.fatbin", image
        return
    lines = string_lines(image)
    source = render("device_image.c.j2", alignment=WEIGHT_ALIGNMENT, size=len(image), lines=lines)
    yield f"{prefix}_device.c", source.encode()
