"""The server does what its OpenAPI document says, also for requests that nobody would write by hand."""

from __future__ import annotations

import base64
import shutil
from collections import defaultdict

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from mu2net.serve import documents, problems, uploads
from mu2net.serve.app import create_app
from mu2net.serve.settings import Settings
from mu2net.system import System
from tests.serve.conftest import encoded

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]

images = st.sampled_from([encoded(8, 8), encoded(30, 2, "JPEG"), encoded(8, 8)[:50]]) | st.binary(max_size=40)
schemathesis.openapi.media_type("image/*", images, aliases=["image/png", "application/octet-stream"])


@pytest.fixture(scope="module")
def application(served_template, tmp_path_factory):
    directory = shutil.copytree(served_template, tmp_path_factory.mktemp("openapi") / "system")
    with System.open(directory) as system:
        yield create_app(system.classifier(), Settings(watch=0.0))


@pytest.mark.parametrize(
    ("method", "address"),
    [
        ("POST", "/v1/predict"),
        ("POST", "/v1/tasks/{task}/predict"),
        ("GET", "/v1/tasks"),
        ("GET", "/v1/tasks/{task}"),
        ("GET", "/healthz"),
        ("GET", "/readyz"),
        ("GET", "/metrics"),
    ],
)
def test_every_answer_is_a_described_one(application, method, address):
    operation = schemathesis.openapi.from_asgi("/openapi.json", application)[address][method]

    reached = defaultdict(set)

    @settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(), name=st.sampled_from(["one", "two", None]), is_sound=st.booleans())
    def check(case, name, is_sound):
        if method == "POST" and is_sound:  # else hardly any JSON holds an image
            name, case.media_type = "one", "application/json"
            case.body = {"images": [base64.b64encode(encoded(8, 8)).decode()]}
        if name is not None and "{task}" in address:
            case.path_parameters["task"] = name
        if name is not None and address == "/v1/predict":
            case.query = {**case.query, "tasks": name}
        response = case.call()
        reached[case.media_type].add(response.status_code)
        case.validate_response(response, checks=CHECKS)

    check()
    if method == "POST":
        assert 200 in reached["application/json"], reached
        assert len(reached) > 1


def test_the_document_describes_what_people_need(application):
    document = application.openapi()
    assert set(document["paths"]) == {
        "/v1/tasks", "/v1/tasks/{task}", "/v1/tasks/{task}/predict", "/v1/predict", "/healthz", "/readyz", "/metrics",
    }  # fmt: skip
    assert "HTTPValidationError" not in str(document), "errors are problems"
    for address in ("/v1/predict", "/v1/tasks/{task}/predict"):
        post = document["paths"][address]["post"]
        assert set(post["requestBody"]["content"]) == {
            "multipart/form-data", "image/*", "application/octet-stream", "application/json",
        }  # fmt: skip
        assert {"200", "400", "401", "404", "413", "415", "422", "429", "503", "504"} <= set(post["responses"])
        assert "application/problem+json" in post["responses"]["422"]["content"]


@pytest.mark.parametrize(
    "model",
    [
        documents.TaskPredictionsDocument,
        documents.ManyPredictionsDocument,
        documents.TasksDocument,
        documents.TaskDetailsDocument,
        documents.StateDocument,
        problems.Problem,
        uploads.ImageDocument,
    ],
)
def test_examples_are_what_they_are_examples_of(application, model):
    schemas = application.openapi()["components"]["schemas"]
    body = application.openapi()["paths"]["/v1/predict"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    schema = body if model is uploads.ImageDocument else schemas[model.__name__]
    for example in schema["examples"]:
        assert set(example) <= set(schema["properties"])
        assert model.model_validate(example)
    assert schema["examples"]


def test_the_example_of_a_request_can_be_sent(application):
    post = application.openapi()["paths"]["/v1/predict"]["post"]
    (example,) = post["requestBody"]["content"]["application/json"]["schema"]["examples"]
    with TestClient(application) as client:
        answer = client.post("/v1/predict", params={"tasks": "*"}, json=example)
    assert answer.status_code == 200, answer.text
    assert set(answer.json()["predictions"][0]["tasks"]) == {"one", "two"}
