"""The HTTP interface keeps to its OpenAPI description, as schemathesis finds (promise R25)."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import TINY, TINY_DOCUMENTS, has_engine, skip_or_fail
from hypothesis import HealthCheck, settings

from microgpt import MicroGPT

try:
    import schemathesis
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    from microgpt.serving import app as app_module
except ImportError as error:
    skip_or_fail("serve", f"not installed: {error.name}")

MODEL = MicroGPT(**TINY, engine="exact" if has_engine("exact") else "scalar").fit(TINY_DOCUMENTS)
APP = app_module.create_app(MODEL, "<title>page</title>")
SCHEMA: Any = schemathesis.openapi.from_asgi("/openapi.json", APP)
# Training from random documents by the scalar engine takes minutes; test_serving.py trains.
FAST = SCHEMA.exclude(path="/v1/train")


@FAST.parametrize()
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_interface_keeps_to_its_description(case: Any) -> None:
    # A well-formed prefix may hold characters that the model does not know: 422, as documented.
    case.call_and_validate(excluded_checks=[positive_data_acceptance])


def test_description_names_every_route_and_no_other() -> None:
    assert set(APP.openapi()["paths"]) == {
        "/healthz",
        *(f"/v1/{name}" for name in ("sample", "score", "next", "explain", "train")),
    }


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/static/x", "/v1", "/openapi.yaml"])
def test_nothing_else_is_served(path: str) -> None:
    from starlette.testclient import TestClient

    assert TestClient(APP).get(path).status_code == 404
