"""Asks every artifact everything: `python answers.py TINY THREADS` prints the answers as JSON.

The host writes them beside the tiny bundles, and each board must repeat them.
"""

import hashlib
import json
import platform
import sys
from pathlib import Path

from edge_runtime import examples, load
from edge_runtime.bundle import open_bundle
from edge_runtime.preprocess import open_picture, to_pixels


def bundles(tiny: Path) -> list[Path]:
    """Two that come with lokma, and two of every recipe."""
    return [examples.path("digits.zip"), examples.path("cartpole.zip"), *sorted(tiny.glob("bundles/*.zip"))]


def main(tiny: Path, threads: int) -> None:
    """Prints `{"machine", "BUNDLE ARTIFACT INPUT": values, "BUNDLE pixels PICTURE …": sha256}`."""
    said = {"machine": platform.machine()}
    for path in bundles(tiny):
        bundle = open_bundle(path)
        inputs = {golden.id: golden.input for golden in bundle.golden()}
        if bundle.spec.image:
            inputs |= {picture.name: picture for picture in sorted(tiny.glob("asked/*"))}
            for picture in tiny.glob("asked/*"):
                for exact in (False, True):
                    seen = to_pixels(open_picture(picture, bundle.spec.image, exact), bundle.spec.image)
                    said[f"{path.stem} pixels {picture.name} {exact=}"] = hashlib.sha256(seen).hexdigest()
        for artifact in bundle.artifacts:
            predictor = load(path, artifact.id, threads=threads, exact=True)
            assert predictor.session.threads == threads
            for name, given in inputs.items():
                said[f"{path.stem} {artifact.id} {name}"] = predictor.predict(given).values
    print(json.dumps(said))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
