"""Masks secrets in what a cluster says about itself, before it is kept anywhere. Names stay, values go.

Masking is by the look of things: the values of a runtime environment's `env_vars` always, then keys that name a secret,
credentials in addresses, and tokens with a known form. Ordinary text comes out as it went in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

REDACTED = "<redacted>"  # Ray's own word for it
MAX_DEPTH = 32

_SECRET_WORDS = frozenset(
    {"password", "passwd", "passphrase", "secret", "secrets", "apikey", "secretkey", "accesskey", "privatekey", "credential", "credentials"}
)
_SECRET_KEYS_OF = frozenset(
    {"api", "access", "secret", "private", "signing", "encryption", "auth", "account", "license", "shared", "master"}
)
# Tokens of a language model and counters are no credentials: eos_token, per_token, max_token.
_TEXT_TOKENS = frozenset(
    {"eos", "bos", "pad", "unk", "mask", "sep", "cls", "next", "per", "special", "image", "start", "end", "stop"}
    | {"max", "min", "num", "last", "first"}
)
# A thing beside the secret, not the secret: secret_name, password_file, token_path, credentials_dir.
_POINTERS = frozenset(
    {"name", "names", "file", "files", "path", "paths", "dir", "arn", "ref", "length", "len", "type", "kind", "url", "uri", "ttl"}
)
_PLAIN_VALUES = frozenset({"", "none", "null", "true", "false", "undefined", "yes", "no", "bearer", "basic"})

_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")

# Looked for first, in lower case: most texts hold none of these and are left alone at once. (A search for each of these
# words takes 2 µs together, one regular expression of them all takes 30.)
_SUSPECTS = (
    *("token", "secret", "passw", "passphrase", "credential", "key", "pwd", "auth", "signature", "sig=", "bearer", "basic", "://"),
    *("akia", "asia", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "hf_", "sk-", "xox", "aiza", "eyj", "rd_"),
)

_URL_USER = re.compile(r"(?P<scheme>\b[A-Za-z][A-Za-z0-9+.-]{0,30}://)(?P<user>[^\s/?#\"'<>]{1,4096})@")
_KNOWN_FORMS = re.compile(
    r"\b(?:(?:AKIA|ASIA)[0-9A-Z]{16}"
    r"|gh[pousr]_[A-Za-z0-9]{20,255}"
    r"|github_pat_[A-Za-z0-9_]{20,255}"
    r"|hf_[A-Za-z0-9]{20,255}"
    r"|sk-[A-Za-z0-9_-]{20,255}"
    r"|xox[abposr]-[A-Za-z0-9-]{10,255}"
    r"|AIza[0-9A-Za-z_-]{35}"
    r"|rd_[A-Za-z0-9]{4,64}_[A-Za-z0-9_-]{16,255}"
    r"|eyJ[A-Za-z0-9_-]{8,4096}\.[A-Za-z0-9_-]{8,8192}\.[A-Za-z0-9_-]{4,4096})"
)
_PRIVATE_KEY = re.compile(r"(-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----).*?(-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)", re.DOTALL)
_BEARER = re.compile(r"\b(Bearer|Basic)\s+(?=[A-Za-z0-9._~+/=-]{8})[A-Za-z0-9._~+/=-]{8,8192}", re.IGNORECASE)
_VALUE = r"(?P<value>\"[^\"\n]{0,65536}\"?|'[^'\n]{0,65536}'?|[^\s,;&\"'<>(){}\[\]]{1,65536})"
_ASSIGNED = re.compile(
    r"(?<![\w.-])(?P<head>(?:--?)?[\"']?(?P<key>[A-Za-z_][\w.-]{0,127})[\"']?(?P<between>[ \t]{0,4}[=:][ \t]{0,4}))" + _VALUE
)
_FLAG = re.compile(r"(?<![\w-])(?P<head>--?(?P<key>[A-Za-z][\w-]{0,127})[ \t]{1,4})(?!-)" + _VALUE)


_SECRET_ENDINGS = ("password", "passwd", "passphrase", "secret", "token", "apikey", "sshpass")
"""Of words written together: PGPASSWORD, authtoken."""


def is_secret_name(name: str) -> bool:
    """Whether a key, option or variable of this name holds a secret: HF_TOKEN, api-key, dbPassword; not max_tokens."""
    parts = [part.lower() for part in _PARTS.findall(name[:256])]
    if not parts or parts[-1] in _POINTERS:
        return False
    if _SECRET_WORDS.intersection(parts):
        return True
    if parts[-1] not in {"token", "pass"} and parts[-1].endswith(_SECRET_ENDINGS):
        return True
    last, before = parts[-1], parts[-2] if len(parts) > 1 else ""
    if last == "token":
        return before not in _TEXT_TOKENS
    if last == "key" or (last == "id" and before == "key"):
        return bool(_SECRET_KEYS_OF.intersection(parts))
    if last in {"signature", "sig"}:
        return before in {"amz", "goog", "sas"}
    return (last == "pwd" and before != "") or parts == ["authorization"]


def mask_text(text: str) -> str:
    """The text with credentials in it masked: command lines, addresses, error messages."""
    lower = text.lower()
    if not any(word in lower for word in _SUSPECTS):
        return text
    text = _URL_USER.sub(_mask_url_user, text)
    text = _PRIVATE_KEY.sub(rf"\1{REDACTED}\2", text)
    text = _BEARER.sub(rf"\1 {REDACTED}", text)
    text = _KNOWN_FORMS.sub(REDACTED, text)
    text = _ASSIGNED.sub(_mask_assigned, text)
    return _FLAG.sub(_mask_flag, text)


def mask_mapping(values: Mapping[str, str]) -> dict[str, str]:
    """User-provided metadata, labels and the like: whole values of secret names, else what mask_text finds."""
    return {name: REDACTED if is_secret_name(name) and value else mask_text(value) for name, value in values.items()}


def mask_runtime_env(runtime_env: Mapping[str, Any]) -> dict[str, Any]:
    """A runtime environment with every value of `env_vars` masked, as Ray's own dashboard does, and secrets elsewhere."""
    masked: dict[str, Any] = {}
    for name, value in runtime_env.items():
        if name == "env_vars" and isinstance(value, Mapping):
            masked[name] = {str(variable): REDACTED for variable in value}
        elif name == "env_vars" and value is not None:
            masked[name] = REDACTED
        else:
            masked[name] = _mask_tree(name, value, 0)
    return masked


def _mask_tree(name: str, value: Any, depth: int) -> Any:
    if depth > MAX_DEPTH:
        return REDACTED
    if isinstance(value, Mapping):
        if name == "env_vars":
            return {str(variable): REDACTED for variable in value}
        return {str(key): _mask_tree(str(key), item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_mask_tree(name, item, depth + 1) for item in value]
    if isinstance(value, str):
        return REDACTED if value and is_secret_name(name) else mask_text(value)
    return REDACTED if is_secret_name(name) and value is not None and not isinstance(value, bool) else value


def _mask_url_user(found: re.Match[str]) -> str:
    """A password is masked with its user; a lone user only where it may be a token (https), not in ssh://git@host."""
    scheme, user = found.group("scheme"), found.group("user")
    if ":" in user or scheme.lower() in {"http://", "https://"}:
        return f"{scheme}{REDACTED}@"
    return found.group()


def _mask_assigned(found: re.Match[str]) -> str:
    """`KEY=value`, `--key=value`, `"key": "value"`. Prose such as "invalid token: x" is no assignment."""
    key, between, value = found.group("key"), found.group("between"), found.group("value")
    if not is_secret_name(key) or _is_plain(key, value):
        return found.group()
    is_quoted_key = found.group("head").lstrip("-")[0] in "\"'"
    if ":" in between and not (is_quoted_key or "_" in key or "-" in key or key.lower() in {"password", "passwd", "authorization"}):
        return found.group()
    if "=" in between and between != "=" and value[0] not in "\"'":
        return found.group()  # code: self.token = token
    return found.group("head") + _masked_value(value)


def _mask_flag(found: re.Match[str]) -> str:
    """`--token value`."""
    key, value = found.group("key"), found.group("value")
    if not is_secret_name(key) or _is_plain(key, value):
        return found.group()
    return found.group("head") + _masked_value(value)


def _masked_value(value: str) -> str:
    quote = value[0] if value[0] in "\"'" else ""
    return f"{quote}{REDACTED}{quote}"


def _is_plain(key: str, value: str) -> bool:
    """A value that gives nothing away: nothing, a variable's name, or already masked."""
    bare = value.strip("\"'")
    return bare.lower() in _PLAIN_VALUES or bare.startswith(("$", "os.environ", REDACTED)) or bare == key
