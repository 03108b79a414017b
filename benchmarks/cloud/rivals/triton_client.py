"""NVIDIA's tritonclient over HTTP: `python triton_client.py HOST:PORT MODEL INPUT OUTPUT SHAPE < PIXELS`.

It asks the same tensors, JSON and binary, with 1, 2, 4, 8 and 16 at once, and prints each answer's bytes in hex.
"""

import json
import sys
from typing import Any

import numpy as np
import tritonclient.http as triton

address, model, name, gives, shape = *sys.argv[1:5], [int(one) for one in sys.argv[5].split(",")]
given = np.frombuffer(sys.stdin.buffer.read(), np.uint8).reshape(-1, *shape)

for concurrency in (1, 2, 4, 8, 16):
    with triton.InferenceServerClient(address, concurrency=concurrency) as client:
        assert client.is_server_live() and client.is_server_ready() and client.is_model_ready(model)
        for binary in (True, False):

            def asked(row: Any, client: Any = client, binary: bool = binary) -> Any:
                """One answer that is on its way."""
                one = triton.InferInput(name, [1, *shape], "UINT8")
                one.set_data_from_numpy(row[None], binary_data=binary)
                outputs = [triton.InferRequestedOutput(gives, binary_data=binary)]
                return client.async_infer(model, [one], outputs=outputs)

            waiting = [asked(row) for row in given]  # it has `concurrency` connections, and takes turns with them
            answers = [one.get_result().as_numpy(gives).tobytes().hex() for one in waiting]
            sys.stdout.write(json.dumps({"concurrency": concurrency, "binary": binary, "answers": answers}) + "\n")
