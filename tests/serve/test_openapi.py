"""The document is valid OpenAPI 3.1, its examples fit its schemas, and it says what the service does, all of it."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from prohibit_jax.bundle.store import Store
from serve.app import create_app
from serve.errors import Refusal
from serve.guard import Keys
from serve.openapi import document
from serve.service import Service
from serve.settings import FetchConfig, LimitsConfig, ServeConfig
from tests.serve.conftest import ADMIN_KEY, Server
from tests.waiting import TIMEOUT

METHODS = {"get", "post"}
TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": int | float,
    "boolean": bool,
    "null": None.__class__,
}
KEYWORDS = {
    *("type", "description", "enum", "anyOf", "properties", "required", "additionalProperties", "items", "default"),
    *("minimum", "maximum", "exclusiveMinimum", "minItems", "maxItems", "maxLength", "pattern", "format", "examples"),
    "$ref",
}
API = document(ServeConfig())
FETCHING = document(ServeConfig(fetch=FetchConfig(hosts=("photos.example",))))
OPERATIONS = [(path, method) for path, item in API["paths"].items() for method in item.keys() & METHODS]


def resolve(reference: str) -> Any:
    found: Any = API
    for step in reference.removeprefix("#/").split("/"):
        found = found[step]
    return found


def every(part: Any, key: str) -> Iterator[Any]:
    """Every value of that key, at any depth."""
    if isinstance(part, dict):
        if key in part:
            yield part[key]
        for value in part.values():
            yield from every(value, key)
    elif isinstance(part, list):
        for value in part:
            yield from every(value, key)


def schemas(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A schema and all within it."""
    yield schema
    inner = [*schema.get("properties", {}).values(), *schema.get("anyOf", ())]
    inner += [schema[name] for name in ("items", "additionalProperties") if isinstance(schema.get(name), dict)]
    for one in inner:
        yield from schemas(one)


def kinds_of(schema: dict[str, Any]) -> list[str]:
    """The types that a schema lets pass; none where it says nothing."""
    kind = schema.get("type", [])
    return [kind] if isinstance(kind, str) else kind


def misfit(value: Any, schema: dict[str, Any], where: str = "") -> str:
    """Where a value does not fit its schema, as far as the keywords go that are used here; "" if it does."""
    if "$ref" in schema:
        return misfit(value, resolve(schema["$ref"]), where)
    if "anyOf" in schema and "type" not in schema:
        found = [misfit(value, choice, where) for choice in schema["anyOf"]]
        return "" if "" in found else found[0]
    if "enum" in schema and value not in schema["enum"]:
        return f"{where}: {value!r} is not one of {schema['enum']}"
    kinds = kinds_of(schema)
    if kinds and not isinstance(value, tuple(TYPES[kind] for kind in kinds)):
        return f"{where}: {value!r} is no {' or '.join(kinds)}"
    if isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        return f"{where}: {value!r} does not fit {schema['pattern']}"
    if isinstance(value, int | float) and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        return f"{where}: {value} is out of range"
    if isinstance(value, list):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            return f"{where}: has {len(value)} items"
        return next(filter(None, (misfit(item, schema.get("items", {}), f"{where}[]") for item in value)), "")
    if isinstance(value, dict):
        missing = set(schema.get("required", ())) - value.keys()
        if missing:
            return f"{where}: {missing} missing"
        known, other = schema.get("properties", {}), schema.get("additionalProperties", {})
        found = (misfit(item, known.get(name, other), f"{where}.{name}") for name, item in value.items())
        return next(filter(None, found), "")
    return ""


def test_it_is_openapi() -> None:
    assert API["openapi"] == "3.1.0"
    assert API.keys() == {"openapi", "info", "tags", "paths", "components"}
    assert {"title", "version", "description"} <= API["info"].keys()
    assert json.loads(json.dumps(API, allow_nan=False)) == API
    tags = {tag["name"] for tag in API["tags"]}
    assert {operation["tags"][0] for operation in operations()} == tags
    names = [operation["operationId"] for operation in operations()]
    assert len(set(names)) == len(names)


def operations() -> Iterator[dict[str, Any]]:
    for path, method in OPERATIONS:
        yield API["paths"][path][method]


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_an_operation_is_whole(path: str, method: str) -> None:
    item = API["paths"][path]
    operation = item[method]
    assert {"tags", "operationId", "summary", "description", "security", "responses"} <= operation.keys()
    parameters = [*item.get("parameters", ()), *operation.get("parameters", ())]
    in_path = {parameter["name"] for parameter in parameters if parameter["in"] == "path"}
    assert in_path == set(re.findall(r"{(\w+)}", path))
    assert all(parameter["required"] for parameter in parameters if parameter["in"] == "path")
    assert all({"name", "in", "description", "schema"} <= parameter.keys() for parameter in parameters)
    assert all(re.fullmatch("[1-5][0-9]{2}", code) for code in operation["responses"])
    assert {"200", "400", "408", "431"} <= operation["responses"].keys()
    for answer in operation["responses"].values():
        assert (resolve(answer["$ref"]) if "$ref" in answer else answer)["description"]
    if method == "get":
        assert "requestBody" not in operation


def test_components_have_names_that_may_be() -> None:
    for components in API["components"].values():
        assert all(re.fullmatch("[a-zA-Z0-9._-]+", name) for name in components)


def test_every_reference_leads_somewhere() -> None:
    references = set(every(API, "$ref"))
    assert all(resolve(reference) for reference in references)
    for kind in ("schemas", "responses"):
        used = {reference.rsplit("/", 1)[1] for reference in references if f"/{kind}/" in reference}
        assert API["components"][kind].keys() == used, "nothing is left over"
    schemes = {name for requirement in every(API, "security") for choice in requirement for name in choice}
    assert schemes == API["components"]["securitySchemes"].keys()


def test_schemas_use_what_they_may() -> None:
    roots = [*API["components"]["schemas"].values(), *every(API["paths"], "schema")]
    for schema in (inner for root in roots for inner in schemas(root)):
        assert schema.keys() <= KEYWORDS, schema
        assert set(kinds_of(schema)) <= TYPES.keys()
        if "properties" in schema:
            assert set(schema.get("required", ())) <= schema["properties"].keys()
        if "pattern" in schema:
            re.compile(schema["pattern"])


def test_examples_fit_their_schemas() -> None:
    count = 0
    for api in (API, FETCHING):
        for content in every(api["paths"], "content"):
            for media in content.values():
                if "example" in media:
                    count += 1
                    assert misfit(media["example"], media["schema"]) == ""
    assert count > 30
    for parameter in (one for part in every(API, "parameters") if isinstance(part, list) for one in part):
        if "example" in parameter:
            assert misfit(parameter["example"], parameter["schema"]) == ""


def test_a_misfit_is_seen() -> None:
    scores = API["components"]["schemas"]["Scores"]
    good = API["paths"]["/v1/score"]["post"]["responses"]["200"]["content"]["application/json"]["example"]
    assert misfit(good, scores) == ""
    assert "missing" in misfit({**good, "photos": [{}]}, scores)
    assert "items" in misfit({**good, "photos": []}, scores)
    assert "no integer" in misfit({**good, "edition": "3"}, scores)


def test_what_is_documented_is_there_and_the_reverse(tiny: Path) -> None:
    app = create_app(Service(Store(tiny), "prod", ServeConfig()))
    routes = {(route.path_format, method.lower()) for route in app.routes for method in route.methods - {"HEAD"}}
    assert routes == set(OPERATIONS)


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_keys_are_those_of_the_guard(path: str, method: str) -> None:
    security = API["paths"][path][method]["security"]
    named = {name for choice in security for name in choice}
    keys = Keys(("data-key",), ("admin-key",))
    for key in ("data-key", "admin-key"):
        with nullcontext() if key in named or not security else pytest.raises(Refusal):
            keys.check(path, f"Bearer {key}")
    with pytest.raises(Refusal) if security else nullcontext():
        keys.check(path, "")
    codes = API["paths"][path][method]["responses"].keys()
    assert ({"401", "403"} <= codes) == bool(security)


def test_limits_and_fetching_are_the_settings() -> None:
    api = document(ServeConfig(limits=LimitsConfig(photos=7, body=123_456), fetch=FetchConfig(hosts=("a.example",))))
    content = api["paths"]["/v1/score"]["post"]["requestBody"]["content"]
    assert content["multipart/form-data"]["schema"]["properties"]["files"]["maxItems"] == 7
    assert content["application/json"]["schema"]["properties"]["urls"]["maxItems"] == 7
    assert "a.example" in json.dumps(content["application/json"])
    assert "123,456 bytes" in api["info"]["description"]
    assert "application/json" not in API["paths"]["/v1/score"]["post"]["requestBody"]["content"]


READS = [path for path, method in OPERATIONS if method == "get" and "{version}" not in path]


@pytest.mark.parametrize("path", READS)
def test_what_is_read_fits(server: Server, path: str) -> None:
    status, kind, body = ask(server, path.replace("{model}", "weapon"))
    assert status == 200
    media = API["paths"][path]["get"]["responses"]["200"]["content"]
    assert kind in media
    if kind == "application/json":
        assert misfit(json.loads(body), media[kind]["schema"]) == ""


EXAMPLES = ["/v2/models/{model}/infer", "/v2/repository/index"]


@pytest.mark.parametrize("path", EXAMPLES)
def test_an_example_is_taken_and_answered_as_it_says(server: Server, path: str) -> None:
    operation = API["paths"][path]["post"]
    example = operation["requestBody"]["content"]["application/json"]["example"]
    status, kind, body = ask(server, path.replace("{model}", "ensemble"), json.dumps(example).encode())
    assert (status, kind) == (200, "application/json"), body
    assert misfit(json.loads(body), operation["responses"]["200"]["content"][kind]["schema"]) == ""


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/v1/score", b"no photo", 422),
        ("/v1/score?budget_ms=-1", b"no photo", 400),
        ("/v2/models/absent/infer", b"{}", 404),
        ("/v2/models/weapon/infer", b"{}", 400),
        ("/v2/repository/models/absent/load", b"", 404),
        ("/v2/repository/models/absent/unload", b"", 404),
    ],
)
def test_a_refusal_is_one_of_those_documented(server: Server, path: str, body: bytes, code: int) -> None:
    status, kind, text = ask(server, path, body)
    assert status == code, text
    template = re.sub("/(absent|weapon)(?=/)", "/{model}", path.partition("?")[0])
    answer = resolve(API["paths"][template]["post"]["responses"][str(status)]["$ref"])
    assert misfit(json.loads(text), answer["content"][kind]["schema"]) == ""


def ask(server: Server, path: str, body: bytes | None = None) -> tuple[int, str, bytes]:
    """Status, media type and body of an answer."""
    headers = {"Authorization": f"Bearer {ADMIN_KEY}", "Content-Type": "application/octet-stream"}
    try:
        request = urllib.request.Request(server.url + path, body, headers)
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            return answer.status, answer.headers.get_content_type(), answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers.get_content_type(), error.read()
