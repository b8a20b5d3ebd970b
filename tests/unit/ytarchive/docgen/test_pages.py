"""Generated pages: up to date, complete and consistent with the handlers."""

import json
from pathlib import Path
from typing import Any

import pytest

from bus import Delivery, Event
from services.common.events import JobCreated, LogRecorded, catalogue
from ytarchive.docgen import bus_reference, pages

KINDS = catalogue()


def test_the_committed_pages_are_up_to_date() -> None:
    assert pages.stale() == [], "run `make docs`"


def test_stale_and_missing_pages_are_detected(tmp_path: Path) -> None:
    tmp_path /= "docs"
    pages.write(tmp_path)
    assert pages.stale(tmp_path) == []
    old, gone, rest = tmp_path / "events.md", tmp_path / "asyncapi.json", tmp_path / "openapi" / "storage.json"
    old.write_text("old")
    gone.unlink()
    rest.write_text("{}")
    assert pages.stale(tmp_path) == [old, gone, rest]


def test_the_event_catalogue_lists_each_subject_once() -> None:
    subjects = [kind.subject for kind in KINDS]
    assert len(set(subjects)) == len(subjects)
    assert subjects[0] == "job.created"
    assert subjects[-1] == "dead.lettered"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.subject)
def test_every_event_has_publishers_and_every_durable_event_has_a_key(kind: type[Event]) -> None:
    assert kind.publishers
    durable = kind.delivery is Delivery.STREAM
    assert bool(kind.key) is durable, "a durable event needs a key for its deterministic id"


def test_logging_consumes_every_durable_subject() -> None:
    logging = {"logging": bus_reference.tables()["logging"]}
    unconsumed = [kind.subject for kind in KINDS if not bus_reference.consumers(kind, logging)]
    live = {Delivery.CORE, Delivery.REQUEST}
    assert unconsumed == [kind.subject for kind in KINDS if kind.delivery in live]


def test_every_subject_has_a_section() -> None:
    page = bus_reference.events_page()
    assert [kind.subject for kind in KINDS if f"\n## {kind.subject}\n" not in page] == []
    assert "| `job_id` | string | yes |" in page


def test_the_descriptions_of_fields_are_in_the_page() -> None:
    assert "The first job that waits" in bus_reference.events_page()


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [found for inner in value.values() for found in references(inner)]
    return [found for inner in value for found in references(inner)] if isinstance(value, list) else []


def test_every_reference_of_the_asyncapi_document_resolves() -> None:
    document = json.loads(json.dumps(bus_reference.asyncapi()))
    found = references(document)
    assert found
    for reference in found:
        place: Any = document
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]  # KeyError: unresolved reference


def test_publishers_and_consumers_are_asyncapi_operations() -> None:
    operations = bus_reference.asyncapi()["operations"]
    assert operations[f"cli.send.{JobCreated.subject}"]["action"] == "send"
    assert operations[f"logging.receive.{LogRecorded.subject}"]["action"] == "receive"
