"""Signing in and out, and what ends a sign-in."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis
from flask import Flask

from clusterstate.journal import Journal
from clusterstate.store.known_signins import GRACE_S
from clusterstate.store.signins import digest_of
from tests.built_cluster import BuiltCluster
from tests.private_redis import PrivateRedis, private_redis
from tests.webapp.conftest import PASSWORDS, Clock, Person, program, with_cookie


def is_signed_in(person: Person) -> bool:
    return person.get("/account").status_code == 200


def try_password(person: Person, name: str, password: str, **headers: str) -> int:
    return person.post("/login", {"name": name, "password": password}, headers).status_code


def test_a_wrong_password_or_name_is_refused_with_the_same_words(anybody: Person, users: Journal) -> None:
    wrong = anybody.post("/login", {"name": "vera", "password": "not hers"})
    unknown = anybody.post("/login", {"name": "nobody", "password": "not hers"})

    assert wrong.status_code == unknown.status_code == 401
    assert "Name or password is wrong." in wrong.text
    assert "Name or password is wrong." in unknown.text
    assert not is_signed_in(anybody)


def test_a_one_time_link_shows_a_button_and_works_once(app: Flask, users: Journal, clock: Clock) -> None:
    link = users.new_sign_in_link("ada", clock())
    first, second = Person(app.test_client()), Person(app.test_client())

    for _ in range(3):
        assert link in first.page(f"/login?token={link}").text
    assert first.post("/login", {"token": link}).status_code == 303
    assert is_signed_in(first)
    assert second.post("/login", {"token": link}).status_code == 401
    assert not is_signed_in(second)


def test_a_one_time_link_lives_ten_minutes(anybody: Person, users: Journal, clock: Clock) -> None:
    link = users.new_sign_in_link("ada", clock())
    clock.at += 601

    assert anybody.post("/login", {"token": link}).status_code == 401


def test_the_id_changes_at_sign_in_and_none_is_taken_from_outside(anybody: Person, users: Journal, redis_client: redis.Redis) -> None:
    planted = "planted-id"
    anybody.client.set_cookie("raydeck-8270", planted, domain="127.0.0.1")
    anybody.sign_in("vera")

    assert anybody.cookie != planted
    assert len(anybody.cookie or "") >= 43
    assert not redis_client.exists(f"rd:signin:{digest_of(planted)}")


def test_redis_holds_no_id_and_nothing_but_json(vera: Person, redis_client: redis.Redis) -> None:
    [key] = redis_client.keys("rd:signin:*")
    value: Any = redis_client.get(key)

    cookie = vera.cookie or ""
    assert cookie.encode() not in key + value
    assert json.loads(value)["user"] == "vera"


def test_odd_values_in_redis_are_no_sign_ins(vera: Person, redis_client: redis.Redis) -> None:
    [key] = redis_client.keys("rd:signin:*")
    for value in (b"\x80\x04N.", b"[]", b"{}", b"null", b"x" * 100_000, b'{"user": "ada", "auth_epoch": "x", "created_at": 1}'):
        redis_client.set(key, value)
        assert not is_signed_in(vera), value[:20]


def test_signing_out_ends_the_sign_in_everywhere(app: Flask, vera: Person) -> None:
    thief = with_cookie(app, vera.cookie)
    assert is_signed_in(thief)

    assert vera.post("/logout").status_code == 303

    assert not is_signed_in(thief)
    assert not is_signed_in(vera)


def test_changes_to_an_account_end_its_sign_ins_within_a_second(make_app: Callable[..., Flask], users: Journal, clock: Clock) -> None:
    def disable() -> None:
        users.disable("otto", "cli:test", clock())

    def demote() -> None:
        users.set_role("otto", "viewer", "cli:test", clock())

    def new_password() -> None:
        users.change_password("otto", "another password", "cli:test", clock())

    for change in (demote, new_password, disable):
        app = make_app()
        otto = Person(app.test_client())
        link = users.new_sign_in_link("otto", clock())
        assert otto.post("/login", {"token": link}).status_code == 303
        change()
        app.extensions["raydeck"].auth.forget_recent()  # as a second later
        assert not is_signed_in(otto), change.__name__


def test_a_change_of_role_is_seen_by_tokens_too(app: Flask, users: Journal, clock: Clock) -> None:
    tool = program(app, users, "otto", "operator", clock())
    assert is_signed_in(tool)
    users.disable("otto", "cli:test", clock())
    app.extensions["raydeck"].auth.forget_recent()

    assert not is_signed_in(tool)


def test_the_eleventh_wrong_password_in_a_minute_has_to_wait(app: Flask, users: Journal, redis_client: redis.Redis) -> None:
    attacker = Person(app.test_client())
    for number in range(10):
        assert try_password(attacker, "vera", f"guess {number}") == 401
    answer = attacker.post("/login", {"name": "vera", "password": "guess 11"}, {"X-Forwarded-For": "203.0.113.1"})
    assert answer.status_code == 429
    assert 0 < int(answer.headers["Retry-After"]) <= 60
    assert try_password(attacker, "VERA", PASSWORDS["vera"]) == 429

    for key in redis_client.keys("rd:tries:*"):  # as a minute later
        redis_client.delete(key)
    assert try_password(attacker, "vera", PASSWORDS["vera"]) == 303


def test_wrong_passwords_for_one_account_do_not_keep_others_out(app: Flask, users: Journal) -> None:
    attacker, otto = Person(app.test_client()), Person(app.test_client())
    for number in range(12):
        attacker.post("/login", {"name": "vera", "password": f"guess {number}"})

    answer = otto.client.open(  # from another address
        "/login",
        method="POST",
        headers={"Host": "127.0.0.1:8270"},
        data={"name": "otto", "password": PASSWORDS["otto"], "csrf_token": otto.csrf_token()},
        environ_base={"REMOTE_ADDR": "127.0.0.2"},
    )
    assert answer.status_code == 303


def test_right_passwords_are_never_counted(app: Flask, users: Journal) -> None:
    for _ in range(11):
        Person(app.test_client()).sign_in("vera")


def test_sign_ins_and_refusals_are_in_the_audit_trail_without_what_was_typed(anybody: Person, users: Journal) -> None:
    try_password(anybody, "my secret password", "oops")
    try_password(anybody, "vera", "wrong")
    anybody.sign_in("vera")

    told = [(record.who, record.action) for record in users.newest_audit_records(3)]
    assert sorted(told) == [("unknown", "sign_in.refused"), ("vera", "sign_in"), ("vera", "sign_in.refused")]
    assert "secret" not in str(users.newest_audit_records(10))


def test_a_used_sign_in_lives_on_and_an_unused_one_ends(app: Flask, vera: Person, redis_client: redis.Redis) -> None:
    [key] = redis_client.keys("rd:signin:*")
    redis_client.expire(key, 100)
    app.extensions["raydeck"].auth._sign_ins._touched.clear()  # as a minute later

    assert is_signed_in(vera)
    assert int(str(redis_client.ttl(key))) > 80_000
    redis_client.pexpire(key, 1)
    assert not is_signed_in(vera) or not redis_client.exists(key)


def test_one_may_change_the_own_password_and_stays_signed_in_here_alone(app: Flask, users: Journal, vera: Person) -> None:
    elsewhere = Person(app.test_client()).sign_in("vera")
    form = {"old_password": PASSWORDS["vera"], "new_password": "a new password", "new_password_again": "a new password"}

    assert vera.post("/account/password", {**form, "old_password": "wrong"}).status_code == 403
    assert vera.post("/account/password", {**form, "new_password_again": "different"}).status_code == 400
    assert vera.post("/account/password", {**form, "new_password": "short", "new_password_again": "short"}).status_code == 400
    before = vera.cookie
    assert vera.post("/account/password", form).status_code == 303

    assert vera.cookie != before
    assert is_signed_in(vera)
    assert not is_signed_in(elsewhere)
    assert try_password(Person(app.test_client()), "vera", "a new password") == 303


def test_tokens_are_made_shown_once_and_revoked_by_their_owner(app: Flask, users: Journal, vera: Person, ada: Person) -> None:
    made = vera.post("/account/tokens", {"name": "my script", "role": "viewer", "days": "30"})
    assert made.status_code == 200
    [token] = users.tokens("vera")
    text = next(word for word in made.text.replace("<", " ").replace(">", " ").replace('"', " ").split() if word.startswith("rd_"))
    tool = Person(app.test_client(use_cookies=False), {"Authorization": f"Bearer {text}"})
    assert is_signed_in(tool)
    assert text not in vera.page("/account").text

    assert ada.post(f"/account/tokens/{token.token_id}/revoke").status_code == 404
    assert is_signed_in(tool)
    assert vera.post(f"/account/tokens/{token.token_id}/revoke").status_code == 303
    assert not is_signed_in(tool)


def test_nobody_makes_a_token_above_the_own_role(users: Journal, vera: Person, viewers_program: Person) -> None:
    for role in ("operator", "admin", "public", "", "VIEWER"):
        assert vera.post("/account/tokens", {"name": "x", "role": role, "days": "30"}).status_code == 400, role
    assert vera.post("/account/tokens", {"name": "x", "role": "viewer", "days": "9999999"}).status_code == 400
    assert viewers_program.open("POST", "/account/tokens", data={"name": "x", "role": "viewer", "days": "1"}).status_code == 400
    assert [token.name for token in users.tokens("vera")] == ["test"]


def test_with_redis_away_one_goes_on_reading_for_a_quarter_of_an_hour(
    make_app: Callable[..., Flask], users: Journal, cluster: BuiltCluster, clock: Clock, short_dir: Path
) -> None:
    actor = cluster.with_actor()
    with private_redis(short_dir) as other:
        first, second = (make_app(redis_url=other.url) for _ in range(2))  # two gunicorn workers
        vera = Person(first.test_client()).sign_in("vera")
        assert is_signed_in(vera)
        same = with_cookie(second, vera.cookie)
        link = users.new_sign_in_link("ada", clock())
        form_token = vera.csrf_token()
    stranger = with_cookie(first, "unknown")

    for person in (vera, same):
        answer = person.get("/c/demo/actors.json")
        assert answer.status_code == 200
        assert answer.get_json()["rows"][0]["actor_id"] == actor.actor_id
    assert stranger.get("/account").status_code == 503
    for refused in (
        vera.post("/account/preferences", {"theme": "dark", "csrf_token": form_token}),
        vera.post("/logout", {"csrf_token": form_token}),
        Person(first.test_client()).post("/login", {"token": link}),
        Person(second.test_client()).post("/login", {"name": "vera", "password": PASSWORDS["vera"]}),
    ):
        assert refused.status_code == 503
        assert int(refused.headers["Retry-After"]) > 0
    clock.at += GRACE_S + 1
    assert vera.get("/c/demo/actors.json").status_code == 503

    clock.at -= GRACE_S + 1
    assert users.use_sign_in_link(link, clock()) is not None, "the link was not used up"


def test_redis_away_does_not_bring_back_what_was_ended(
    make_app: Callable[..., Flask], users: Journal, cluster: BuiltCluster, clock: Clock, short_dir: Path
) -> None:
    with private_redis(short_dir) as other:
        first, second = (make_app(redis_url=other.url) for _ in range(2))
        vera = Person(first.test_client()).sign_in("vera")
        otto = Person(first.test_client()).sign_in("otto")
        same = with_cookie(second, vera.cookie)
        assert is_signed_in(vera)
        assert is_signed_in(same)
        assert is_signed_in(otto)
        vera.post("/logout")
    users.disable("otto", "cli:test", clock())
    first.extensions["raydeck"].auth.forget_recent()

    assert not is_signed_in(same)
    assert not is_signed_in(otto)


def test_programs_go_on_reading_while_redis_is_away(
    make_app: Callable[..., Flask], users: Journal, cluster: BuiltCluster, clock: Clock, short_dir: Path
) -> None:
    tool = program(make_app(redis_url=f"unix://{short_dir}/nothing.sock"), users, "vera", "viewer", clock())

    assert tool.get("/c/demo/actors.json").status_code == 200


def test_preferences_are_two_cookies_and_nothing_else(vera: Person, redis_server: PrivateRedis) -> None:
    answer = vera.post("/account/preferences", {"theme": "dark", "time_zone": "Europe/Berlin", "next": "/c/demo/actors"})

    assert answer.location == "/c/demo/actors"
    assert sorted(cookie.partition(";")[0] for cookie in answer.headers.getlist("Set-Cookie")) == [
        "raydeck-theme=dark",
        "raydeck-tz=Europe/Berlin",
    ]
    for odd in ({"theme": "pink"}, {"time_zone": "Mars/Phobos"}, {"time_zone": "../../etc/passwd"}):
        assert vera.post("/account/preferences", odd).status_code == 400
