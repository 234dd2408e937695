"""Where a value that stands in a text begins and ends, and whether it gives anything away."""

from __future__ import annotations

import re
from dataclasses import dataclass

from clusterstate.secret_forms import REDACTED

QUOTED_AT_MOST = 4096
"""Letters after an opening quote or bracket in which its end is looked for beyond the line."""
LOOKED_AT = 160
"""Letters of a bare value that decide what it is; one that is longer is no word and no variable."""

_OPENING = re.compile(r"[bBuUrRfF]{0,2}(?P<slashes>\\{0,8})(?P<quote>[\"'])")
_CLOSING = {"'": re.compile(r"(\\*)'"), '"': re.compile(r'(\\*)"')}
_BRACKET = re.compile(r"[\[\](){}]")
_LINE_END = re.compile(r"[\r\n]|\Z")
# Ends before another part of a query, of a list, of a page.
_RUN = re.compile(r"(?:[^\s\"'`;&,<]+|&(?!(?:amp;)?[\w.%-]{1,64}=)|,(?![\w.-]{1,64}[=:])|<(?!/))+")
_TRAILING = "\\)]}>,:"

_PLAIN_VALUES = frozenset(
    {"", "none", "null", "nil", "true", "false", "undefined", "yes", "no", "on", "off", "bearer", "basic", "***"}
    | {"str", "int", "bytes", "bool", "float", "any", "string", "object", "optional", "dict", "list", "secretstr"}  # types
)
_VARIABLE = re.compile(r"\$[A-Z_][A-Z0-9_]*\Z|\$\(|\$\{|%s\b|%\(|\{\{|<(?!redacted>.)|os\.environ|\{+ ?\w+ ?\}+\Z")
_CODE = re.compile(
    r"(?:self|cls|args|kwargs|config|settings|options|opts|cfg|conf|params|request)\.[A-Za-z_]|[A-Za-z_][\w.]{0,127}\(|(?:[Oo]ptional|[Uu]nion|[Ll]ist|[Dd]ict)\["
)
_WORD = re.compile(r"[A-Za-z_.]*\Z")
_MASKED_SCHEME = re.compile(rf"(?:[A-Za-z][A-Za-z0-9-]{{0,19}} )?{re.escape(REDACTED)}\Z")


@dataclass(frozen=True)
class Place:
    """What counts as a secret where the value stands."""

    no_words: frozenset[str] = frozenset()  # of prose, which a bare value may be
    only_odd: bool = False  # a bare value of letters alone is a name, not a secret
    odd_quoted: bool = False  # and so is a quoted one
    no_brackets: bool = False


def value_at(text: str, at: int, key: str, place: Place) -> tuple[int, int] | None:
    """Begin and end of the value of `key` at `at`, without its quotes or brackets; None if it gives nothing away."""
    opening = _OPENING.match(text, at)
    if opening is not None:
        return _quoted(text, opening, key, place)
    if text[at : at + 1] in ("[", "{") and not text.startswith(("{{", "${"), at):
        return None if place.no_brackets else _bracketed(text, at, place)
    return _bare(text, at, key, place)


def _quoted(text: str, opening: re.Match[str], key: str, place: Place) -> tuple[int, int] | None:
    begin = opening.end()
    end = _closing(text, begin, len(opening["slashes"]), _CLOSING[opening["quote"]])
    value = text[begin : min(end, begin + LOOKED_AT)]
    if _is_plain(key, value) or _MASKED_SCHEME.match(value) or (place.odd_quoted and _WORD.match(value)):
        return None
    return begin, end


def _closing(text: str, begin: int, depth: int, closing: re.Pattern[str]) -> int:
    """Where the quote ends that was opened behind `depth` backslashes; the end of the line where it does not end."""
    for limit in (begin + QUOTED_AT_MOST, None):
        limit = _line_end(text, begin) if limit is None else limit
        for found in closing.finditer(text, begin, max(begin, limit)):
            slashes = len(found[1])
            if (slashes % 2 == 0) if depth == 0 else (slashes <= depth):
                return found.start() + (slashes if depth == 0 else 0)
        if len(text) <= limit:
            break
    return _line_end(text, begin)


def _bracketed(text: str, at: int, place: Place) -> tuple[int, int] | None:
    """What stands in brackets, other brackets in it too; in braces a lone word is a placeholder."""
    depth, end = 0, None
    for found in _BRACKET.finditer(text, at, at + QUOTED_AT_MOST):
        depth += 1 if found.group() in "[({" else -1
        if depth == 0:
            end = found.start()
            break
    begin = at + 1
    end = min(_line_end(text, begin), at + QUOTED_AT_MOST) if end is None else end
    inner = text[begin : min(end, begin + LOOKED_AT)].strip()
    if not inner or inner == REDACTED or (text[at] == "{" and re.fullmatch(r"[\w.]+", inner)):
        return None
    has_quotes = '"' in text[begin:end] or "'" in text[begin:end]
    return (begin, end) if has_quotes or not place.only_odd else None


def _bare(text: str, at: int, key: str, place: Place) -> tuple[int, int] | None:
    looked_at = _RUN.match(text, at, at + LOOKED_AT)
    if looked_at is None:
        return None
    value = looked_at.group()
    if _VARIABLE.match(value) or _CODE.match(value):
        return None
    if len(value) == LOOKED_AT:
        run = _RUN.match(text, at)
        return (at, at + len(run.group().rstrip(_TRAILING))) if run is not None else None
    value = value.rstrip(_TRAILING)
    if _is_plain(key, value) or value.lower() in place.no_words or (place.only_odd and _WORD.match(value)):
        return None
    return at, at + len(value)


def _is_plain(key: str, value: str) -> bool:
    """A value that gives nothing away: nothing, a type, a variable's name, or already masked."""
    return value.lower() in _PLAIN_VALUES or value in {key, REDACTED} or value.endswith(f".{key}") or bool(_VARIABLE.match(value))


def _line_end(text: str, at: int) -> int:
    found = _LINE_END.search(text, at)
    return found.start() if found else len(text)
