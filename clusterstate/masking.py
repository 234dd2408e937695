"""Masks secrets in what a cluster says about itself, before it is kept anywhere. Names stay, values go.

Masking is by the look of things: the values of a runtime environment's `env_vars` always, then values of names that say
secret, what programs are known to take a password by, and what `clusterstate.secret_forms` knows by its own look. Ordinary
text comes out as it went in. The time taken grows with the text, whatever is in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from clusterstate.secret_forms import REDACTED, is_basic, mask_addresses, mask_private_keys, mask_schemes, mask_tokens
from clusterstate.secret_names import is_claim, is_secret_name, parts_of
from clusterstate.secret_values import Place, value_at

MAX_DEPTH = 32

# In lower case: most texts hold none of these, and looking for a word is much quicker than for a pattern.
_NAME_SIGNS = ("token", "secret", "pass", "credential", "key", "pwd", "_pw", "auth", "signature")
_PROGRAM_SIGNS = ("mysql", "mariadb", "mycli", "sshpass", "-cli", "-benchmark", "curl", "login", "ldap", "mongo")

_QUOTE = r"\\{0,8}[\"']"
_ASSIGNED = re.compile(
    rf"(?<![\w.-])(?P<key>[\w.-]{{1,1024}})(?P<quote>(?:{_QUOTE})?)(?P<sign>[ \t]{{0,4}}(?:=>|:=|=(?!=)|:(?!:))[ \t]{{0,4}})"
)
_FLAG = re.compile(
    r"(?<![\w-])(?P<key>--?[A-Za-z][\w-]{0,255})"
    rf"(?:[ \t]{{1,8}}(?:\\\r?\n[ \t]{{0,16}})?(?![-=:])|{_QUOTE},[ \t]{{0,4}}(?={_QUOTE}[^\"'\\-]))"
)
_PAIR = re.compile(rf"\({_QUOTE}(?P<key>[\w.-]{{1,256}}){_QUOTE},[ \t]{{0,4}}(?={_QUOTE})")
_NAME_AND_VALUE = re.compile(
    rf"\b[Nn]ame(?:{_QUOTE})?[ \t]{{0,4}}[:=][ \t]{{0,4}}(?:{_QUOTE})?(?P<key>[\w.-]{{1,256}})(?:{_QUOTE})?,?\s{{0,16}}"
    rf"(?:{_QUOTE})?[Vv]alue(?:{_QUOTE})?[ \t]{{0,4}}[:=][ \t]{{0,4}}"
)
_AUTHORIZATION = re.compile(
    rf"(?P<head>\bauthorization(?:{_QUOTE})?[ \t]{{0,4}}[:=][ \t]{{0,4}}(?:[bu]?{_QUOTE})?)"
    r"(?P<scheme>(?:(?:bearer|basic|token|digest|negotiate|apikey|aws4-hmac-sha256)[ \t]{1,8})?)"
    r"(?P<value>(?:(?<=digest )|(?<=sha256 ))[^\r\n]{1,8192}|[^\s\"'\\,;]{1,8192}(?:[ \t]{1,8}[A-Za-z0-9._~+/=-]{16,8192})?)",
    re.IGNORECASE,
)
_COOKIE = re.compile(
    rf"(?P<head>\bcookie(?:{_QUOTE})?[ \t]{{0,4}}:[ \t]{{0,4}}(?:{_QUOTE})?)(?=[^\s=;,\"']{{1,128}}=)[^\r\n\"'\\]{{1,8192}}", re.IGNORECASE
)
_IN_QUERY = re.compile(r"([?&](?:amp;)?(?:sig|signature|pass|passwd|pwd)=)[^\s&#\"'<>]{4,}", re.IGNORECASE)
_DOCKER_AUTH = re.compile(rf"(?P<head>{_QUOTE}auth{_QUOTE}[ \t]{{0,4}}:[ \t]{{0,4}}{_QUOTE})(?P<value>[A-Za-z0-9+/=]{{8,4096}})")

_GIVEN = r"[\s\"',=]{1,8}"
_GIVEN_OR_ATTACHED = r"[\s\"',=]{0,8}"
_MASKED_WORD = r"[^\s\"',-][^\s\"']{0,1023}"
_PROGRAMS = re.compile(
    r"(?P<head>"
    r"\b(?:mysql\w{0,20}|mariadb[\w-]{0,20}|mycli)\b[^\n|;]{0,256}?[\s\"']-p"
    rf"|\bsshpass\b[\s\"',]{{1,8}}-p{_GIVEN_OR_ATTACHED}"
    rf"|\b(?:redis|valkey)-(?:cli|benchmark)\b[^\n|;]{{0,256}}?[\s\"']-a{_GIVEN}"
    rf"|\bcurl\b[^\n|;]{{0,256}}?[\s\"'](?:-[uU]|--user|--proxy-user){_GIVEN_OR_ATTACHED}[^\s\"':]{{0,256}}:"
    rf"|\b(?:docker|podman|nerdctl|buildah|skopeo|helm|oras|crane)\b[^\n|;]{{0,32}}?\blogin\b[^\n|;]{{0,256}}?[\s\"']-p{_GIVEN}"
    rf"|\bldap(?:search|modify|add|delete|whoami)\b[^\n|;]{{0,256}}?[\s\"']-w{_GIVEN_OR_ATTACHED}"
    rf"|\bmongo(?:sh|dump|restore|export|import)?\b[^\n|;]{{0,256}}?[\s\"']-p{_GIVEN_OR_ATTACHED}"
    rf"){_MASKED_WORD}"
)
_NAME = re.compile(r"[\w.-]{1,256}")
_PROSE = frozenset(
    {"is", "or", "and", "are", "was", "not", "to", "for", "in", "on", "of", "the", "a", "an", "must", "should", "may", "can", "cannot"}
    | {"has", "with", "from", "option", "options", "argument", "flag", "value", "requires", "required", "missing", "invalid", "expected"}
    | {"please", "denied", "failed", "granted", "unknown", "wrong", "incorrect", "if", "when", "which", "that", "instead", "error"}
)


def mask_text(text: str) -> str:
    """The text with credentials in it masked: command lines, addresses, error messages."""
    has = text.lower().__contains__
    if "://" in text:
        text = mask_addresses(text)
    if has("private"):
        text = mask_private_keys(text)
    if has("cookie"):
        text = _COOKIE.sub(rf"\g<head>{REDACTED}", text)
    if has("sig=") or ((has("pass") or has("pwd")) and "?" in text):
        text = _IN_QUERY.sub(rf"\1{REDACTED}", text)
    if "-" in text and any(map(has, _PROGRAM_SIGNS)):
        text = _PROGRAMS.sub(rf"\g<head>{REDACTED}", text)
    if any(map(has, _NAME_SIGNS)):
        text = _mask_named(text, has)
    if has("bearer") or has("basic"):
        text = mask_schemes(text)
    return mask_tokens(text)


def _mask_named(text: str, has: Callable[[str], bool]) -> str:
    """What stands beside a name that says secret, in the ways that names and values stand together."""
    if has("authorization"):
        text = _AUTHORIZATION.sub(_masked_authorization, text)
    if has("auth"):
        text = _DOCKER_AUTH.sub(lambda found: found["head"] + REDACTED if is_basic(found["value"]) else found.group(), text)
    text = _mask_values(text, _ASSIGNED, _assigned)
    if "-" in text:
        text = _mask_values(text, _FLAG, _flag)
    if "(" in text:
        text = _mask_values(text, _PAIR, _pair)
    return _mask_values(text, _NAME_AND_VALUE, _named) if has("value") else text


def mask_arguments(arguments: Sequence[str]) -> list[str]:
    """A program's arguments with secrets masked: the whole of one that a secret's option or name stands before, blanks and all."""
    masked, before = [], ""
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if _takes_secret(before) and argument and not argument.startswith("-"):
            masked.append(REDACTED)
        elif equals and value and _NAME.fullmatch(name) and is_secret_name(name):
            masked.append(f"{name}={REDACTED}")
        else:
            masked.append(mask_text(argument))
        before = argument
    return masked


def _takes_secret(option: str) -> bool:
    return option.startswith("-") and _NAME.fullmatch(option) is not None and is_secret_name(option) and not is_claim(option)


def mask_mapping(values: Mapping[str, str]) -> dict[str, str]:
    """User-provided metadata, labels and the like: whole values of secret names, else what mask_text finds."""
    return {name: REDACTED if is_secret_name(name) and value else mask_text(value) for name, value in values.items()}


def mask_runtime_env(runtime_env: Mapping[str, Any]) -> dict[str, Any]:
    """A runtime environment with every value of `env_vars` masked, as Ray's own dashboard does, and secrets elsewhere."""
    masked: dict[str, Any] = {}
    for name, value in runtime_env.items():
        if name == "env_vars" and value is not None and not isinstance(value, Mapping):
            masked[name] = REDACTED
        else:
            masked[name] = _mask_tree(name, value, 0)
    return masked


def _mask_tree(name: str, value: Any, depth: int, is_secret: bool = False) -> Any:
    """`is_secret`: a name above says so, and everything below is one."""
    is_secret = is_secret or is_secret_name(name)
    if depth > MAX_DEPTH:
        return REDACTED
    if isinstance(value, Mapping):
        if name == "env_vars":
            return {str(variable): REDACTED for variable in value}
        named = value.get("name")
        names_secret = isinstance(named, str) and "value" in value and is_secret_name(named)
        return {
            str(key): _mask_tree(str(key), item, depth + 1, is_secret or (names_secret and key == "value")) for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_mask_tree(name, item, depth + 1, is_secret) for item in value]
    if isinstance(value, str):
        return REDACTED if value and is_secret else mask_text(value)
    return REDACTED if is_secret and value is not None and not isinstance(value, bool) else value


def _mask_values(text: str, heads: re.Pattern[str], place_of: Callable[[re.Match[str], str], Place | None]) -> str:
    """Masks the value after each head that `place_of` takes for that of a secret. What stands in other values is looked at too."""
    parts: list[str] = []
    kept = at = 0
    while (found := heads.search(text, at)) is not None:
        at = found.end()
        place = place_of(found, text) if is_secret_name(found["key"]) else None
        value = value_at(text, at, found["key"].lstrip("-"), place) if place is not None else None
        if value is not None:
            begin, end = value
            parts += (text[kept:begin], REDACTED)
            kept = at = end
    return "".join((*parts, text[kept:])) if parts else text


def _assigned(found: re.Match[str], text: str) -> Place | None:
    """`KEY=value`, `--key=value`, `"key": "value"`. Prose such as "invalid token: x" is no assignment."""
    key, sign = found["key"], found["sign"]
    name, is_dashed = key.lstrip("-"), key.startswith("-")
    if found["quote"] or "=>" in sign or ":=" in sign:
        return Place()
    if ":" in sign:
        if is_dashed:  # "argument --token: expected one"; -Password:x is PowerShell
            return None if sign != ":" else Place()
        if len(parts_of(name)) > 1 or name.lower() in {"password", "passwd", "passphrase", "authorization"}:
            return Place(no_words=_PROSE)
        return Place(no_words=_PROSE, only_odd=True) if _begins_entry(text, found.start()) else None
    if sign != "=" and not is_dashed:  # self.token = token is code, password = hunter2 is not
        return Place(only_odd=True)
    return Place()


def _flag(found: re.Match[str], text: str) -> Place | None:
    """`--token value`, and the same as a list: `'--token', 'value'`."""
    return None if is_claim(found["key"]) else Place(no_words=_PROSE, no_brackets=True)


def _pair(found: re.Match[str], text: str) -> Place:
    """`('token', 'value')`; two names beside each other are more often names."""
    return Place(only_odd=True, odd_quoted=True)


def _named(found: re.Match[str], text: str) -> Place:
    """`{"name": "DB_PASSWORD", "value": "x"}`"""
    return Place()


def _begins_entry(text: str, start: int) -> bool:
    """Whether only blanks, or a sign that begins an entry, stand before."""
    before = text[max(0, start - 64) : start].rstrip(" \t")
    return before.endswith(("\n", "{", ",", "-", "(")) or (before == "" and start <= 64)


def _masked_authorization(found: re.Match[str]) -> str:
    word = found["value"].strip().lower()
    if not found["scheme"] and (word.partition(" ")[0] in _PROSE or word in {"none", "null", "true", "false", REDACTED, "bearer", "basic"}):
        return found.group()
    return found["head"] + found["scheme"] + REDACTED


__all__ = ["REDACTED", "is_secret_name", "mask_arguments", "mask_mapping", "mask_runtime_env", "mask_text"]
