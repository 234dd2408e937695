"""Secrets that are known by their own look, whatever stands before them: tokens of services, key files, addresses with a password.

Every pattern is bounded, or eats what it has looked at: masking takes time in proportion to the text, whatever the text.
"""

from __future__ import annotations

import base64
import binascii
import re

REDACTED = "<redacted>"  # Ray's own word for it

# Nearly every token is a prefix, one of these signs and a long word: few texts hold that, and a fixed first letter is found quickly.
_LONG_WORDS = (
    ("_", re.compile(r"_[A-Za-z0-9+/]{16}")),
    ("-", re.compile(r"-[A-Za-z0-9_-]{10}")),
    (".", re.compile(r"\.[A-Za-z0-9_-]{16}")),
)
_UNSIGNED = ("eyJ", "AKIA", "ASIA", "AIza", "dapi", "github_pat_")
_SHORTEST = 15

_TOKENS = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"(?:AKIA|ASIA)[0-9A-Z]{16}"  # AWS
    r"|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_.-]{20,}"  # GitHub, GitLab
    r"|(?:hf|api_org)_[A-Za-z0-9]{20,}"  # Hugging Face
    r"|sk-(?=[A-Za-z_-]{0,64}[0-9])[A-Za-z0-9_-]{20,}"  # OpenAI, Anthropic and who copied them
    r"|[rs]k_(?:live|test)_[A-Za-z0-9]{16,}|whsec_[A-Za-z0-9+/=]{20,}"  # Stripe
    r"|xox[abeoprs](?:[.-][A-Za-z0-9]{1,64}){0,4}-[A-Za-z0-9-]{10,}|xapp-[A-Za-z0-9-]{20,}"  # Slack
    r"|AIza[0-9A-Za-z_-]{35}|ya29\.[0-9A-Za-z_-]{20,}|GOCSPX-[0-9A-Za-z_-]{20,}"  # Google
    r"|npm_[A-Za-z0-9]{36}|pypi-[A-Za-z0-9_-]{40,}|dop_v1_[0-9a-f]{64}|dapi[0-9a-f]{32}(?:-\d)?"
    r"|SG\.[A-Za-z0-9_-]{16,64}\.[A-Za-z0-9_-]{16,}|nvapi-[A-Za-z0-9_-]{20,}|gsk_[A-Za-z0-9]{20,}|xai-[A-Za-z0-9]{20,}"
    r"|r8_[A-Za-z0-9]{30,}|pplx-[A-Za-z0-9]{20,}|hvs\.[A-Za-z0-9_-]{20,}|lsv2_(?:pt|sk)_[A-Za-z0-9_]{20,}"
    r"|AGE-SECRET-KEY-1[0-9A-Z]{20,}|shpat_[0-9a-fA-F]{32}"
    r"|rd_[A-Za-z0-9]{4,64}_[A-Za-z0-9_-]{16,}"  # Raydeck
    r"|eyJ[A-Za-z0-9_-]{8,4096}\.[A-Za-z0-9_-]{8,8192}\.[A-Za-z0-9_.-]{4,}"  # JSON Web Tokens
    r")"
)
_WEBHOOK = re.compile(r"(hooks\.slack\.com/(?:services|workflows)/|discord(?:app)?\.com/api/webhooks/)[A-Za-z0-9_/-]{8,}")
_URL_USER = re.compile(r"(?P<scheme>\b[A-Za-z][A-Za-z0-9+.-]{0,30}://)(?P<user>[^\s/?#\"'<>]{1,4096})@")
_URL_SLASHED_PASSWORD = re.compile(
    r"(\b[A-Za-z][A-Za-z0-9+.-]{0,30}://)[^\s/?#\"'<>@:\[\]]{0,256}:(?!\d{1,5}[/?#])[^\s\"'<>@]{1,512}@(?=[^\s\"'<>/]{1,256})"
)
_PRIVATE_KEY = re.compile(
    r"(-----BEGIN [A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----).*?(-----END [A-Z ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\Z)", re.DOTALL
)
_SCHEME = re.compile(r"\b(?P<scheme>Bearer|Basic)[ \t]{1,8}(?P<value>[A-Za-z0-9._~+/=-]{8,8192})", re.IGNORECASE)
_LOOKS_RANDOM = re.compile(r"[A-Za-z._~+/=-]{0,64}[0-9]|[A-Za-z._~+/=-]{32}")


def mask_tokens(text: str) -> str:
    """Tokens of services, JSON Web Tokens, Raydeck's own."""
    if len(text) < _SHORTEST:
        return text
    if "hooks" in text:
        text = _WEBHOOK.sub(rf"\1{REDACTED}", text)
    signed = any(sign in text and word.search(text) for sign, word in _LONG_WORDS)
    return _TOKENS.sub(REDACTED, text) if signed or any(map(text.__contains__, _UNSIGNED)) else text


def mask_private_keys(text: str) -> str:
    """What stands in a PEM private key; to the end of the text where it is cut off."""
    return _PRIVATE_KEY.sub(rf"\1{REDACTED}\2", text)


def mask_addresses(text: str) -> str:
    """User and password of an address."""
    return _URL_SLASHED_PASSWORD.sub(rf"\1{REDACTED}@", _URL_USER.sub(_masked_user, text))


def mask_schemes(text: str) -> str:
    """`Bearer …` and `Basic …`, wherever they stand, where what follows is no English word."""
    return _SCHEME.sub(_masked_scheme, text)


def is_basic(value: str) -> bool:
    """Whether a value is user and password as HTTP's Basic scheme writes them."""
    try:
        return b":" in base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return False


def _masked_user(found: re.Match[str]) -> str:
    """A password is masked with its user; a lone user only where it may be a token (https), not in ssh://git@host."""
    scheme, user = found["scheme"], found["user"]
    if ":" in user or scheme.lower() in {"http://", "https://"}:
        return f"{scheme}{REDACTED}@"
    return found.group()


def _masked_scheme(found: re.Match[str]) -> str:
    scheme, value = found["scheme"], found["value"]
    is_secret = is_basic(value) if scheme.lower() == "basic" else _LOOKS_RANDOM.match(value) is not None
    return f"{scheme} {REDACTED}" if is_secret else found.group()
