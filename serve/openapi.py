"""The service's interface as OpenAPI 3.1, and so its reference: `/docs` shows the descriptions below.

`_paths` has every route, `_schemas` every record of a request or an answer. What depends on the settings is said with
their numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from prohibit_jax.types import CLASS_NAME
from serve.oip import HEADER, ID_LENGTH
from serve.settings import FetchConfig, LimitsConfig, ServeConfig

Json = dict[str, Any]

JSON = "application/json"
BINARY = "application/octet-stream"
FORM = "multipart/form-data"
IMAGE = "image/*"

DATA: list[Json] = [{"data-key": []}, {"admin-key": []}]
ADMIN: list[Json] = [{"admin-key": []}]

ALWAYS = (400, 408, 414, 429, 431)
"""What any request may meet with, on whatever route."""
KEYED = (401, 403)
"""And on a route that wants a key."""

REFUSALS = {
    400: "Malformed; `error` says where.",
    401: "No key of this service.",
    403: "The key does not open this route; where no admin key is set, none does.",
    404: "There is no such class or version.",
    408: "The request took too long to arrive.",
    409: "The head is damaged, or what is asked cannot be; everything serves on as it was.",
    413: "Too large: the body, what it inflates to, or the number of photos.",
    414: "A target of too many bytes.",
    415: "A `Content-Encoding` or a type of body that is not read here.",
    422: "Well formed, but no photo in it could be decoded.",
    429: "Too many requests wait on this connection: read their answers first.",
    431: "Too many headers, or too long ones.",
    503: "Starting, stopping, or too busy to answer in time. Nothing was scored or changed.",
}

INTRODUCTION = """
A class is a prohibited category. Each has a head, a small network of its own, which gives every photo the calibrated
probability that it shows the class. Two thresholds of the class make of it a band: `pass`, `review` by a person, or
`block`.

Photos are JPEG, PNG, WebP, GIF, BMP or TIFF, told by their content, whatever they are called.

A request may have {photos} photos and {body:,} bytes of body, after inflating where it comes with
`Content-Encoding: gzip` or `deflate`. A photo may have {photo_bytes:,} bytes and {pixels:,} pixels. Headers may have
{headers:,} bytes in {header_fields} fields and take {header_seconds:g} seconds, a body {body_seconds:g} seconds.

Every refusal is `{{"error": "…"}}`: one line that says what is wrong and what to do. A key is sent as
`Authorization: Bearer KEY`.
"""

PROTOCOL = """
The Open Inference Protocol, version 2, with the extensions of Triton for binary tensors, classification, statistics and
the repository, as the clients of Triton and KServe speak it. Every class is a model, whose versions are its heads; the
model `ensemble` is all classes at once.
"""

TAGS = {
    "scoring": "Photos in; probabilities and bands by class out.",
    "inference": PROTOCOL,
    "heads": "Which heads serve. A change takes effect between two batches; what is refused changes nothing.",
    "operation": "For load balancers, Prometheus and people. No key is asked for.",
}


def document(settings: ServeConfig) -> Json:
    """The whole document, ready to be dumped as JSON."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Prohibited items in photographs",
            "version": version("prohibit-jax"),
            "description": INTRODUCTION.format(**settings.limits.model_dump()).strip(),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": [{"name": name, "description": text.strip()} for name, text in TAGS.items()],
        "paths": _paths(settings),
        "components": {
            "schemas": _schemas(settings.limits),
            "responses": {f"Refusal{code}": _refusal(code, text) for code, text in REFUSALS.items()},
            "securitySchemes": {
                "data-key": _bearer("For scoring and for what is read. Where none is set, everybody may."),
                "admin-key": _bearer("For changing what serves. Where none is set, nobody may."),
            },
        },
    }


# Routes.


def _paths(settings: ServeConfig) -> Json:
    return {
        "/v1/score": {"post": _score(settings)},
        "/v1/classes": {"get": _classes()},
        "/v2": {"get": _read("server", "The server's name, version and extensions", "Server", SERVER)},
        "/v2/health/live": {"get": _probe("inference", "live", "Always: a process that answers lives", "live")},
        "/v2/health/ready": {"get": _probe("inference", "ready", "Whether requests are served", "ready")},
        "/v2/models/stats": {"get": _read("statistics", "Statistics of all models", "Statistics", STATISTICS)},
        **_model_paths(settings.limits),
        "/v2/repository/index": {"post": _index()},
        "/v2/repository/models/{model}/load": {"parameters": [_model("weapon")], "post": _load()},
        "/v2/repository/models/{model}/unload": {"parameters": [_model("weapon")], "post": _unload()},
        "/healthz": {"get": _probe("operation", "healthz", "Whether it works on; restart it where not", "alive")},
        "/readyz": {"get": _probe("operation", "readyz", "Whether requests are served; send none where not", "ready")},
        "/metrics": {"get": _page("metrics", "Metrics in Prometheus' text format", "text/plain")},
        "/openapi.json": {"get": _page("openapi", "This document", JSON)},
        "/docs": {"get": _page("docs", "This document, for people", "text/html")},
        "/": {"get": _page("home", "A page on which a person drops photos and sees their bands", "text/html")},
    }


def _model_paths(limits: LimitsConfig) -> Json:
    """A model's routes, each for the version that serves and for one by its number."""
    paths: Json = {}
    for suffix, place, parameters in (
        ("", "/v2/models/{model}", [_model("ensemble")]),
        ("OfVersion", "/v2/models/{model}/versions/{version}", [_model("weapon"), _version()]),
    ):
        operations = {
            "": ("get", _read("model", "A model's inputs, outputs and version", "Model", MODEL, 404)),
            "/config": ("get", _read("config", "A model's configuration in Triton's form", "Config", CONFIG, 404)),
            "/stats": ("get", _read("modelStatistics", "Statistics of a model", "Statistics", STATISTICS, 404)),
            "/ready": ("get", _read("modelReady", "Whether a model serves", "ModelReady", MODEL_READY, 404)),
            "/infer": ("post", _infer(limits)),
        }
        for path, (method, operation) in operations.items():
            operation["operationId"] += suffix
            if path == "/ready":
                operation["responses"]["503"] = _answer("It does not.", "ModelReady", MODEL_READY | {"ready": False})
            paths[place + path] = {"parameters": parameters, method: operation}
    return paths


def _score(settings: ServeConfig) -> Json:
    budget = settings.service.budget_ms
    return _operation(
        "scoring",
        "score",
        "Score one or several photos",
        """
Several photos come as a form, one also as the body itself. A photo that cannot be decoded has an `error` of its own and
fails no other; where no photo can be, the answer is 422.

A request that could not be answered within its budget is refused at once, with 503 and `Retry-After`.
""",
        parameters=[
            {
                "name": "budget_ms",
                "in": "query",
                "description": "Milliseconds from the request's arrival within which an answer is of use.",
                "schema": {"type": "number", "exclusiveMinimum": 0, "default": budget},
                "example": budget,
            }
        ],
        body=_body(_photos(settings.limits, settings.fetch)),
        answer=_answer("A result for each photo, in the request's order.", "Scores", SCORES),
        codes=(413, 415, 422, 503),
        keys=DATA,
    )


def _photos(limits: LimitsConfig, fetch: FetchConfig) -> Json:
    """The bodies of a request to score, by media type."""
    files = _array(_bytes("A photo's file."), "Photos under this name.", maxItems=limits.photos)
    form = _record("One photo or several, under either name.", file=files, files=files)
    form["required"] = []
    form["anyOf"] = [{"required": ["file"]}, {"required": ["files"]}]
    content: Json = {FORM: {"schema": form, "encoding": {"file": {"contentType": IMAGE}}}}
    for kind in (IMAGE, BINARY):
        content[kind] = {"schema": _bytes(f"A photo's file, at most {limits.photo_bytes:,} bytes.")}
    if fetch.hosts:
        hosts = "any public host" if "*" in fetch.hosts else ", ".join(fetch.hosts)
        address = _text(f"https, and of {hosts}.", format="uri", pattern="^https://", examples=[URLS["urls"][0]])
        text = f"Fetched within {fetch.seconds:g} seconds each, without following redirects."
        urls = _array(address, text, minItems=1, maxItems=limits.photos)
        content[JSON] = {"schema": _record("Photos by address.", urls=urls), "example": URLS}
    return content


def _classes() -> Json:
    return _operation(
        "scoring",
        "classes",
        "The classes, their heads and their thresholds",
        "What serves at this moment: the heads that decide, and the shadows that score with them and decide nothing.",
        answer=_answer("The edition that serves.", "Classes", CLASSES),
        codes=(503,),
        keys=DATA,
    )


def _infer(limits: LimitsConfig) -> Json:
    header = _header("Bytes of the body that are JSON; the tensors' bytes follow. Without it, all is JSON.")
    description = f"""
Exactly one input: `image_bytes`, BYTES `[b]`, encoded photos, in JSON as base64; or `image`, UINT8 `[b, h, w, 3]`,
RGB pixels of any size. At most {limits.photos} photos.

Outputs: `probability` FP32 and `band` BYTES, both `[b, k]` for k classes; of `ensemble` also `head` and `head_version`,
BYTES `[k]`, the classes in the columns' order. Where the output `error`, BYTES `[b]`, is asked for, a photo that cannot
be decoded has its line there and no probability; else it is a 400 for the request.

Tensors are JSON, or raw bytes after the JSON where `{HEADER}` says how long that is: numbers with the lowest byte
first, BYTES as a length in four bytes and as many bytes, for each element.
"""
    return _operation(
        "inference",
        "infer",
        "Score photos, as tensors",
        description,
        parameters=[{"name": HEADER, "in": "header", **header}],
        body=_body(
            {
                JSON: {"schema": _ref("InferRequest"), "example": INFER_REQUEST},
                BINARY: {"schema": _bytes("An `InferRequest` in JSON, then its input's bytes.")},
            }
        ),
        answer={
            "description": "The outputs that were asked for, in that order.",
            "headers": {HEADER: _header("Bytes of the answer that are JSON, where tensors' bytes follow.")},
            "content": {
                JSON: {"schema": _ref("InferAnswer"), "example": INFER_ANSWER},
                BINARY: {"schema": _bytes("An `InferAnswer` in JSON, then its outputs' bytes.")},
            },
        },
        codes=(404, 413, 415, 503),
        keys=DATA,
    )


def _index() -> Json:
    return _operation(
        "heads",
        "index",
        "Every head of the store",
        "Those that serve are `READY`.",
        body=_body({JSON: {"schema": _ref("IndexRequest"), "example": {"ready": False}}}, required=False),
        answer=_answer("By class and version.", "Index", INDEX),
        codes=(413, 415, 503),
        keys=DATA,
    )


def _load() -> Json:
    return _operation(
        "heads",
        "load",
        "Put a head into service",
        """
The head is verified and put on the device in the background, then takes its class's place between two batches. Without
a version it is the latest; a rollback names an earlier one. As a shadow it scores beside the head that decides, is
reported in the metrics, and decides nothing. A class that is new is added. Of `ensemble`, which has no versions, the
bundle's lock file is read again.
""",
        parameters=[_query("version", "Of the head.", _versions()), _shadow()],
        body=_body({JSON: {"schema": _ref("LoadRequest"), "example": LOAD}}, required=False),
        answer=_answer("It serves.", "Changed", CHANGED),
        codes=(404, 409, 413, 415, 503),
        keys=ADMIN,
    )


def _unload() -> Json:
    return _operation(
        "heads",
        "unload",
        "Take a class, or its shadow, out of service",
        "The last class cannot be taken out.",
        parameters=[_shadow()],
        body=_body({JSON: {"schema": _ref("UnloadRequest"), "example": UNLOAD}}, required=False),
        answer=_answer("It serves no longer.", "Changed", CHANGED),
        codes=(404, 409, 413, 415, 503),
        keys=ADMIN,
    )


def _read(name: str, summary: str, schema: str, example: Any, *codes: int) -> Json:
    """What the protocol lets clients ask for."""
    answer = _answer("As asked.", schema, example)
    return _operation("inference", name, summary, answer=answer, codes=(*codes, 503), keys=DATA)


def _probe(tag: str, name: str, summary: str, word: str) -> Json:
    operation = _operation(tag, name, summary, answer=_answer("It is so.", "Health", {word: True}))
    operation["responses"]["503"] = _answer("It is not.", "Health", {word: False})
    return operation


def _page(name: str, summary: str, kind: str) -> Json:
    schema = {"type": "object"} if kind == JSON else {"type": "string"}
    answer = {"description": "The whole of it.", "content": {kind: {"schema": schema}}}
    return _operation("operation", name, summary, answer=answer)


def _operation(
    tag: str,
    name: str,
    summary: str,
    description: str = "",
    *,
    answer: Json,
    parameters: list[Json] | None = None,
    body: Json | None = None,
    codes: tuple[int, ...] = (),
    keys: Sequence[Json] = (),
) -> Json:
    """A method of a route; `codes` are of its refusals, beside those of every route and of keys."""
    refused = sorted((*ALWAYS, *(KEYED if keys else ()), *codes))
    return {
        "tags": [tag],
        "operationId": name,
        "summary": summary,
        "description": description.strip(),
        "security": list(keys),
        **({"parameters": parameters} if parameters else {}),
        **({"requestBody": body} if body else {}),
        "responses": {
            "200": answer,
            **{str(code): {"$ref": f"#/components/responses/Refusal{code}"} for code in refused},
        },
    }


# Records.


def _schemas(limits: LimitsConfig) -> Json:
    probability = _nullable(_number("Calibrated; null, with band `review`, were it no number.", minimum=0, maximum=1))
    band = {"enum": ["pass", "review", "block"], "description": "By the class's two thresholds."}
    sha256 = _text("Of the head's parameters.", pattern="^[0-9a-f]{64}$")
    milliseconds: Json = {name: _number(text, minimum=0) for name, text in STAGES.items()}
    threshold = _number("The least probability of the band; above 1, no photo reaches it.", minimum=0)
    tensor: Json = {"name": _text(), "datatype": _text("UINT8, FP32 or BYTES."), "shape": _array(_whole())}
    dimensions: Json = {"name": _text(), "data_type": _text("As TYPE_FP32."), "dims": _array(_whole())}
    parameters = {"type": "object", "description": "`binary_data_size`: bytes of this tensor after the JSON."}
    shadow = {"type": "boolean", "default": False, "description": "The candidate, not the head that decides."}
    load = _record(optional=("version", "shadow"), version=_versions(), shadow=shadow)
    unload = _record(optional=("shadow", "unload_dependents"), shadow=shadow, unload_dependents={"type": "boolean"})
    return {
        "Error": _record("A refusal.", error=_text("One line.")),
        "Scores": _record(
            bundle=_text("The lock file that the service began with."),
            edition=_whole("Counts up with every change of heads; one edition scored the whole request.", minimum=1),
            milliseconds=_record("Of the slowest photo, by stage.", **milliseconds),
            photos=_array(_ref("Photo"), minItems=1, maxItems=limits.photos),
        ),
        "Unreadable": _record(
            "A refusal that tells of each photo.",
            optional=("photos",),
            error=_text("Of the first photo, one line."),
            photos=_array(_ref("Photo")),
        ),
        "Photo": _record(
            name=_text("As in the form, or its address; empty where the photo was the body."),
            error=_nullable(_ref("PhotoError")),
            band=_nullable({**band, "description": "The worst of its classes'; null with an error."}),
            classes=_mapping(_ref("ClassScore"), "By class; empty with an error."),
        ),
        "PhotoError": _record(
            reason=_text("For counting: truncated, unsupported, too_many_pixels, …"), message=_text("One line.")
        ),
        "ClassScore": _record(probability=probability, band=band, version=_whole("Of the head.", minimum=1)),
        "Classes": _record(
            bundle=_text("The lock file that the service began with."),
            edition=_whole("Counts up with every change of heads.", minimum=1),
            classes=_mapping(_ref("Head"), "class -> the head that decides."),
            shadows=_mapping(_ref("Head"), "class -> the candidate that scores beside it and decides nothing."),
        ),
        "Head": _record(
            version=_whole(minimum=1),
            review=threshold,
            block=threshold,
            size=_whole("Edge of the square that it sees, pixels.", minimum=16),
            sha256=sha256,
            metrics={"type": "object", "description": "What evaluation reported when it was made."},
        ),
        "Server": _record(name=_text(), version=_text(), extensions=_array(_text())),
        "Health": _record(
            "Under the word that the route is about.",
            optional=("alive", "live", "ready"),
            **{word: {"type": "boolean"} for word in ("alive", "live", "ready")},
        ),
        "ModelReady": _record(name=_text(), version=_text(), ready={"type": "boolean"}),
        "Model": _record(
            name=_text(),
            versions=_array(_text()),
            platform=_text(),
            inputs=_array(_record(**tensor)),
            outputs=_array(_record(**tensor)),
        ),
        "Config": _record(
            name=_text(),
            max_batch_size=_whole(),
            input=_array(_record(**dimensions)),
            output=_array(_record(**dimensions)),
        ),
        "Statistics": _record(
            model_stats=_array(
                _record(
                    "Since the start of the process.",
                    name=_text(),
                    version=_text(),
                    last_inference=_whole("Milliseconds since 1970; 0: none."),
                    inference_count=_whole("Photos scored."),
                    execution_count=_whole("Requests answered."),
                    inference_stats=_mapping(_record(count=_whole(), ns=_whole("Nanoseconds in all.")), "By stage."),
                )
            )
        ),
        "InferRequest": _record(
            optional=("id", "parameters", "outputs"),
            id=_text("Comes back in the answer.", maxLength=ID_LENGTH),
            parameters=_record(
                optional=("binary_data_output", "timeout"),
                binary_data_output={"type": "boolean", "description": "All outputs as bytes."},
                timeout=_whole("Microseconds, the budget; 0: the service's.", minimum=0),
            ),
            inputs=_array(
                _record(
                    optional=("data", "parameters"),
                    name={"enum": ["image", "image_bytes"]},
                    datatype={"enum": ["UINT8", "BYTES"]},
                    shape=_array(_whole(minimum=1), minItems=1, maxItems=4),
                    data=_array({}, "Elements, flat or nested as the shape says."),
                    parameters=parameters,
                ),
                minItems=1,
                maxItems=1,
            ),
            outputs=_array(
                _record(
                    optional=("parameters",),
                    name={"enum": ["probability", "band", "head", "head_version", "error"]},
                    parameters=_record(
                        optional=("binary_data", "classification"),
                        binary_data={"type": "boolean", "description": "As bytes after the JSON."},
                        classification=_whole("So many best classes, as texts.", minimum=0),
                    ),
                ),
                "All but `error` where there are none.",
            ),
        ),
        "InferAnswer": _record(
            optional=("id",),
            model_name=_text(),
            model_version=_text(),
            id=_text(),
            outputs=_array(_record(optional=("data", "parameters"), **tensor, data=_array({}), parameters=parameters)),
        ),
        "IndexRequest": _record(
            optional=("ready",), ready={"type": ["boolean", "null"], "description": "Only those that serve."}
        ),
        "Index": _array(
            _record(name=_text("A class."), version=_text(), state={"enum": ["READY", "UNAVAILABLE"]}, reason=_text())
        ),
        "Changed": _record(
            "What serves now.",
            name=_text(),
            version=_nullable(_text("Of the head that decides.")),
            shadow=_nullable(_text("Of the candidate beside it.")),
            edition=_whole("Counts up with every change.", minimum=1),
        ),
        "LoadRequest": _record(optional=("parameters",), parameters=_nullable(load)),
        "UnloadRequest": _record(optional=("parameters",), parameters=_nullable(unload)),
    }


STAGES = {
    "decode": "Opening and resizing it.",
    "queue": "Waiting for the device.",
    "device": "The batch that it was in.",
}


# Parts of a schema.


def _record(description: str = "", *, optional: tuple[str, ...] = (), **fields: Json) -> Json:
    required = [name for name in fields if name not in optional]
    return _schema("object", description, properties=fields, **({"required": required} if required else {}))


def _mapping(values: Json, description: str) -> Json:
    return _schema("object", description, additionalProperties=values)


def _array(items: Json, description: str = "", **limits: int) -> Json:
    return _schema("array", description, items=items, **limits)


def _text(description: str = "", **limits: Any) -> Json:
    return _schema("string", description, **limits)


def _bytes(description: str) -> Json:
    return _text(description, format="binary")


def _whole(description: str = "", **limits: int) -> Json:
    return _schema("integer", description, **limits)


def _number(description: str = "", **limits: float) -> Json:
    return _schema("number", description, **limits)


def _schema(kind: str, description: str, **rest: Any) -> Json:
    return {"type": kind, **({"description": description} if description else {}), **rest}


def _nullable(schema: Json) -> Json:
    return {"anyOf": [schema, {"type": "null"}]}


def _versions() -> Json:
    return {
        "anyOf": [_whole(minimum=1), _text(pattern="^[1-9][0-9]{0,8}$")],
        "description": "Of the head; else the latest.",
    }


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


# Parts of an operation.


def _body(content: Json, required: bool = True) -> Json:
    return {"required": required, "content": content}


def _answer(description: str, schema: str, example: Any) -> Json:
    return {"description": description, "content": {JSON: {"schema": _ref(schema), "example": example}}}


def _refusal(code: int, text: str) -> Json:
    headers = {
        401: {"WWW-Authenticate": {"description": "`Bearer`.", "schema": _text()}},
        503: {"Retry-After": {"description": "Seconds.", "schema": _whole(minimum=0)}},
    }
    schema = _ref("Unreadable" if code == 422 else "Error")
    answer: Json = {"description": text, "content": {JSON: {"schema": schema}}}
    return answer | ({"headers": headers[code]} if code in headers else {})


def _model(example: str) -> Json:
    schema = _text(pattern=f"^{CLASS_NAME.pattern}$")
    return {
        "name": "model",
        "in": "path",
        "required": True,
        "description": "A class, or `ensemble`.",
        "schema": schema,
        "example": example,
    }


def _version() -> Json:
    schema = _text(pattern="^[1-9][0-9]{0,8}$")
    return {
        "name": "version",
        "in": "path",
        "required": True,
        "description": "Of the head.",
        "schema": schema,
        "example": "3",
    }


def _query(name: str, description: str, schema: Json) -> Json:
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _shadow() -> Json:
    return _query("shadow", "Beside the head that decides, not in its place.", {"type": "boolean", "default": False})


def _header(description: str) -> Json:
    return {"description": description, "schema": _whole(minimum=0)}


def _bearer(description: str) -> Json:
    return {"type": "http", "scheme": "bearer", "description": description}


# Examples.

SHA256 = "9f2c64f0b1d5c8e3a7469d0e2b8f35c1d4a6e7908b3c5d2f1e0a9b8c7d6e5f40"
SCORES = {
    "bundle": "prod",
    "edition": 3,
    "milliseconds": {"decode": 2.1, "queue": 0.3, "device": 9.8},
    "photos": [
        {
            "name": "a.jpg",
            "error": None,
            "band": "review",
            "classes": {
                "weapon": {"probability": 0.61, "band": "review", "version": 3},
                "cash": {"probability": 0.002, "band": "pass", "version": 1},
            },
        },
        {
            "name": "b.jpg",
            "error": {"reason": "truncated", "message": "JPEG: the file ends before the picture does"},
            "band": None,
            "classes": {},
        },
    ],
}
URLS = {"urls": ["https://photos.example/a.jpg"]}
HEAD = {"version": 3, "review": 0.25, "block": 0.75, "size": 300, "sha256": SHA256, "metrics": {"positives": 412}}
CLASSES = {"bundle": "prod", "edition": 3, "classes": {"weapon": HEAD}, "shadows": {"weapon": {**HEAD, "version": 4}}}
SERVER = {"name": "prohibit_jax", "version": "0.1.0", "extensions": ["binary_tensor_data", "statistics"]}
MODEL = {
    "name": "weapon",
    "versions": ["3"],
    "platform": "prohibit_jax",
    "inputs": [{"name": "image_bytes", "datatype": "BYTES", "shape": [-1]}],
    "outputs": [
        {"name": "probability", "datatype": "FP32", "shape": [-1, 1]},
        {"name": "band", "datatype": "BYTES", "shape": [-1, 1]},
    ],
}
CONFIG = {
    "name": "weapon",
    "max_batch_size": 0,
    "input": [{"name": "image_bytes", "data_type": "TYPE_STRING", "dims": [-1]}],
    "output": [{"name": "probability", "data_type": "TYPE_FP32", "dims": [-1, 1]}],
}
STATISTICS = {
    "model_stats": [
        {
            "name": "weapon",
            "version": "3",
            "last_inference": 1785000000000,
            "inference_count": 1200,
            "execution_count": 1100,
            "inference_stats": {"success": {"count": 1100, "ns": 15600000000}},
        }
    ]
}
MODEL_READY = {"name": "weapon", "version": "3", "ready": True}
INFER_REQUEST = {
    "inputs": [
        {
            "name": "image_bytes",
            "datatype": "BYTES",
            "shape": [1],
            "data": ["R0lGODdhAQABAIAAAP///wAAACwAAAAAAQABAAACAkQBADs="],
        }
    ],
    "outputs": [{"name": "probability"}, {"name": "band"}],
}
INFER_ANSWER = {
    "model_name": "ensemble",
    "model_version": "1",
    "outputs": [
        {"name": "probability", "datatype": "FP32", "shape": [1, 2], "data": [0.61, 0.002]},
        {"name": "band", "datatype": "BYTES", "shape": [1, 2], "data": ["review", "pass"]},
    ],
}
INDEX = [
    {"name": "weapon", "version": "3", "state": "READY", "reason": ""},
    {"name": "weapon", "version": "2", "state": "UNAVAILABLE", "reason": "shadow"},
]
CHANGED = {"name": "weapon", "version": "3", "shadow": None, "edition": 4}
LOAD = {"parameters": {"version": "3"}}
UNLOAD = {"parameters": {"shadow": True}}
