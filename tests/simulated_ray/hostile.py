"""Texts that a cluster may hold and that must be shown as text, whole, and do nothing. For every suite that shows or stores a name.

A script that runs sets `window.pwned`: a browser test asserts that it is undefined.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

MARK = "pwned"
SCRIPT = f"window.{MARK}=1"
LONG = 100_000  # characters


@dataclass(frozen=True)
class Hostile:
    """One text, and a word for test ids."""

    name: str
    text: str


TEXTS: tuple[Hostile, ...] = (
    # HTML and script
    Hostile("script", f"<script>{SCRIPT}</script>"),
    Hostile("script-src", '<script src="http://192.0.2.1/x.js"></script>'),
    Hostile("img-onerror", f"<img src=x onerror={SCRIPT}>"),
    Hostile("svg-onload", f"<svg/onload={SCRIPT}>"),
    Hostile("iframe", f'<iframe srcdoc="&lt;script&gt;parent.{MARK}=1&lt;/script&gt;"></iframe>'),
    Hostile("style", "<style>*{display:none}</style>"),
    Hostile("comment", "<!-- --><b>bold</b><!--"),
    Hostile("cdata", "]]><![CDATA["),
    Hostile("close-all", "</td></tr></table></main></body></html>"),
    Hostile("textarea", f"</textarea></title></script><script>{SCRIPT}</script>"),
    Hostile("form", '<form action="http://192.0.2.1/"><input name=password type=password>'),
    Hostile("base", '<base href="http://192.0.2.1/">'),
    Hostile("meta-refresh", '<meta http-equiv="refresh" content="0;url=http://192.0.2.1/">'),
    Hostile("entities", "&lt;script&gt; &amp;amp; &#x3c;b&#x3e; &quot;"),
    # out of an attribute
    Hostile("attribute-double", f'" autofocus onfocus={SCRIPT} x="'),
    Hostile("attribute-single", f"' onmouseover='{SCRIPT}' x='"),
    Hostile("attribute-backtick", f"` onclick={SCRIPT} `"),
    Hostile("attribute-htmx", f'" hx-get="/login" hx-trigger="load" hx-on:load="{SCRIPT}'),
    Hostile("javascript-url", f"javascript:{SCRIPT}"),
    Hostile("data-url", f"data:text/html,<script>{SCRIPT}</script>"),
    # templates and formats
    Hostile("jinja", "{{ config.SECRET_KEY }}{% for x in ().__class__.__mro__ %}{{ x }}{% endfor %}{# #}"),
    Hostile("percent-format", "%s %d %(name)s %n %%"),
    Hostile("brace-format", "{0} {name!r} {__class__} ${HOME} $(id) `id`"),
    Hostile("json-break", '"},{"actor_id":"x"}]</script>'),
    Hostile("sql", "'; DROP TABLE actors; --"),
    Hostile("sql-like", "%_%\\%"),
    Hostile("fts", 'NEAR("a" "b") OR name:* AND -x ^"'),
    # spreadsheets, terminals, headers, paths
    Hostile("csv-formula", '=HYPERLINK("http://192.0.2.1/","click")'),
    Hostile("csv-command", "+cmd|' /C calc'!A0"),
    Hostile("csv-at", '@SUM(1+1)*cmd,"quoted",\r\n-2+3'),
    Hostile("ansi", "\x1b[31;1mred\x1b[0m\x1b[2J\x1b[H"),
    Hostile("osc", "\x1b]0;title\x07\x1b]8;;http://192.0.2.1/\x1b\\link\x1b]8;;\x1b\\\x1b]52;c;cHduZWQ=\x07"),
    Hostile("crlf-header", "x\r\nX-Injected: 1\r\n\r\n<html>"),
    Hostile("path", "../../../../etc/passwd\x00.db"),
    # characters
    Hostile("nul", "a\x00b"),
    Hostile("c0", "".join(chr(code) for code in range(1, 32))),
    Hostile("c1", "".join(chr(code) for code in range(0x7F, 0xA0))),
    Hostile("bidi", "invoice\u202egpj.exe\u202c \u2066\u2067isolated\u2069\u2069"),
    Hostile("zero-width", "ray\u200b\u200c\u200d\u2060\ufeffdeck \u00ad"),
    Hostile("line-separators", "one\u2028two\u2029three\u0085four\x0bfive\x0csix"),
    Hostile("combining", "Z" + "\u0321\u0352\u036f" * 200),
    Hostile("noncharacters", "\ufffe\uffff\U0001ffff \U000e0041\U000e007f \ufffd"),
    Hostile("emoji", "\U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 \U0001f3f4\U000e0067\U000e0062\U000e007f"),
    Hostile("homograph", "\u0430dmin \uff1cscript\uff1e \u2044 \u037e"),
    # sizes
    Hostile("empty", ""),
    Hostile("spaces", " \t\n\u00a0\u3000 "),
    Hostile("long", "<b>" + "A" * (LONG - 7) + "</b>"),
    Hostile("long-wide", "\U0001f4a5" * (LONG // 4)),
    Hostile("long-id", "raysubmit_" + "x" * 4_000),
    Hostile("many-lines", "line\n" * 20_000),
)

# What protobuf and JSON carry, but a text in Python, SQLite or a page cannot: for JSON records in the key-value store.
LONE_SURROGATES: tuple[Hostile, ...] = (
    Hostile("high-surrogate", "a\ud800b"),
    Hostile("low-surrogate", "\udc00"),
    Hostile("swapped-surrogates", "\udc00\ud800"),
)
# Bytes that are not UTF-8. A builder given bytes for a text field puts them on the wire as they are; Ray's C++ would send them too.
NOT_UTF8: tuple[tuple[str, bytes], ...] = (
    ("continuation", b"\x80\xbf"),
    ("truncated", "caf\u00e9".encode()[:-1]),
    ("overlong-slash", b"\xc0\xaf"),
    ("encoded-surrogate", b"\xed\xa0\x80"),
    ("latin-1", "na\u00efve".encode("latin-1")),
    ("all-ones", b"\xff\xfe\xff"),
)


def by_name(name: str) -> str:
    """The text of that name."""
    return next(one.text for one in TEXTS if one.name == name)


@dataclass
class Planted:
    """Where `plant` put each text: ids by the text's name."""

    nodes: dict[str, str]
    jobs: dict[str, str]
    submissions: dict[str, str]
    actors: dict[str, str]
    workers: dict[str, str]
    placement_groups: dict[str, str]
    tasks: dict[str, str]


def plant(cluster: Any, texts: tuple[Hostile, ...] = TEXTS) -> Planted:
    """Put every text into every text field of a row of each kind. `cluster` is a SimulatedRay or a RemoteRay."""
    planted = Planted({}, {}, {}, {}, {}, {}, {})
    for one in texts:
        _plant_text(cluster, one, planted)
    return planted


def _plant_text(cluster: Any, one: Hostile, planted: Planted) -> None:
    text = one.text
    node = cluster.add_node(
        node_name=text, node_manager_hostname=text, labels={text: text}, resources_total={"CPU": 1.0, text: 1.0}, instance_id=text
    )
    planted.nodes[one.name] = node
    planted.jobs[one.name] = cluster.add_job(entrypoint=text, metadata={"job_name": text, text: text}, ray_namespace=text)
    planted.submissions[one.name] = cluster.add_submission(
        entrypoint=text,
        message=text,
        status="FAILED",
        metadata={"job_name": text, text: text},
        runtime_env_json=json.dumps({"env_vars": {text: text}}),
    )
    planted.actors[one.name] = cluster.add_actor(
        state="DEAD",
        class_name=text,
        name=text,
        repr_name=text,
        ray_namespace=text,
        call_site=text,
        required_resources={text: 1.0},
        death_cause={"actor_died_error_context": {"error_message": text, "reason": "WORKER_DIED"}},
    )
    worker = cluster.add_worker()
    cluster.kill_worker(worker, exit_type="USER_ERROR", exit_detail=text)
    planted.workers[one.name] = worker
    planted.placement_groups[one.name] = cluster.add_placement_group([{"CPU": 1.0, text: 1.0}], name=text, ray_namespace=text)
    planted.tasks[one.name] = cluster.add_task(
        state="FAILED",
        info={
            "name": text,
            "func_or_class_name": text,
            "call_site": text,
            "required_resources": {text: 1.0},
            "label_selector": {text: text},
        },
        updates={"error_info": {"error_type": "TASK_EXECUTION_EXCEPTION", "error_message": text}, "actor_repr_name": text},
    )


def params() -> list[Any]:
    """All texts as pytest parameters with readable ids."""
    return [pytest.param(one.text, id=one.name) for one in TEXTS]
