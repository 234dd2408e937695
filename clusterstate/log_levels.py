"""How grave a line of a log is, by the forms that Ray, Python and common libraries write. Pure."""

from __future__ import annotations

import re

LOOKED_AT_BYTES = 400
"""A level stands at the beginning of a line."""

GRAVE = {
    "C": "error", "F": "error", "E": "error", "W": "warning", "I": "info", "D": "debug",
    "FATAL": "error", "CRITICAL": "error", "ERROR": "error", "ERR": "error", "SEVERE": "error",
    "WARNING": "warning", "WARN": "warning", "INFO": "info", "NOTICE": "info", "DEBUG": "debug", "TRACE": "debug",
}  # fmt: skip

RAY_CORE = re.compile(rb"^\[\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d[,.]\d+ (?P<level>[CFEWID]) ")
GLOG = re.compile(rb"^(?P<level>[FEWI])\d{4} \d\d:\d\d:\d\d")
NAMED = re.compile(
    rb"(?:^|[\s\[(<|\"':=])(?P<level>FATAL|CRITICAL|SEVERE|ERROR|ERR|WARNING|WARN|NOTICE|INFO|DEBUG|TRACE)(?=$|[\s\])>|\"':,;-])"
)
TRACEBACK = re.compile(rb"^(?:\([^)]{0,80}\) )?(?:Traceback \(most recent call last\):|[\w.]{1,80}(?:Error|Exception)\b(?::|$))")
IN_JSON = re.compile(rb'"(?:levelname|level|severity)":\s{0,2}"(?P<level>[A-Za-z]{3,8})"')
COLOURS = re.compile(rb"\x1b\[[0-9;]{0,32}m")

_BEGINS = r"^(?:\x1b\[[0-9;]*m)*"
_IN_JSON = r'"(?:levelname|level|severity)":\s*"'
_RAY_BEGINS = _BEGINS + r"\[[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9:]{8}[,.][0-9]+ "
CANDIDATES = {
    "error": r"(?-u)FATAL|CRITICAL|SEVERE|ERR|Traceback|Error|Exception|"
    + f"{_RAY_BEGINS}[CFE] |{_BEGINS}[FE][0-9]{{4}} |{_IN_JSON}[cefsCEFS]",
    "warning": r"(?-u)WARN|" + f"{_RAY_BEGINS}W |{_BEGINS}W[0-9]{{4}} |{_IN_JSON}[wW]",
}
"""Of each grave level: an expression of ripgrep's that every line of it matches, and others may too."""


def level_of(line: bytes) -> str | None:
    """error, warning, info or debug; None where the line says nothing of it."""
    text = COLOURS.sub(b"", line[:LOOKED_AT_BYTES])
    if found := RAY_CORE.match(text) or GLOG.match(text):
        return GRAVE[found["level"].decode()]
    if text.startswith(b"{") and (found := IN_JSON.search(text)):
        return GRAVE.get(found["level"].decode().upper())
    if TRACEBACK.match(text):
        return "error"
    if found := NAMED.search(text[:120]):
        return GRAVE[found["level"].decode()]
    return None
