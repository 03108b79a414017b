"""A FastAPI handler around onnxruntime as one writes it first: `python plain_fastapi.py MODEL.onnx PORT SIDE`.

It takes the same requests as `lokma serve` and reads the tensor at their end; one picture a run, no queue.
"""

import sys
from typing import Any

import numpy as np
import onnxruntime as ort
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool

model, port, side = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
options = ort.SessionOptions()
options.intra_op_num_threads = 1
session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
(pixels,) = session.get_inputs()
app = FastAPI()


@app.post("/v2/models/{name}/infer")
async def infer(name: str, request: Request) -> Any:
    """Answers one tensor."""
    body = await request.body()
    tensor = np.frombuffer(body[-side * side * 3 :], np.uint8).reshape(1, side, side, 3)
    (answer,) = await run_in_threadpool(session.run, None, {pixels.name: tensor})
    return Response(answer.tobytes(), media_type="application/octet-stream", headers={"X-Model": name})


uvicorn.run(app, port=port, log_level="warning")
