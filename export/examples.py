"""Makes the example bundles that the wheel ships, from the runs of the same names.

`lokma train multiclass-digits && lokma train cartpole-dqn && python -m export.examples`
"""

from __future__ import annotations

import zipfile
from pathlib import Path

from edge_runtime import examples
from edge_runtime.errors import GateFailed
from export.export import export

NAMES = ("digits", "cartpole")
MAX_BYTES = 300_000  # all together
_EPOCH = (1980, 1, 1, 0, 0, 0)  # zip's own; no clock goes in, so the same bundle gives the same bytes


def main() -> None:
    """Exports both runs, zips them into `edge_runtime/examples/`, and draws the picture to try."""
    for name in NAMES:
        pack(export(f"runs/{name}").path, examples.path(f"{name}.zip"))
    draw_seven(examples.path("seven.png"))
    size = sum(examples.path(f"{name}.zip").stat().st_size for name in NAMES)
    if size > MAX_BYTES:
        raise GateFailed(f"the example bundles weigh {size} bytes; at most {MAX_BYTES} are shipped")


def pack(bundle: Path, target: Path) -> None:
    """Writes a bundle folder as a `.zip`, the same bytes for the same content."""
    fresh = target.with_suffix(".new")
    with zipfile.ZipFile(fresh, "w") as archive:
        for path in sorted(path for path in bundle.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(path.relative_to(bundle).as_posix(), _EPOCH)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED, compresslevel=9)
    fresh.replace(target)


def draw_seven(target: Path) -> None:
    """The first seven of the test side, as dark ink on white paper, 256 px wide."""
    from PIL import Image, ImageOps

    from train.data import image_data

    data = image_data("digits")
    seven = next(example for example in data.test if data.labels[example.label] == "7")
    with Image.open(seven.path) as picture:
        ink = ImageOps.invert(picture.convert("L"))
    ink.resize((256, 256), Image.Resampling.BICUBIC).save(target, optimize=True)


if __name__ == "__main__":
    main()
