"""Ids that people chose, as one part of a path: whatever stands in them, the link leads to their page.

Browsers take `..` and `%2e%2e` out of a path, servers decode `%2F` before they split it, and proxies decode twice. So all but
letters, digits, `-`, `_`, `.` and blanks is spelled `~` and the hex of its byte, `~` itself too. An id typed as it is, is read
as it is, unless it has such a `~XX`.
"""

from __future__ import annotations

import re

from werkzeug.routing import BaseConverter

_SPELLED = re.compile(r"(?:~[0-9A-Fa-f]{2})+")
_OTHER = re.compile(r"[\x00-\x1f\x7f!-,/:-@\[-^`{-~\ud800-\udfff]|\A\.(?=\.*\Z)")
"""ASCII that is not in the list above, halves of characters, and the first dot where there are only dots."""


class ChosenId(BaseConverter):
    """`<chosen:name>` in a rule: an id that may hold any characters."""

    def to_python(self, value: str) -> str:
        return _SPELLED.sub(lambda found: _read(found[0]), value)

    def to_url(self, value: object) -> str:
        return super().to_url(_OTHER.sub(lambda found: _spelled(found[0]), str(value)))


def _spelled(character: str) -> str:
    return "".join(f"~{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))


def _read(text: str) -> str:
    try:
        return bytes.fromhex(text.replace("~", "")).decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return text
