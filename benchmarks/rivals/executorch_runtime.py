"""The official Python way to run a `.pte`: `python executorch_runtime.py PICTURE MODEL RESIZE CROP`.

Its thread count is ExecuTorch's own choice: this API has no setting for it.
"""

import sys

import numpy as np
import torch
from PIL import Image


def load(model, resize, crop):
    from executorch.runtime import Runtime  # here, because its import warns that it is experimental

    program = Runtime.get().load_program(model)
    method = program.load_method("forward")
    short, side = int(resize), int(crop)

    def predict(path):
        picture = Image.open(path).convert("RGB")
        width, height = picture.size
        factor = short / min(width, height)
        picture = picture.resize((round(width * factor), round(height * factor)), Image.Resampling.BICUBIC)
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        pixels = np.array(picture.crop((left, top, left + side, top + side)))
        return method.execute([torch.from_numpy(pixels[None])])[0][0].tolist()

    return predict


if __name__ == "__main__":
    print(load(*sys.argv[2:])(sys.argv[1]), flush=True)
