"""Which names hold secrets: of keys, options, variables and headers. HF_TOKEN does, max_tokens and password_file do not."""

from __future__ import annotations

import re

_SECRET_WORDS = frozenset(
    {"password", "passwd", "passphrase", "secret", "secrets", "apikey", "secretkey", "accesskey", "privatekey", "credential", "credentials"}
)
_KEYS_OF = frozenset(
    {"api", "access", "secret", "private", "signing", "encryption", "auth", "account", "license", "shared", "master", "storage"}
    | {"subscription", "session", "webhook", "hmac", "jwt", "openai", "anthropic", "wandb"}
)
_PASS_OF = frozenset(
    {"db", "database", "user", "smtp", "imap", "ldap", "mail", "email", "ftp", "ssh", "mysql", "pg", "postgres", "sql", "redis", "mongo"}
    | {"admin", "root", "auth", "login", "http", "proxy", "keystore", "truststore", "rabbitmq", "git", "docker", "registry", "account"}
)
_SIGNATURES_OF = frozenset({"amz", "goog", "sas", "access"})
# Tokens of a language model and counters are no credentials: eos_token, per_token, max_token.
_TEXT_TOKENS = frozenset(
    {"eos", "bos", "pad", "unk", "mask", "sep", "cls", "next", "per", "special", "image", "start", "end", "stop"}
    | {"max", "min", "num", "last", "first"}
)
# A thing beside the secret, not the secret: secret_name, password_file, token_path, credentials_dir.
_POINTERS = frozenset(
    {"name", "names", "file", "files", "path", "paths", "dir", "arn", "ref", "length", "len", "type", "kind", "url", "uri", "ttl"}
    | {"policy", "provider", "manager", "store", "backend", "engine", "version", "count", "size", "limit", "scope", "scopes", "region"}
    | {"field", "hint", "prompt", "mode", "method", "enabled", "required", "expires", "expiry", "timeout", "age", "days"}
)
_CLAIMS = frozenset(
    {"no", "use", "skip", "has", "is", "with", "without", "enable", "disable", "allow", "require", "show", "check", "validate"}
)
_SECRET_ENDINGS = ("password", "passwd", "passphrase", "secret", "token", "apikey", "sshpass")
"""Of words written together: PGPASSWORD, authtoken."""

_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
NAME_READ = 256
"""Of a long name only the end is looked at: that is where it says what it is."""


def parts_of(name: str) -> list[str]:
    """The words of a name, in lower case: dbPassword and DB_PASSWORD are both `db`, `password`."""
    return [part.lower() for part in _PARTS.findall(name[-NAME_READ:])]


def is_secret_name(name: str) -> bool:
    """Whether a key, option or variable of this name holds a secret: HF_TOKEN, api-key, dbPassword; not max_tokens."""
    parts = parts_of(name)
    if not parts or parts[-1] in _POINTERS:
        return False
    if _SECRET_WORDS.intersection(parts):
        return True
    last, before = parts[-1], parts[-2] if len(parts) > 1 else ""
    if last not in {"token", "pass"} and last.endswith(_SECRET_ENDINGS):
        return True
    return _is_secret_ending(last, before, parts)


def _is_secret_ending(last: str, before: str, parts: list[str]) -> bool:
    """By the last word, for words that are secrets in some company only."""
    if last == "token":
        return before not in _TEXT_TOKENS
    if last == "key" or (last == "id" and before == "key"):
        return bool(_KEYS_OF.intersection(parts))
    if last in {"signature", "sig"}:
        return before in _SIGNATURES_OF
    if last == "pass":
        return before in _PASS_OF
    return (last in {"pwd", "pw"} and before != "") or parts == ["authorization"]


def is_claim(name: str) -> bool:
    """Whether an option says something of a secret and takes none: --use-token, --no-password."""
    return parts_of(name)[:1] != [] and parts_of(name)[0] in _CLAIMS
