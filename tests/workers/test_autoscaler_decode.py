"""The first autoscaler's report as our model."""

from __future__ import annotations

import json
from typing import Any

import pytest

from clusterstate.model import FailedNode, PendingNode
from workers.sources.autoscaler_decode import MAX_BYTES, error_of, report_of

NODE = "ab" * 28


def report(summary: dict[str, Any], load: dict[str, Any] | None = None, **more: Any) -> bytes:
    return json.dumps({"autoscaler_report": {"active_nodes": {}, **summary}, "load_metrics_report": load or {}, **more}).encode()


def test_a_report_names_what_starts_what_failed_and_what_was_requested() -> None:
    found = report_of(
        report(
            {
                "pending_launches": {"gpu": 3},
                "pending_nodes": [["10.0.0.9", "cpu", "setting-up"]],
                "failed_nodes": [["10.0.0.7", "cpu"]],
                "node_availability_summary": {
                    "node_availabilities": {
                        "gpu": {
                            "node_type": "gpu",
                            "is_available": False,
                            "last_checked_timestamp": 12.5,
                            "unavailable_node_information": {"category": "NoCapacity", "description": "token=hunter2abcdef none left"},
                        },
                        "cpu": {"node_type": "cpu", "is_available": True, "unavailable_node_information": None},
                    }
                },
                "node_type_mapping": {"10.0.0.1": "head", NODE: f"node_{NODE}"},
            },
            {"request_demand": [[{"CPU": 1}, 2], [{"CPU": 1}, 1], [{"GPU": 3}, 1]]},
            time=99.5,
        )
    )

    assert found is not None
    assert found.at == 99.5
    assert found.node_types == {"10.0.0.1": "head"}
    assert found.pending_nodes == [
        PendingNode("gpu", count=3, is_launch=True),
        PendingNode("cpu", "10.0.0.9", "setting-up", "10.0.0.9"),
    ]
    [dead, unavailable] = found.failed_nodes
    assert dead == FailedNode("cpu", "", "10.0.0.7")
    assert (unavailable.node_type, unavailable.category, unavailable.failed_at_ms) == ("gpu", "NoCapacity", 12500)
    assert "hunter2" not in unavailable.reason
    assert unavailable.reason.endswith("none left")
    assert [(one.kind, one.shape, one.count) for one in found.demands] == [
        ("REQUEST_RESOURCES", {"CPU": 1.0}, 3),
        ("REQUEST_RESOURCES", {"GPU": 3.0}, 1),
    ]


@pytest.mark.parametrize(
    "raw",
    [
        None,
        b"",
        b"not json",
        b"[]",
        b"null",
        b"[" * 100_000,
        b"{}",
        b" " * (MAX_BYTES + 1),
        json.dumps({"autoscaler_report": []}).encode(),
    ],
    ids=lambda raw: repr(raw)[:20],
)
def test_what_is_no_report_is_none(raw: bytes | None) -> None:
    assert report_of(raw) is None


def test_fields_of_other_types_than_rays_are_left_out() -> None:
    hostile = report(
        {
            "pending_launches": {"a": "many", "b": -1, "c": True, "d": 1e300, "e": 2},
            "pending_nodes": [1, ["x"], [None, {}, []], "abc"],
            "failed_nodes": {"a": 1},
            "node_availability_summary": {"node_availabilities": {"x": 1, "y": {"is_available": False}}},
            "node_type_mapping": {"a": 1, "b": "c"},
        },
        {"request_demand": [[{"CPU": "x", "GPU": float("inf")}, 1], [{}, "one"], 7]},
        time="soon",
    )

    found = report_of(hostile)

    assert found is not None
    assert found.at is None
    assert [(one.node_type, one.count) for one in found.pending_nodes if one.is_launch] == [("e", 2)]
    assert [one.node_type for one in found.pending_nodes if not one.is_launch] == ["{}"]
    assert found.failed_nodes == []
    assert found.node_types == {"b": "c"}
    assert [(one.shape, one.count) for one in found.demands] == [({}, 1)]


def test_why_the_autoscaler_stopped_is_told_without_secrets() -> None:
    assert error_of(None) is None
    assert error_of(b"") is None
    text = error_of(b"boto: aws_secret_access_key=AKIAabcdefghijklmnop1234 refused")
    assert text is not None
    assert "AKIAabcdefghijklmnop1234" not in text
    assert "refused" in text
