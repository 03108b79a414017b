"""scikit-learn's 1,797 handwritten digits as a folder of small PNG files: no network needed.

The pictures are 8 x 8 with 17 shades, white on black, from the UCI set *Optical Recognition of
Handwritten Digits* (Alpaydin and Kaynak, 1998); each pixel counts the ink in 4 x 4 pixels of a scan.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from edge_runtime.errors import Missing

TEST_SHARE, SPLIT_SEED = 0.2, 0
SHADES = 16


def write_digits(folder: Path) -> None:
    """Writes `train|test / 0..9 / NNNN.png` into an empty folder; NNNN is scikit-learn's row number.

    The split is stratified and seeded, so that the same files come out everywhere.

    Raises:
        Missing: scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ImportError as error:
        raise Missing("the digits come with scikit-learn: pip install 'lokma[train]'") from error
    images, labels = load_digits(return_X_y=True)
    rows = np.arange(len(labels))
    _, test = train_test_split(rows, test_size=TEST_SHARE, random_state=SPLIT_SEED, stratify=labels)
    in_test = set(test.tolist())
    for row in rows.tolist():
        pixels = np.rint(images[row].reshape(8, 8) * (255 / SHADES)).astype(np.uint8)
        path = folder / ("test" if row in in_test else "train") / str(labels[row]) / f"{row:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
