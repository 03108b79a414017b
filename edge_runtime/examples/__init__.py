"""Two bundles that lokma itself made and a picture to try: `digits.zip`, `cartpole.zip`, `seven.png`."""

from pathlib import Path


def path(name: str) -> Path:
    """The path of an example file."""
    return Path(__file__).parent / name
