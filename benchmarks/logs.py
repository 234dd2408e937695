"""Logs of a real cluster of two raylets: a huge file, very many files, a search beside ripgrep itself, following, and keeping.

`python -m benchmarks logs`. Real raylets on this machine share one log folder, so each file is searched once. Everything is asked as a
browser asks it; the last phase holds as many connections as people look on.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from benchmarks import log_keeping, machine
from benchmarks.instance import raydeck_up
from benchmarks.load import Figures
from benchmarks.log_keeping import Load
from benchmarks.pages import Site
from benchmarks.site import Asked, ask, rows
from tests.workers.real_ray_cluster import RealRay, real_ray
from workers.sources.log_search import Wanted, ripgrep

BLOCK_BYTES = 4 << 20
LOOKS = 40
NEEDLES = 1000
SEARCH_FILES = 2000
WRITES, WRITE_EVERY_S = 60, 0.25
FILES_OF_ONE = 10
"""That each person follows: Raydeck limits them."""
HITS = ("hit one in a hundred thousand", "nothing has this", "(?:warn|error) [0-9]+ of zq[a-f]+")

MALICIOUS = (
    *(f"{inner}{outer}!?$" for inner in ("(a+)", "(a|a)", "(a|aa)", "(.*a)", "([a-z]+)") for outer in ("+", "*", "{10}", "{1,200}")),
    *("(" * depth + "a" + ")+" * depth + "b" for depth in (5, 20, 60, 120, 300)),
    *("(?:" * depth + "a" + "){10}" * depth for depth in (2, 3, 5, 8, 40)),
    *(f"a{{{least},{most}}}b" for least, most in ((0, 1000), (1000, 1000), (0, 100_000), (1, 4_000_000_000), (5, 2))),
    *(rf"[\s\S]{{{count}}}x" for count in (100, 1000, 10_000, 1_000_000)),
    *("|".join(f"{number:x}{'.' * wild}" for number in range(160)) for wild in (0, 1, 3)),
    r"(a)\1+", r"(?=a+)b", r"(?<!a)b", r"(?P<a>a)(?P=a)", r"(?>a+)b", r"a++b", r"\p{L}{500}", r"(?i)(?:k|K|\u212a){200}", r"\w{1000}\W",
    "(", ")", "[", "[z-a]", "*", "a**", "\\", "(?", "(?z)", r"\x{110000}", "\0", "a\nb", "." * 1000, "(" * 999, "é" * 400,
)  # fmt: skip


@dataclass(frozen=True)
class Bench:
    """What is measured, and where its log files lie."""

    site: Site
    folder: Path
    node_id: str
    pids: dict[str, int]
    state_dir: str

    def tokens(self, people: int) -> list[str]:
        """Of so many viewers, each with an API token."""
        return [self._token(f"viewer{number}") for number in range(people)]

    def _token(self, name: str) -> str:
        for words in (["user", "add", name, "--no-password"], ["token", "create", name, "--name", "benchmark"]):
            command = [sys.executable, "-m", "webapp.cli", *words, "--state-dir", self.state_dir]
            answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return answer.strip()

    def page_of(self, name: str) -> str:
        """The path of a file's page, below the cluster's."""
        text = ask(self.site, f"logs?{urlencode({'node': self.node_id, 'name': name, 'empty': 1})}").text
        found = re.findall(rf"/logs/{self.node_id}/([A-Za-z0-9_-]+)", text)
        if not found:
            raise RuntimeError(f"{name} is not listed")
        return f"logs/{self.node_id}/{found[0]}"


def main(arguments: list[str]) -> int:
    """Run it and print. Returns 0, or 1 if something was not found; figures decide nothing here."""
    options = _options(arguments)
    _tell(f"load {machine.load_average()}")
    phases: list[Callable[[Bench], bool]] = [
        lambda bench: _huge_file(bench, options.big_gb),
        lambda bench: _many_files(bench, options.files),
        lambda bench: _search(bench, options.search_gb),
        lambda bench: not options.patterns or _malicious(bench),
        lambda bench: _follow(bench, options.followers),
        lambda bench: not options.keep_s or _keep(bench, Load(options.keep_mb_s, options.keep_files, options.keep_s)),
    ]
    with real_ray(nodes=2) as ray, raydeck_up(ray.address) as ready:
        bench = _bench(ray, Site(ready["url"], ready["admin_token"], ready["cluster"]), ready["pids"], ready["state_dir"])
        good = [phase(bench) for phase in phases]
    _tell(f"load {machine.load_average()}")
    return 0 if all(good) else 1


def _bench(ray: RealRay, site: Site, pids: dict[str, int], state_dir: str) -> Bench:
    words = Path(f"/proc/{machine.descendant(ray.keeper.pid, 'raylet')}/cmdline").read_bytes().decode().split("\0")
    folder = next(Path(word.partition("=")[2]) for word in words if word.startswith("--log_dir="))
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        nodes = rows(site, "nodes.json?state=ALIVE&columns=node_id,is_head_node")
        if len(nodes) == 2 and ask(site, f"logs?node={nodes[0]['node_id']}").text.count("raylet.out"):
            head = next(node["node_id"] for node in nodes if node["is_head_node"])
            return Bench(site, folder, head, pids, state_dir)
        time.sleep(0.5)
    raise RuntimeError("The nodes did not come.")


def _huge_file(bench: Bench, gigabytes: float) -> bool:
    """First paint at its end, and jumps to anywhere."""
    if not gigabytes:
        return True
    path = bench.folder / "huge-benchmark.log"
    size = int(gigabytes * 1e9)
    try:
        _write_lines(path, size)
        page = bench.page_of(path.name)
        with _most_memory(bench.pids) as most:
            looks: dict[str, Callable[[], str]] = {
                "its end": lambda: page,
                "a jump": lambda: f"{page}?at={random.randrange(size)}",
                "a jump to a time": lambda: f"{page}?{urlencode({'time': _iso(random.random())})}",
                "a text, the last that matches": lambda: f"{page}?{urlencode({'q': HITS[0]})}",
                "a text, the next from anywhere": lambda: f"{page}?{urlencode({'q': HITS[0], 'hit': random.randrange(size)})}",
            }
            for name, address in looks.items():
                _looked(f"{gigabytes:g} GB file, {name}", [ask(bench.site, address()) for _ in range(LOOKS)])
        _tell("most memory beyond the beginning: " + ", ".join(f"{role} {most[role] / 1e6:+.1f} MB" for role in most))
    finally:
        path.unlink(missing_ok=True)
    return True


def _many_files(bench: Bench, count: int) -> bool:
    """A page of the list of very many."""
    if not count:
        return True
    folder = bench.folder / "many"
    with _folder_of_files(folder):
        for number in range(count):
            (folder / f"worker-{number:056x}-01000000-{number}.out").write_bytes(b"printed\n")
        for name, query in {"first page": "", "a part of a name": "&name=00ff", "one group": "&group=worker&sort=-size"}.items():
            _looked(f"{count:,} files, {name}", [ask(bench.site, f"logs?node={bench.node_id}{query}") for _ in range(LOOKS)])
        _looked(f"{count:,} files, every node", [ask(bench.site, "logs?node=all") for _ in range(LOOKS)])
    return True


def _search(bench: Bench, gigabytes: float) -> bool:
    """Wall time beside ripgrep with the same flags on the same files, and planted needles."""
    if not gigabytes:
        return True
    folder = bench.folder / "searched"
    with _folder_of_files(folder):
        files = [folder / f"search-{number:04d}.log{'.1' if number % 10 == 0 else ''}" for number in range(SEARCH_FILES)]
        for path in files:
            _write_lines(path, int(gigabytes * 1e9 / SEARCH_FILES))
        planted = _plant(files)
        for path in files:  # the cache is warm for both
            path.read_bytes()
        for pattern in HITS:
            for is_regex in (False, True) if "(" not in pattern else (True,):
                _compare(bench, files, pattern, is_regex=is_regex)
        return _find_needles(bench, planted)


def _compare(bench: Bench, files: list[Path], pattern: str, *, is_regex: bool) -> None:
    wanted = Wanted(pattern, is_regex=is_regex, any_case=False)
    ratios = []
    for _ in range(3):
        began = time.monotonic()
        subprocess.run([str(ripgrep()), *wanted.arguments(), "--", *map(str, files)], stdout=subprocess.DEVNULL, env={}, check=False)
        by_hand = time.monotonic() - began
        first, whole, hits = _searched(bench, pattern, is_regex=is_regex)
        ratios.append(whole / by_hand)
        told = f"first hit {first:.2f} s, " if hits else ""
        kind = "expression" if is_regex else "text"
        _tell(f"search for {kind} {pattern!r}: {told}all {whole:.2f} s with {hits:,} hits; rg by hand {by_hand:.2f} s")
    _tell(f"  wall time {sorted(ratios)[1]:.2f} times rg's (median of 3)")


def _searched(bench: Bench, pattern: str, *, is_regex: bool) -> tuple[float, float, int]:
    """(seconds to the first hit on a page, to the end of a whole search, hits)."""
    asked = {"q": pattern, "case": 1, "file": "search-", **({"regex": 1} if is_regex else {})}
    began = time.monotonic()
    answer = ask(bench.site, f"logs/search.json?{urlencode({**asked, 'limit': 1})}").content()
    whole = time.monotonic() - began
    return _first_hit(bench, asked) if answer["matching"] else 0.0, whole, int(answer["matching"])


def _first_hit(bench: Bench, asked: dict[str, object]) -> float:
    began = time.monotonic()
    location = _redirected(bench.site, f"logs/search?{urlencode(asked)}")
    while 'class="found-file"' not in (text := ask(bench.site, location).text):
        if time.monotonic() - began > 60:
            raise RuntimeError(f"a search finds nothing: {text[:2000]}")
        time.sleep(0.05)
    first = time.monotonic() - began
    while "files searched" not in ask(bench.site, location).text:
        time.sleep(0.5)
    return first


def _redirected(site: Site, path: str) -> str:
    """Starts a search; the address at which its results stand."""
    text = ask(site, path).text
    found = re.search(r'hx-get="(\?[^"]*run=[^"]*)"', text) or re.search(r'href="[^"]*(\?[^"]*run=[^"]*)"', text)
    if found is None:
        raise RuntimeError(f"no search was started: {text[:2000]}")
    return f"logs/search{unescape(found[1])}"


def _plant(files: list[Path]) -> dict[str, tuple[str, int]]:
    """Needles at edges of blocks, at the end without a newline, in rotated files: word to (file, byte of its line)."""
    chosen, planted = random.Random(7), {}
    for number in range(NEEDLES):
        word, path = f"needle{number:04d}zq", files[number * 2 % len(files)]
        with path.open("r+b") as file:
            size = file.seek(0, os.SEEK_END)
            if number % 3 == 0:
                file.write(f"last line {word}".encode())
                planted[word] = (path.name, size)
                continue
            at = (chosen.randrange(1, size >> 16) << 16) - chosen.randrange(len(word)) if number % 3 == 1 else chosen.randrange(size)
            file.seek(max(0, at - 4096))
            start = max(0, at - 4096) + file.read(4096).rfind(b"\n") + 1
            file.seek(start)
            line = file.readline()
            text = f"{word} stands in this line ".encode()[: len(line) - 1]
            file.seek(start)
            file.write(text)
            planted[word] = (path.name, start)
    return planted


def _find_needles(bench: Bench, planted: dict[str, tuple[str, int]]) -> bool:
    query = urlencode({"q": "needle[0-9]{4}zq", "regex": 1, "case": 1, "file": "search-", "limit": 10_000})
    answer = ask(bench.site, f"logs/search.json?{query}").content()
    found = {}
    for row in answer["rows"]:
        word = re.search(r"needle[0-9]{4}zq", row["text"])
        if word:
            found[word[0]] = (row["file"].rpartition("/")[2], row["offset"])
    right = sum(found.get(word) == place for word, place in planted.items())
    _tell(f"planted needles: {right:,} of {len(planted):,} found at their place, {answer['matching']:,} hits, exact: {answer['exact']}")
    return bool(right == len(planted) == answer["matching"])


def _follow(bench: Bench, people: int) -> bool:
    """How late a written line is on pages that follow, and what that costs the node."""
    if not people:
        return True
    path = bench.folder / "followed-benchmark.log"
    try:
        good, tokens = True, bench.tokens(-(-people // FILES_OF_ONE))
        for count in (1, people):
            path.write_text("first\n")
            page = ask(bench.site, bench.page_of(path.name) + "?follow=1").text
            address = re.search(r'data-follow="([^"]+)"', page)
            if address is None:
                raise RuntimeError("The page does not follow.")
            before, began = machine.costs(bench.pids), time.monotonic()
            late = asyncio.run(_followed(bench.site, unescape(address[1]), path, [tokens[n % len(tokens)] for n in range(count)]))
            elapsed, after = time.monotonic() - began, machine.costs(bench.pids)
            share = {role: (after[role].cpu_s - before[role].cpu_s) / elapsed for role in ("follower", "web")}
            told = f"p50 {late.percentile_ms(0.5):.0f} ms, p95 {late.percentile_ms(0.95):.0f} ms, most {late.percentile_ms(1.0):.0f} ms"
            cost = f"log role {share['follower']:.1%} of a core, web {share['web']:.1%}"
            _tell(f"{count} following: {late.count:,} of {WRITES * count:,} lines came; {told}; {cost}")
            good = good and late.count == WRITES * count
            path.unlink()
        return good
    finally:
        path.unlink(missing_ok=True)


def _keep(bench: Bench, load: Load) -> bool:
    """How late what is written is on the head, and what that costs."""
    outcome = log_keeping.measure(bench.folder, Path(bench.state_dir), bench.site.cluster, bench.pids, load)
    _tell(str(outcome))
    return outcome.is_right


def _malicious(bench: Bench) -> bool:
    """Expressions that bring other engines down, in 20 MB that nearly match them: each is answered or refused."""
    path = bench.folder / "patterns-benchmark.log"
    slow, refused, answered = Figures(), 0, 0
    try:
        path.write_bytes(b"".join(b"a" * length + b"!\n" for length in range(1, 6000)))
        for pattern in MALICIOUS:
            answer = ask(bench.site, f"logs/search.json?{urlencode({'q': pattern, 'regex': 1, 'limit': 1, 'file': path.name})}")
            slow.latencies_s.append(answer.seconds)
            content = answer.content() if answer.status == 200 else {}
            answered += answer.status == 200 and not content["partial"]
            refused += answer.status == 400 or bool(content.get("partial"))
    finally:
        path.unlink(missing_ok=True)
    _tell(
        f"{len(MALICIOUS)} malicious expressions: {answered} answered, {refused} refused,"
        f" p50 {slow.percentile_ms(0.5):.0f} ms, most {slow.percentile_ms(1.0):.0f} ms"
    )
    return answered + refused == len(MALICIOUS)


async def _followed(site: Site, address: str, path: Path, tokens: list[str]) -> Figures:
    """Writes lines while so many connections are open; seconds from each write until each person has it."""
    figures, ready = Figures(), asyncio.Event()
    written: dict[int, float] = {}
    connected = 0

    async def look_on(token: str) -> None:
        nonlocal connected
        parts = urlsplit(site.url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=1 << 20)
        head = f"GET {address} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {token}\r\nAccept: text/event-stream\r\n\r\n"
        writer.write(head.encode())
        status = await reader.readline()
        if b" 200 " not in status:
            raise RuntimeError(f"following was answered {status!r}")
        connected += 1
        if connected == len(tokens):
            ready.set()
        seen = 0
        while seen < WRITES:
            line = await reader.readline()
            if not line:
                break
            for number in re.findall(rb"line ([0-9]+) of", line):
                figures.latencies_s.append(time.monotonic() - written[int(number)])
                seen += 1
        writer.close()

    looking = [asyncio.create_task(look_on(token)) for token in tokens]
    await asyncio.wait_for(ready.wait(), 30)
    await asyncio.sleep(3.0)
    for number in range(WRITES):
        written[number] = time.monotonic()
        with path.open("a") as file:
            file.write(f"line {number} of it\n")
        await asyncio.sleep(WRITE_EVERY_S)
    done, late = await asyncio.wait(looking, timeout=10)
    for task in late:
        task.cancel()
    for task in done:
        task.result()
    return figures


def _write_lines(path: Path, size: int) -> None:
    """Lines as Ray's processes write them, with times that go on through the file, up to that many bytes; ends with a newline."""
    chosen = random.Random(str(path))
    words = ["connection", "worker", "lease granted", "object", "spilled", "warn 7 of zqaf", "heartbeat", "plasma", "task finished"]
    at = 0
    with path.open("wb") as file:
        while at < size:
            stamp = _iso(at / size)
            lines = [f"[{stamp},{n % 1000:03d} I 77 77] {chosen.choice(words)} {chosen.getrandbits(48):x} node {n}\n" for n in range(400)]
            if chosen.random() < 0.01:
                lines[7] = f"[{stamp},007 E 77 77] hit one in a hundred thousand\n"
            block = "".join(lines).encode()
            content = block * max(1, min(BLOCK_BYTES, size // 200) // len(block)) if size > 1 << 30 else block
            at += file.write(content if at + len(content) <= size else block)


def _iso(share: float) -> str:
    """A time within the day that the written files are of."""
    second = int(share * 86_399)
    return f"2026-11-22 {second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"


@contextmanager
def _folder_of_files(folder: Path) -> Iterator[None]:
    folder.mkdir()
    try:
        yield
    finally:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()


@contextmanager
def _most_memory(pids: dict[str, int]) -> Iterator[dict[str, int]]:
    """By role, the most PSS during this, beyond what it was before."""
    roles: dict[str, int] = {role: pids[role] for role in ("quick", "web", "follower") if role in pids}
    before = {role: cost.pss_bytes for role, cost in machine.costs(roles).items()}
    most, stop = dict.fromkeys(roles, 0), threading.Event()

    def watch() -> None:
        while not stop.wait(0.05):
            with suppress(OSError):
                for role, cost in machine.costs(roles).items():
                    most[role] = max(most[role], cost.pss_bytes - before[role])

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield most
    finally:
        stop.set()
        thread.join()


def _looked(name: str, answers: list[Asked]) -> None:
    figures = Figures()
    for answer in answers:
        if answer.status != 200:
            raise RuntimeError(f"{name} was answered {answer.status}: {answer.text[:500]}")
        figures.latencies_s.append(answer.seconds)
    p50, p95, most = (figures.percentile_ms(share) for share in (0.5, 0.95, 1.0))
    _tell(f"{name}: p50 {p50:.0f} ms, p95 {p95:.0f} ms, most {most:.0f} ms of {figures.count}")


def _tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks logs", description=__doc__)
    parser.add_argument("--big-gb", type=float, default=10.0, help="the huge file, default 10; 0 leaves it out")
    parser.add_argument("--files", type=int, default=10_000, help="in the folder, default 10,000; 0 leaves them out")
    parser.add_argument("--search-gb", type=float, default=4.0, help="searched, in 2,000 files, default 4; 0 leaves it out")
    parser.add_argument("--no-patterns", dest="patterns", action="store_false", help="malicious expressions are not tried")
    parser.add_argument("--followers", type=int, default=100, help="people who follow one file, default 100; 0 leaves them out")
    parser.add_argument("--keep-s", type=float, default=60.0, help="seconds of writing what is kept on the head, default 60; 0: not at all")
    parser.add_argument("--keep-mb-s", type=float, default=0.8, help="written a second meanwhile, default 0.8; a host may send 1")
    parser.add_argument("--keep-files", type=int, default=50, help="written to, default 50")
    return parser.parse_args(arguments)
