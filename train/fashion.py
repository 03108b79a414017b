"""FashionMNIST as a folder of small PNG files, downloaded by torchvision and checked by its hashes.

70,000 drawings of clothes, 28 x 28 grey pixels, ten labels (Xiao et al., 2017, MIT).
"""

from __future__ import annotations

import hashlib
import tempfile
import urllib.error
from pathlib import Path

from edge_runtime.errors import Missing

LABELS = {"T-shirt/top": "T-shirt"}  # a label names a folder


def write_fashion(folder: Path) -> None:
    """Writes `train|test / LABEL / NNNNN.png` into an empty folder; a training picture that is also a test is left out.

    Raises:
        Missing: it cannot be downloaded.
    """
    from torchvision.datasets import FashionMNIST

    seen: set[str] = set()
    with tempfile.TemporaryDirectory(dir=folder.parent) as kept:
        for split in ("test", "train"):
            try:
                pictures = FashionMNIST(kept, train=split == "train", download=True)
            except (urllib.error.URLError, OSError, RuntimeError) as error:
                raise Missing(
                    f"FashionMNIST cannot be downloaded ({error}); `lokma train tinyvgg` on food pictures and "
                    "`lokma train multiclass-digits` need no network, and a folder at hand with train/LABEL/ and "
                    "test/LABEL/ is taken from LOKMA_DATA/fashion-mnist"
                ) from error
            for number, (picture, label) in enumerate(pictures):
                content = hashlib.sha256(picture.tobytes()).hexdigest()
                if split == "test":
                    seen.add(content)
                elif content in seen:
                    continue
                name = pictures.classes[label]
                path = folder / split / LABELS.get(name, name) / f"{number:05d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                picture.save(path)
