"""schemathesis on the REST APIs of a running stack: responses match the OpenAPI documents, and none is a 5xx.

Event streams are left out: an endless response has no schema to check and would block its example until a timeout.
tests/integration/test_sse.py covers them.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, CheckContext, GenerationMode, Response
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from services.common.names import SERVICES
from services.common.settings.load import load_config
from ytarchive.emulator import EmulatorClient
from ytarchive.emulator.site import sample
from ytarchive.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="module")

Operation = APIOperation[Any, Any, Any, Any]
AnyCase = Case[Any]
UPSTREAM = ("/api/v1/metadata/", "/api/v1/download/formats/")  # they query YouTube during the request


def no_server_error(_ctx: CheckContext, response: Response, case: AnyCase) -> None:
    """Accept 503 in one case only: the emulator did not answer in time because the machine is busy."""
    late = response.status_code == 503 and case.path.startswith(UPSTREAM) and response.json()["error"]["code"] == "E003"
    if not late:
        not_a_server_error(_ctx, response, case)


CHECKS = [
    no_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
EXAMPLES = settings(
    max_examples=3,
    phases=[Phase.generate],  # shrinking would take minutes with a real stack
    suppress_health_check=list(HealthCheck),  # generating is slow for some patterns
)
KNOWN = {"job_id": "a-job-of-the-fuzzer", "video_id": sample.VIDEO_OK}
TIMEOUT = 60  # seconds for run_examples answer


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory, emulator_child: EmulatorClient) -> AsyncIterator[Stack]:
    emulator_child.reset()
    root = tmp_path_factory.mktemp("fuzz")
    env = {f"YTARCHIVE_SERVICES__{name.upper()}__PORT": "0" for name in SERVICES} | {
        "YTARCHIVE_STORAGE__BASE_DATA_DIR": str(root / "data"),
        "YTARCHIVE_STORAGE__BASE_PATH": str(root / "archive"),
        "YTARCHIVE_STORAGE__MIN_FREE": "0",
        "YTARCHIVE_YOUTUBE__PROXY": emulator_child.proxy_url,
        "YTARCHIVE_YOUTUBE__CA_FILE": str(Path(emulator_child.ca_file)),
    }
    async with Stack(load_config(env=env, cwd=root)) as running:
        await archive_one(running.services["jobs"].url, running.services["download"].url)
        yield running


async def archive_one(jobs: str, download: str) -> None:
    """Run a job that downloads a video to its end, so that there are data of every kind."""
    body = {"targets": [KNOWN["video_id"]], "job_id": KNOWN["job_id"]}
    async with asyncio.timeout(240), aiohttp.ClientSession() as http:
        async with http.post(f"{jobs}/api/v1/jobs", json=body) as created:
            assert created.status == 201
        async with http.get(f"{jobs}/api/v1/jobs/{KNOWN['job_id']}/events") as events:
            told = await events.text()  # the stream ends with the job
        async with http.get(f"{download}/api/v1/download/tasks") as tasks:
            KNOWN["task_id"] = (await tasks.json())["data"]["tasks"][0]["task_id"]
    assert '"status":"completed"' in told


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", SERVICES)
async def test_responses_match_the_openapi_document(stack: Stack, name: str) -> None:
    service = stack.services[name]
    found = await asyncio.to_thread(lambda: dict(violations_by_operation(service.url)))
    assert not found, "\n\n".join(f"{place}\n{told}" for place, told in found.items())
    assert service.background_failures == 0


def violations_by_operation(url: str) -> Iterator[tuple[str, str]]:
    """Yield the violations by operation."""
    schema = schemathesis.openapi.from_url(f"{url}/api/v1/openapi.json", config=SchemathesisConfig(), timeout=TIMEOUT)
    operations = [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]
    assert len(operations) >= 3  # schemathesis leaves the document itself out
    with requests.Session() as session:
        session.trust_env = False  # ignore proxies of the environment
        for operation in operations:
            if not streams_events(operation):
                yield from violations(operation, url, session)


def streams_events(operation: Operation) -> bool:
    """Whether the operation answers with an event stream."""
    return "text/event-stream" in operation.definition.raw["responses"].get("200", {}).get("content", {})


def violations(operation: Operation, url: str, session: requests.Session) -> Iterator[tuple[str, str]]:
    for what, mode, parts in request_kinds(operation):
        try:
            run_examples(operation, mode, parts, url, session)
        except Unsatisfiable:
            if mode is GenerationMode.POSITIVE:
                raise  # otherwise: without a parameter or a body no request is invalid
        except (Failure, FailureGroup) as error:
            told = error.exceptions if isinstance(error, FailureGroup) else [error]
            yield f"{operation.label} ({what})", "\n".join(str(each) for each in told)


def request_kinds(operation: Operation) -> Iterator[tuple[str, GenerationMode, dict[str, str] | None]]:
    """Yield the kinds of requests: valid, invalid, and valid with existing ids (generated ids are unknown)."""
    yield "valid", GenerationMode.POSITIVE, None
    yield "invalid", GenerationMode.NEGATIVE, None
    known = {
        run_examples.name: KNOWN[run_examples.name]
        for run_examples in operation.path_parameters
        if run_examples.name in KNOWN
    }
    if known:
        yield "existing ids", GenerationMode.POSITIVE, known


def run_examples(
    operation: Operation, mode: GenerationMode, parts: dict[str, str] | None, url: str, session: requests.Session
) -> None:
    @EXAMPLES
    @given(case=operation.as_strategy(generation_mode=mode, path_parameters=parts))
    def answers(case: AnyCase) -> None:
        answer = case.call(base_url=url, session=session, timeout=TIMEOUT)
        case.validate_response(answer, checks=CHECKS)

    answers()
