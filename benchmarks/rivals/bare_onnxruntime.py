"""onnxruntime, numpy and Pillow, written by hand: `python bare_onnxruntime.py PICTURE MODEL THREADS RESIZE CROP`.

The model takes uint8 pixels, so there is nothing to normalise here. Spinning is onnxruntime's default: on.
"""

import sys

import numpy as np
import onnxruntime
from PIL import Image


def load(model, threads, resize, crop):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(threads)
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name, short, side = session.get_inputs()[0].name, int(resize), int(crop)

    def predict(path):
        picture = Image.open(path).convert("RGB")
        width, height = picture.size
        factor = short / min(width, height)
        picture = picture.resize((round(width * factor), round(height * factor)), Image.Resampling.BICUBIC)
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        pixels = np.asarray(picture.crop((left, top, left + side, top + side)))
        return session.run(None, {name: pixels[None]})[0][0].tolist()

    return predict


if __name__ == "__main__":
    print(load(*sys.argv[2:])(sys.argv[1]), flush=True)
