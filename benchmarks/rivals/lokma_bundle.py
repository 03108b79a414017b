"""The same with this runtime: `python lokma_bundle.py PICTURE BUNDLE [ARTIFACT THREADS]`."""

import sys

from edge_runtime import load as load_bundle


def load(bundle, artifact=None, threads=None):
    predictor = load_bundle(bundle, artifact, threads and int(threads))
    return lambda path: predictor.predict(path).values


if __name__ == "__main__":
    print(load(*sys.argv[2:])(sys.argv[1]), flush=True)
