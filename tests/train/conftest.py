"""A home of its own for each session, and small seeded pictures."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PICTURES = os.environ.get("LOKMA_DATA")  # as the session was started; the tests below do not see it


@pytest.fixture(scope="session")
def home_of_session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def own_home(home_of_session: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LOKMA_HOME", str(home_of_session))
    monkeypatch.delenv("LOKMA_DATA", raising=False)
    return home_of_session


@pytest.fixture
def real_pictures(monkeypatch: pytest.MonkeyPatch) -> str:
    if not PICTURES:
        pytest.skip("needs FoodVision Mini: LOKMA_DATA is not set")
    monkeypatch.setenv("LOKMA_DATA", PICTURES)
    return PICTURES


@pytest.fixture
def make_pictures(tmp_path: Path) -> Callable[..., Path]:
    """Writes a folder of small coloured pictures: train and test, `count` a label."""

    def make(name: str = "pictures", labels: tuple[str, ...] = ("pizza", "steak"), count: int = 2) -> Path:
        chance = np.random.default_rng(0)
        root = tmp_path / name
        for split in ("train", "test"):
            for label in labels:
                (root / split / label).mkdir(parents=True)
                for number in range(count):
                    pixels = chance.integers(256, size=(10, 12, 3), dtype=np.uint8)
                    Image.fromarray(pixels).save(root / split / label / f"{number}.png")
        return root

    return make
