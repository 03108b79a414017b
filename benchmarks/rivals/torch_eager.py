"""The course's way: eager torch and torchvision. `python torch_eager.py PICTURE WEIGHTS THREADS LABELS`."""

import sys

import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file


def load(weights, threads, labels):
    torch.set_num_threads(int(threads))
    transform = torchvision.models.EfficientNet_B2_Weights.DEFAULT.transforms()
    model = torchvision.models.efficientnet_b2(num_classes=int(labels))
    model.load_state_dict(load_file(weights))
    model.eval()

    def predict(path):
        picture = Image.open(path).convert("RGB")
        with torch.inference_mode():
            logits = model(transform(picture).unsqueeze(0))
        return torch.softmax(logits, dim=1)[0].tolist()

    return predict


if __name__ == "__main__":
    print(load(*sys.argv[2:])(sys.argv[1]), flush=True)
