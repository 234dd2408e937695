"""A node that is this process: its log files are named as Ray names them, its answers are the real ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from clusterstate.node_questions import NodeQuestions, Unanswered
from clusterstate.store import queues
from clusterstate.store.queues import Answer
from workers.probes import logs
from workers.probes.running import CannotAnswer
from workers.start import function_of


def answer_here(folder: Path, monkeypatch: pytest.MonkeyPatch, others: Mapping[str, Path] | None = None) -> None:
    """From now on every node is asked here, and its log folder is this one, or one of `others` by the node's id."""
    monkeypatch.setattr(logs, "log_folder", lambda node_id: (others or {}).get(node_id, folder))

    def ask(self: NodeQuestions, probe: Any, cluster: str, host: str, within_s: float) -> Any:
        try:
            return json.loads(json.dumps(function_of(type(probe))(**asdict(probe))))
        except CannotAnswer as why:
            raise Unanswered(str(why)) from None

    answers: dict[str, Answer] = {}

    def start(self: NodeQuestions, probe: Any, cluster: str, host: str) -> str:
        number = str(len(answers))
        try:
            answers[number] = Answer(number, queues.DONE, 0.0, ask(self, probe, cluster, host, 0.0), None)
        except Unanswered as why:
            answers[number] = Answer(number, queues.FAILED, 0.0, None, str(why))
        return number

    monkeypatch.setattr(NodeQuestions, "ask", ask)
    monkeypatch.setattr(NodeQuestions, "start", start)
    monkeypatch.setattr(NodeQuestions, "answer", lambda self, probe_id: answers.get(probe_id))
    monkeypatch.setattr(NodeQuestions, "cancel", lambda self, probe_id: None)
