"""The kserve SDK's v2 REST client: `python kserve_client.py HOST:PORT MODEL INPUT OUTPUT SHAPE < PIXELS`.

It asks the same tensors, JSON and binary, with 1, 2, 4, 8 and 16 at once, and prints each answer's bytes in hex. It
runs in an environment of its own (`make client-kserve`), for it pins older protobuf and pandas than this project.
"""

import asyncio
import json
import sys
from typing import Any

import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

address, model, name, gives, shape = *sys.argv[1:5], [int(one) for one in sys.argv[5].split(",")]
url = f"http://{address}"
given = np.frombuffer(sys.stdin.buffer.read(), np.uint8).reshape(-1, *shape)


async def asked(client: Any, tensor: Any, binary: bool) -> str:
    """One answer."""
    one = InferInput(name, list(tensor.shape), "UINT8")
    one.set_data_from_numpy(tensor, binary_data=binary)
    outputs = [RequestedOutput(gives, parameters={"binary_data": binary})]
    request = InferRequest(model_name=model, infer_inputs=[one], request_outputs=outputs)
    answer = await client.infer(url, request, model_name=model)
    return np.asarray(answer.outputs[0].as_numpy(), np.float32).tobytes().hex()


async def main() -> None:
    """Asks all of them at every concurrency."""
    client = InferenceRESTClient(RESTConfig(protocol="v2", timeout=60))
    assert await client.is_server_live(url) and await client.is_server_ready(url)
    assert await client.is_model_ready(url, model)
    for concurrency in (1, 2, 4, 8, 16):
        limit = asyncio.Semaphore(concurrency)

        async def one(row: Any, binary: bool, limit: Any = limit) -> str:
            async with limit:
                return await asked(client, row[None], binary)

        for binary in (True, False):
            answers = await asyncio.gather(*(one(row, binary) for row in given))
            sys.stdout.write(json.dumps({"concurrency": concurrency, "binary": binary, "answers": answers}) + "\n")


asyncio.run(main())
