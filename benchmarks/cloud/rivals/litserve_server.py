"""The same model behind LitServe with its batching: `python litserve_server.py MODEL.onnx PORT SIDE BATCH`.

LitServe 0.2 reads JSON or forms; base64 in JSON is the lightest way to bring it a tensor.
"""

import base64
import sys
from typing import Any

import litserve
import numpy as np
import onnxruntime as ort
from fastapi import Request

model, port, side, batch = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])


class Pictures(litserve.LitAPI):
    """`{"pixels": base64}` to the output's numbers."""

    def setup(self, device: str) -> None:  # noqa: ARG002  (LitServe's signature)
        """Loads the model, with one thread."""
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name

    def decode_request(self, request: Request) -> Any:  # so annotated, LitServe gives it the JSON
        """The tensor."""
        given: Any = request
        return np.frombuffer(base64.b64decode(given["pixels"]), np.uint8).reshape(side, side, 3)

    def batch(self, inputs: Any) -> Any:
        """Tensors to one."""
        return np.stack(inputs)

    def predict(self, x: Any) -> Any:
        """Answers one batch."""
        return self.session.run(None, {self.input: x if x.ndim == 4 else x[None]})[0]

    def unbatch(self, output: Any) -> Any:
        """One answer each."""
        return list(output)

    def encode_response(self, output: Any) -> Any:
        """The output's numbers."""
        return {"probabilities": output.reshape(-1).tolist()}


if __name__ == "__main__":
    batching = {"max_batch_size": batch, "batch_timeout": 0.001} if batch > 1 else {}
    server = litserve.LitServer(Pictures(**batching), accelerator="cpu", workers_per_device=1)
    server.run(port=port, log_level="warning", generate_client_file=False)
