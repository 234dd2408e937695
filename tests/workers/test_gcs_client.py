"""The plain gRPC client of the GCS: walking replies, counting, time limits, tokens, what it says when something is wrong."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.simulated_ray import SimulatedRay
from workers.sources import gcs_stubs, pubsub
from workers.sources.auth import ray_token, token_problem
from workers.sources.gcs import (
    Credentials,
    GcsClient,
    GcsError,
    GcsRefused,
    GcsTimeout,
    GcsUnimplemented,
    GcsUnreachable,
    gather_bounded,
    tls_credentials,
)
from workers.sources.gcs_wire import BadRecord, Unchanged, number_in, records

ROOT = Path(__file__).resolve().parents[2]


def asked(address: str, ask: Callable[[GcsClient], Awaitable[Any]], token: str | None = None) -> Any:
    """What a client gets, from a loop of its own."""

    async def run() -> Any:
        client = GcsClient(address, Credentials(token))
        try:
            return await ask(client)
        finally:
            await client.close()

    return asyncio.run(run())


# --- The stubs


def test_the_stubs_are_imported_without_ray() -> None:
    code = (
        "import sys; from workers.sources import gcs, pubsub, gcs_stubs; gcs_stubs.method('GetAllActorInfo'); gcs_stubs.pubsub_layout();"
        "assert not [n for n in sys.modules if n == 'ray._raylet' or n.startswith('ray._private')], 'Ray itself was imported'"
    )

    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=30)


def test_where_ray_is_imported_already_its_own_modules_are_used() -> None:
    code = (
        "import ray; from workers.sources import gcs_stubs; m = gcs_stubs.module('gcs_pb2');"
        "from ray.core.generated import gcs_pb2; assert m is gcs_pb2 and ray.__version__ == gcs_stubs.installed_version()"
    )

    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


def test_channels_are_found_by_name_in_the_installed_release() -> None:
    layout = gcs_stubs.pubsub_layout()

    assert layout is not None
    assert {*pubsub.CHANNELS} <= layout.channels.keys()
    assert layout.control_service in {"ray.rpc.ControlPlanePubSubGcsService", "ray.rpc.InternalPubSubGcsService"}


@pytest.mark.parametrize(
    ("version", "is_followed"), [("2.60.0", True), ("2.60.1", True), ("2.53.0", False), ("3.0.0.dev0", False), ("", False), (None, False)]
)
def test_pubsub_is_used_with_a_cluster_of_the_same_release_only(
    version: str | None, is_followed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gcs_stubs, "installed_version", lambda: "2.60.0")

    assert (pubsub.why_not(version) is None) is is_followed


# --- Walking


def reply(*rows: bytes) -> bytes:
    return b"".join(b"\x12" + bytes([len(row)]) + row for row in rows)


def test_records_of_a_field_are_found_between_other_fields() -> None:
    raw = b"\x08\x96\x01" + reply(b"one") + b"\x19" + b"\x00" * 8 + reply(b"two") + b"\x25" + b"\x00" * 4 + b"\x1a\x01x"

    assert list(records(raw, 2)) == [b"one", b"two"]
    assert number_in(raw, 1) == 150


@pytest.mark.parametrize("raw", [b"\x12", b"\x12\x05ab", b"\x0b", b"\xff" * 11, b"\x19\x00"])
def test_bytes_that_are_no_message_are_refused(raw: bytes) -> None:
    with pytest.raises(BadRecord):
        list(records(raw, 2))


def test_rows_that_did_not_change_are_not_parsed_again_and_unreadable_ones_are_counted() -> None:
    with SimulatedRay(jobs=3) as ray:

        async def twice(client: GcsClient) -> tuple[list[str], list[str], list[str]]:
            seen = Unchanged()
            first = [row.job_id.hex() for row in seen.changed(await client.all_jobs())]
            seen.commit()
            ray.add_job(entrypoint=b"\xff\xfe")
            rows = await client.all_jobs()
            second = [row.job_id.hex() for row in seen.changed(rows)]
            assert rows.unreadable == 1
            seen.commit()
            again = await client.all_jobs()
            third = [row.job_id.hex() for row in seen.changed(again)]
            assert again.unreadable == 1
            return first, second, third

        first, second, third = asked(ray.address, twice)

    assert len(first) == 3
    assert second == third == []


# --- Calling


def test_calls_and_bytes_are_counted() -> None:
    with SimulatedRay(dead_actors=10) as ray:

        async def ask(client: GcsClient) -> Any:
            actors = [row async for row in _each(await client.all_actors())]
            return len(actors), client.traffic

        count, traffic = asked(ray.address, ask)

        assert count == 10
        assert traffic.calls == 1
        assert traffic.received_bytes == ray.sent_bytes["GetAllActorInfo"] > 1000
        assert traffic.seconds["GetAllActorInfo"] > 0


async def _each(rows: Any) -> Any:
    for row in rows:
        yield row


def test_an_actor_that_the_gcs_does_not_know_is_none() -> None:
    with SimulatedRay() as ray:
        assert asked(ray.address, lambda client: client.actor("00" * 16)) is None
        assert asked(ray.address, lambda client: client.worker("00" * 28)) is None
        assert asked(ray.address, lambda client: client.kv_get("cluster", "nothing")) is None


def test_what_went_wrong_is_told_apart_and_said_in_a_sentence() -> None:
    with SimulatedRay(token="t0ken") as ray:
        with pytest.raises(GcsRefused, match="wants a token"):
            asked(ray.address, lambda client: client.check_alive())
        with pytest.raises(GcsRefused, match="refuses our token") as refused:
            asked(ray.address, lambda client: client.check_alive(), token="wr0ng")
        assert "wr0ng" not in str(refused.value)
        assert asked(ray.address, lambda client: client.check_alive(), token="t0ken").ray_version
        ray.refuse("GetAllNodeInfo")
        with pytest.raises(GcsUnimplemented, match="GetAllNodeInfo"):
            asked(ray.address, lambda client: client.all_nodes(), token="t0ken")
        ray.stall(1.0)
        with pytest.raises(GcsTimeout, match="in time"):
            asked(ray.address, lambda client: client.check_alive(timeout_s=0.2), token="t0ken")
        address = ray.address
    with pytest.raises(GcsUnreachable, match="does not answer"):
        asked(address, lambda client: client.check_alive())


def test_a_broken_connection_is_noticed_even_when_nothing_is_asked() -> None:
    with SimulatedRay() as ray:

        async def wait(client: GcsClient) -> None:
            await client.check_alive()
            watching = asyncio.ensure_future(client.watch_connection())
            await asyncio.sleep(0.1)
            assert not watching.done()
            await asyncio.to_thread(ray.stop)
            with pytest.raises(GcsUnreachable):
                await asyncio.wait_for(watching, 5)

        asked(ray.address, wait)


def test_many_questions_are_asked_a_few_at_a_time() -> None:
    under_way: list[int] = [0, 0]

    async def question(number: int) -> int:
        under_way[0] += 1
        under_way[1] = max(under_way)
        await asyncio.sleep(0)
        under_way[0] -= 1
        if number == 3:
            raise GcsError("no")
        return number

    answers = asyncio.run(gather_bounded((question(number) for number in range(10)), 4))

    assert under_way[1] == 4
    assert [answer for answer in answers if not isinstance(answer, GcsError)] == [0, 1, 2, 4, 5, 6, 7, 8, 9]


# --- Published messages


def test_what_is_published_arrives_in_order_and_once() -> None:
    with SimulatedRay() as ray:

        async def follow(client: GcsClient) -> list[tuple[str, int]]:
            subscription = pubsub.Subscription(client)
            await subscription.subscribe()
            actor_id = await asyncio.to_thread(ray.add_actor)
            ray.add_actor(name=b"\xff")
            ray.kill_actor(actor_id)
            found: list[tuple[str, int]] = []
            while ("actor_message", 4) not in found:
                for published in await subscription.next():
                    if published.key_id == actor_id:
                        found.append((published.kind, published.message.state))
            assert subscription.unreadable > 0
            return found

        states = asked(ray.address, follow)

    assert states == [("actor_message", 0), ("actor_message", 1), ("actor_message", 2), ("actor_message", 4)]


# --- Token and TLS files


def test_the_token_is_found_where_rays_clients_look(tmp_path: Path) -> None:
    home, named = tmp_path / "home", tmp_path / "named"
    (home / ".ray").mkdir(parents=True)
    (home / ".ray" / "auth_token").write_text("from home\n".replace(" ", "-"))
    named.write_text("from-path")

    assert ray_token({"RAY_AUTH_TOKEN": "given", "RAY_AUTH_TOKEN_PATH": str(named), "HOME": str(home)}) == "given"
    assert ray_token({"RAY_AUTH_TOKEN_PATH": str(named), "HOME": str(home)}) == "from-path"
    assert ray_token({"HOME": str(home)}) == "from-home"
    assert ray_token({"HOME": str(home), "RAY_AUTH_MODE": "disabled"}) is None
    assert ray_token({"HOME": str(tmp_path)}) is None
    assert ray_token({"RAY_AUTH_TOKEN": "line\nbreak"}) is None


def test_a_missing_token_is_explained() -> None:
    assert token_problem({"RAY_AUTH_MODE": "disabled"}) is None
    assert token_problem({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "x"}) is None
    assert "RAY_AUTH_TOKEN_PATH names" in (token_problem({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": "/nowhere"}) or "")
    assert "there is no token" in (token_problem({"RAY_AUTH_MODE": "token"}) or "")


def test_tls_files_that_are_missing_are_named() -> None:
    assert tls_credentials({}) is None
    with pytest.raises(GcsError, match="RAY_TLS_CA_CERT is not set"):
        tls_credentials({"RAY_USE_TLS": "1"})
    with pytest.raises(GcsError, match="file of RAY_TLS_CA_CERT cannot be read"):
        tls_credentials({"RAY_USE_TLS": "true", "RAY_TLS_CA_CERT": "/nowhere"})
