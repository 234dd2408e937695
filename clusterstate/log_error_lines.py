"""Lines of a log that call themselves errors, and what they say, in the forms of Ray, Python's logging and common libraries. Pure."""

from __future__ import annotations

import json
import re

from clusterstate import log_times

HEAD_BYTES = 160

_CORE = re.compile(rb"\[\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d[,.]\d+ (?P<level>[A-Z]) ")
_GLOG = re.compile(rb"(?P<level>[A-Z])\d{4} \d\d:\d\d:\d\d")
_GRAVE_LETTERS = frozenset({b"E", b"F", b"C"})
_LEVEL = re.compile(
    rb"(?:^|(?<=[\s\[(<|\"':=]))(?P<level>FATAL|CRITICAL|SEVERE|ERROR|WARNING|WARN|NOTICE|INFO|DEBUG|TRACE)(?=$|[\s\])>|\"':,;-])"
)
_GRAVE = frozenset({b"FATAL", b"CRITICAL", b"ERROR"})
_JSON_LEVEL = re.compile(rb'"(?:level|levelname|severity)":\s{0,2}"$')
_ASSIGNED = re.compile(rb"=(?!=)|[\"']?:\s*-?\d+[,}\s]*$")
_CLOCK = re.compile(rb"[\[(]?\d\d:\d\d:\d\d(?:[.,]\d{1,9})?[\])]?[\s|-]")
"""A time without a date."""
_BEFORE, _AFTER = (b"-", b"|", b":", b"]", b")", b">", b"="), (b"-", b"|", b":", b"]", b")")


def says_error(text: bytes) -> bool:
    """Whether a line calls itself an error, in the forms of Ray, Python's logging and common libraries."""
    if told := _CORE.match(text) or _GLOG.match(text):
        return told["level"] in _GRAVE_LETTERS  # whatever its message says
    head = text[:HEAD_BYTES]
    found = _LEVEL.search(head)
    if found is None or found["level"] not in _GRAVE:
        return False
    before, after = head[: found.start("level")].rstrip(), head[found.end("level") :].lstrip()
    if head.lstrip().startswith(b"|") or _ASSIGNED.match(after):
        return False  # a row of a table; a constant, or a key, that is called so
    if before in (b"", b"[", b"<", b"(") or _CLOCK.match(head):
        return True
    if log_times.ISO.match(text) or (text.startswith(b"{") and _JSON_LEVEL.search(before)):
        return True
    return before.endswith(_BEFORE) and after.startswith(_AFTER)


def message_of(text: bytes) -> bytes:
    """What a line says, without time, level and where in the program."""
    head = text[:HEAD_BYTES]
    if found := _CORE.match(text):
        return text[text.find(b"]", found.end()) + 1 :].strip() or text
    if _GLOG.match(text):
        return text.partition(b"]")[2].strip() or text
    level = _LEVEL.search(head)
    if level is None:
        return text
    return text[level.end() :].lstrip(b" \t:|]->)") or text


def in_json(text: bytes) -> tuple[bytes, bytes] | None:
    """(traceback, message) of a line that is a JSON object."""
    if not text.startswith(b"{"):
        return None
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict):
        return None

    def words(*names: str) -> bytes:
        found = next((said[name] for name in names if isinstance(said.get(name), str)), "")
        return str(found).encode("utf-8", "replace")

    return words("exc_text", "exc_info", "exception", "traceback", "stack_trace"), words("message", "msg", "event") or text
