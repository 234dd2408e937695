"""The load generator measures what it says: due times, tags, errors, and what a page itself polls."""

from __future__ import annotations

import asyncio
import gzip
import math
import os
from collections.abc import Awaitable, Callable

from benchmarks.http_client import Connection
from benchmarks.load import HEALTH, SEARCH, Figures, Load, Plan
from benchmarks.machine import busy_seconds, costs
from benchmarks.polling import Poll, poll_of

Reply = Callable[[str, dict[str, str]], bytes]


async def serving(reply: Reply, body: Callable[[str], Awaitable[None]]) -> None:
    """Run `body` with the URL of a small keep-alive server that answers with the bytes of `reply`."""

    handlers: list[asyncio.Task[None] | None] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.append(asyncio.current_task())
        try:
            while True:
                first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = dict(line.split(": ", 1) for line in lines if ": " in line)
                writer.write(reply(first.split(" ")[1], headers))
                await writer.drain()
        except asyncio.IncompleteReadError:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        await body(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    finally:
        server.close()
        await asyncio.gather(*(task for task in handlers if task))


def response(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "", ""]).encode() + body


def test_a_packed_and_a_chunked_answer_are_read_to_their_end() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    answers = {
        "/gzip": response(gzip.compress(b"packed"), "Content-Encoding: gzip"),
        "/chunked": chunked,
        "/not-modified": b"HTTP/1.1 304 X\r\n\r\n",
    }

    async def body(url: str) -> None:
        connection = Connection(url)
        found = [await connection.get(path, {}) for path in answers]
        connection.close()
        assert [answer.text() for answer in found] == ["packed", "abcde", ""]
        assert [answer.status for answer in found] == [200, 200, 304]
        assert found[1].size == len(chunked) - len(b"3\r\n\r\n2\r\n\r\n0\r\n\r\n")

    asyncio.run(serving(lambda path, _: answers[path], body))


def tagged(seen: list[tuple[str, str | None]]) -> Reply:
    """A server whose page has the tag v1 and never changes."""

    def reply(path: str, headers: dict[str, str]) -> bytes:
        if path == "/healthz":
            return response(b"ok")
        assert (headers["Authorization"], headers["HX-Request"], headers["HX-Target"]) == ("Bearer t", "true", "div#rows")
        seen.append((path, headers.get("HX-PTag")))
        if headers.get("HX-PTag") == "v1":
            return b"HTTP/1.1 304 Not Modified\r\nHX-PTag: v1\r\n\r\n"
        return response(b"row", "HX-PTag: v1")

    return reply


def test_a_user_sends_the_tag_of_the_last_answer() -> None:
    seen: list[tuple[str, str | None]] = []

    async def body(url: str) -> None:
        load = Load(Plan(url, "t", [("actors", Poll("/a", "div#rows"))], [], users=2, seconds=2.0, warm_up_s=0.0, search_share=0.0))
        await load.run()
        assert load.figures["actors"].statuses == {200: 2, 304: 2}
        assert load.figures[HEALTH].count >= 7
        assert not any(figures.errors for figures in load.figures.values())

    asyncio.run(serving(tagged(seen), body))
    assert [tag for _, tag in seen] == [None, None, "v1", "v1"]


def test_a_search_is_asked_once_and_without_a_tag() -> None:
    seen: list[tuple[str, str | None]] = []

    async def body(url: str) -> None:
        paths = ["/a?q=x", "/a?q=y"]
        load = Load(
            Plan(url, "t", [("actors", Poll("/a", "div#rows", "v1"))], paths, users=1, seconds=3.0, warm_up_s=0.0, search_share=1.0)
        )
        await load.run()
        assert (load.figures[SEARCH].count, load.figures["actors"].statuses) == (2, {304: 1})

    asyncio.run(serving(tagged(seen), body))
    assert seen == [("/a?q=x", None), ("/a?q=y", None), ("/a", "v1")]


def test_a_slow_server_is_charged_from_when_the_request_was_due() -> None:
    async def body(url: str) -> None:
        load = Load(Plan(url, "t", [("page", Poll("/"))], [], users=1, seconds=2.0, warm_up_s=0.0, search_share=0.0))
        connection_get = Connection.get

        async def late(self: Connection, path: str, headers: dict[str, str]) -> object:
            if path == "/":
                await asyncio.sleep(1.5)
            return await connection_get(self, path, headers)

        Connection.get = late  # type: ignore[assignment]  # a slow network, for this test
        try:
            await load.run()
        finally:
            Connection.get = connection_get  # type: ignore[method-assign]
        first, second = load.figures["page"].latencies_s
        assert first >= 1.5
        assert second >= 2.0  # due after 1 s, sent after 1.5 s

    asyncio.run(serving(lambda *_: response(b""), body))


def test_a_server_that_does_not_answer_is_an_error_and_not_a_crash() -> None:
    async def run() -> Load:
        load = Load(Plan("http://127.0.0.1:1", "t", [("page", Poll("/"))], [], users=1, seconds=0.5, warm_up_s=0.0, search_share=0.0))
        await load.run()
        return load

    assert asyncio.run(run()).figures["page"].errors == {0: 1}


def test_what_a_page_polls_is_read_from_the_page() -> None:
    page = (
        '<form hx-get="/x"></form><section id="table" hx-get="actors?sort=name&amp;limit=50" hx-trigger="every 1s [visible]" hx-ptag="v7">'
    )
    assert poll_of("/c/demo/actors", page) == Poll("/c/demo/actors?sort=name&limit=50", "section#table", "v7")
    assert poll_of("/c/demo/", "<p>nothing</p>") is None


def test_percentiles_and_shares_are_of_all_answers() -> None:
    figures = Figures()
    figures.latencies_s += [number / 1000 for number in range(1, 101)]
    figures.statuses.update({200: 25, 304: 70, 500: 5})
    assert figures.percentile_ms(0.5) == 51.0
    assert figures.percentile_ms(0.95) == 96.0
    assert figures.not_modified == 0.7
    assert figures.errors == {500: 5}
    assert math.isnan(Figures().percentile_ms(0.5))


def test_the_cost_of_this_process_is_seen() -> None:
    [cost] = costs({"me": os.getpid()}).values()
    assert cost.pss_bytes > 5_000_000
    assert cost.cpu_s > 0
    busy, total = busy_seconds()
    assert 0 < busy < total
