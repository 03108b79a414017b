"""What the OpenAPI page says of each route: bodies, answers and refusals. FastAPI writes the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_ERROR = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
_REFUSALS = {
    400: "malformed, or not of this model",
    401: "no token, or a wrong one",
    404: "no such model or version",
    408: "the request came too slowly",
    413: "the body is too large",
    415: "the body is encoded",
    503: "the queue is full: Retry-After says when to come again",
    504: "no answer in time",
}
_TENSOR = {
    "type": "object",
    "required": ["name", "datatype", "shape"],
    "properties": {
        "name": {"type": "string"},
        "datatype": {"type": "string", "enum": ["UINT8", "INT32", "INT64", "FP32"]},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 1}},
        "data": {"type": "array", "items": {}},
        "parameters": {"type": "object"},
    },
}
_ASKED = {
    "type": "object",
    "required": ["inputs"],
    "properties": {
        "id": {"type": "string", "maxLength": 200},
        "parameters": {"type": "object"},
        "inputs": {"type": "array", "minItems": 1, "maxItems": 1, "items": _TENSOR},
        "outputs": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"type": "string"}, "parameters": {"type": "object"}},
            },
        },
    },
}
_ANSWERED = {
    "type": "object",
    "required": ["model_name", "model_version", "outputs"],
    "properties": {
        "model_name": {"type": "string"},
        "model_version": {"type": "string"},
        "id": {"type": "string"},
        "parameters": {
            "type": "object",
            "description": "how long the request waited and its batch ran, in nanoseconds, and the rows of that batch",
            "properties": {name: {"type": "integer"} for name in ("queue_ns", "inference_ns", "batch")},
        },
        "outputs": {"type": "array", "items": _TENSOR},
    },
}
_BINARY = {"schema": {"type": "string", "format": "binary"}}


def _responses(answer: dict[str, Any], *refusals: int) -> dict[int | str, dict[str, Any]]:
    error = {"application/json": {"schema": _ERROR}}
    refused: dict[int | str, dict[str, Any]] = {
        status: {"description": _REFUSALS[status], "content": error} for status in (401, *refusals)
    }
    return {200: {"description": "the answer", "content": answer}, **refused}


def _object(**properties: str) -> dict[str, Any]:
    known = {name: {"type": kind} for name, kind in properties.items()}
    return {"application/json": {"schema": {"type": "object", "required": list(known), "properties": known}}}


def with_path(said: dict[str, Any], names: Sequence[str], models: Sequence[str]) -> dict[str, Any]:
    """What is said of a route, with the parameters in its path and the models that may stand there."""
    schemas = {"name": {"type": "string", "enum": list(models)}, "version": {"type": "string"}}
    path = [{"name": name, "in": "path", "required": True, "schema": schemas[name]} for name in names]
    extra = said.get("openapi_extra", {})
    return {**said, "openapi_extra": {**extra, "parameters": [*path, *extra.get("parameters", ())]}}


def with_model(said: dict[str, Any], models: Sequence[str]) -> dict[str, Any]:
    """What is said of a route, with the model as a query parameter: required where there are several."""
    extra = said["openapi_extra"]
    schema = {"type": "string", "enum": list(models)}
    model = _query("model", schema, "which model; may be left out where one is served", len(models) > 1)
    return {**said, "openapi_extra": {**extra, "parameters": [model, *extra["parameters"]]}}


def _query(name: str, schema: dict[str, Any], does: str, required: bool = False) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": required, "schema": schema, "description": does}


HEALTH: dict[str, Any] = {"responses": _responses({"application/json": {"schema": {"type": "object"}}})}
SERVER: dict[str, Any] = {"responses": _responses(_object(name="string", version="string", extensions="array"), 413)}
MODEL: dict[str, Any] = {"responses": _responses(_object(name="string"), 404, 413, 415)}
METRICS: dict[str, Any] = {"responses": _responses({"text/plain": {"schema": {"type": "string"}}}, 413)}
INFER: dict[str, Any] = {
    "responses": _responses(
        {"application/json": {"schema": _ANSWERED}, "application/octet-stream": _BINARY},
        400, 404, 408, 413, 415, 503, 504,
    ),
    "openapi_extra": {
        "parameters": [
            {
                "name": "Inference-Header-Content-Length",
                "in": "header",
                "required": False,
                "schema": {"type": "integer", "minimum": 1},
                "description": "bytes of the JSON that comes before binary tensors",
            }
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _ASKED}, "application/octet-stream": _BINARY},
        },
    },
}  # fmt: skip
PREDICT: dict[str, Any] = {
    "responses": _responses(_object(input="string", artifact="string", ms="object"), 400, 404, 408, 413, 415, 503, 504),
    "openapi_extra": {
        "parameters": [
            _query("version", {"type": "string"}, "which version; else the newest"),
            _query("top", {"type": "integer", "minimum": 1, "maximum": 1000}, "how many labels (3)"),
        ],
        "requestBody": {
            "required": True,
            "content": {
                "image/jpeg": _BINARY,
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "required": ["image"],
                        "properties": {"image": {"type": "string", "format": "binary"}},
                    }
                },
            },
        },
    },
}
