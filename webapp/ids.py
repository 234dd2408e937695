"""Ids that people chose, as one part of a path: whatever stands in them, the link leads to their page.

Browsers take `..` and `%2e%2e` out of a path, servers decode `%2F` before they split it, and proxies decode twice. So all but
letters, digits, `-`, `_`, `.` and blanks is spelled `~` and the hex of its byte, `~` itself too. An id typed as it is, is read
as it is, unless it has such a `~XX`.

What is then too long for a request line is `~~` and the hash that its row is kept under. So is an id that looks like that.
"""

from __future__ import annotations

import re

from werkzeug.routing import BaseConverter

from clusterstate.store.schema import row_hash

LONGEST = 1000
"""Characters of an id in a path: prefix, cluster and session fit beside it into what `security.MAX_PATH` lets in."""
_HASHED = re.compile(r"~~([0-7][0-9a-f]{15})")
_SPELLED = re.compile(r"(?:~[0-9A-Fa-f]{2})+")
_OTHER = re.compile(r"[\x00-\x1f\x7f!-,/:-@\[-^`{-~\ud800-\udfff]|\A\.(?=\.*\Z)|\As(?=ubmit\Z)")
"""ASCII that is not in the list above, halves of characters, the first dot of dots alone, and what begins a page's own name."""


class ChosenId(BaseConverter):
    """`<chosen:name>` in a rule: an id that may hold any characters."""

    def to_python(self, value: str) -> str:
        return value if _HASHED.fullmatch(value) else _SPELLED.sub(lambda found: _read(found[0]), value)

    def to_url(self, value: object) -> str:
        text = str(value)
        spelled: str = super().to_url(_OTHER.sub(lambda found: _spelled(found[0]), text))
        return f"~~{row_hash(text):016x}" if len(spelled) > LONGEST or _HASHED.fullmatch(text) else spelled


def hash_in(value: str) -> int | None:
    """The hash of the row that an id from a path stands for; None where it is the id itself."""
    found = _HASHED.fullmatch(value)
    return None if found is None else int(found[1], 16)


def _spelled(character: str) -> str:
    return "".join(f"~{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))


def _read(text: str) -> str:
    try:
        return bytes.fromhex(text.replace("~", "")).decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return text
