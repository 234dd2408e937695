"""What a page of somebody else's, a rebound name or a lying proxy can do through a browser: nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask

from clusterstate.journal import Journal
from clusterstate.settings import BadSetting, read_settings
from tests.built_cluster import BuiltCluster
from tests.webapp.conftest import HOST, PASSWORDS, Person, token_in
from webapp.csrf import token_fits, token_for
from webapp.proxies import clean_prefix, trusted_peers
from webapp.security import safe_next

OTHER_HOSTS = (
    "evil.example",
    "evil.example:8270",
    "127.0.0.1.evil.example",
    "xlocalhost",
    "",
    f"{HOST},evil.example",
    "127.0.0.1:8270@evil.example",
    "127.0.0.1:99999",
    "[::1",
)


def preferences(person: Person, **headers: str) -> int:
    return person.post("/account/preferences", {"theme": "dark"}, headers).status_code


def test_a_request_for_another_host_is_answered_by_nothing_of_ours(vera: Person, cluster: BuiltCluster) -> None:
    cluster.with_actor(class_name="canary-5e1f0c")
    for path in ("/c/demo/actors", "/c/demo/actors.json", "/static/vendor/htmx.min.js", "/nowhere", "/healthz", "/login"):
        for host in OTHER_HOSTS:
            answer = vera.get(path, {"Host": host})
            assert answer.status_code in (400, 421), (path, host)
            assert "canary" not in answer.text
            assert "htmx" not in answer.text


def test_own_names_are_answered(anybody: Person, make_app: Callable[..., Flask]) -> None:
    for host in (HOST, "127.0.0.1", "localhost:8270", "LOCALHOST:1", "[::1]:8270"):
        assert anybody.get("/healthz", {"Host": host}).status_code == 200, host
    named = Person(make_app(host="192.0.2.7", allowed_hosts=("ray.example", "exact.example:8443")).test_client())
    for host, status in {
        "192.0.2.7:1": 200,
        "ray.example": 200,
        "ray.example:99": 200,
        "exact.example:8443": 200,
        "exact.example": 421,
        "localhost": 421,
    }.items():
        assert named.get("/healthz", {"Host": host}).status_code == status, host


def test_a_request_line_that_names_another_host_is_refused(vera: Person) -> None:
    for target in ("http://evil.example/healthz", "http://[/healthz", "evil.example:443"):
        assert vera.get("/healthz", environ_overrides={"RAW_URI": target}).status_code == 400
    assert vera.get("/healthz", environ_overrides={"RAW_URI": f"http://{HOST}/healthz"}).status_code == 200


def test_a_form_of_another_origin_changes_nothing(vera: Person) -> None:
    assert preferences(vera) == 303
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Origin": f"https://{HOST}"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    ):
        assert preferences(vera, **headers) == 403, headers


def test_a_form_needs_the_token_of_its_own_sign_in(app: Flask, users: Journal, vera: Person) -> None:
    otto = Person(app.test_client()).sign_in("otto")
    before = vera.csrf_token()
    for token in ("", "x", otto.csrf_token(), "=" * 88, "\u00e9" * 88):
        assert vera.post("/account/preferences", {"theme": "dark", "csrf_token": token}).status_code == 403
    in_query = vera.open("POST", f"/account/preferences?csrf_token={before}", {"Origin": f"http://{HOST}"}, data={"theme": "dark"})
    assert in_query.status_code == 403
    assert vera.open("POST", "/account/preferences", {"HX-Request": "true"}, data={"theme": "dark"}).status_code == 403
    assert vera.open("POST", "/account/preferences", {"X-CSRF-Token": before}, data={"theme": "dark"}).status_code == 303

    vera.post("/logout")
    vera.sign_in("vera")
    assert vera.post("/account/preferences", {"theme": "dark", "csrf_token": before}).status_code == 403


def test_a_token_of_a_form_looks_different_each_time() -> None:
    one, other = token_for("some id"), token_for("some id")

    assert one != other
    assert token_fits(one, "some id")
    assert token_fits(other, "some id")
    assert not token_fits(one, "another id")


def test_signing_in_needs_a_form_of_ours_too(anybody: Person, users: Journal) -> None:
    answer = anybody.open("POST", "/login", data={"name": "vera", "password": PASSWORDS["vera"]})

    assert answer.status_code == 403
    assert anybody.cookie is None


def test_a_program_with_a_token_and_no_cookie_needs_no_form_token(viewers_program: Person) -> None:
    answer = viewers_program.open("POST", "/account/preferences", data={"theme": "dark"})

    assert answer.status_code == 303
    with_cookie = viewers_program.open("POST", "/account/preferences", {"Cookie": "raydeck-8270=x"}, data={"theme": "dark"})
    assert with_cookie.status_code == 403


def test_a_program_with_a_token_never_gets_a_sign_in_cookie(viewers_program: Person, cluster: BuiltCluster) -> None:
    for path in ("/account", "/c/demo/actors", "/login", "/nowhere"):
        assert "Set-Cookie" not in viewers_program.page(path).headers, path


def test_a_token_counts_only_in_its_header(anybody: Person, viewers_program: Person, cluster: BuiltCluster) -> None:
    token = viewers_program.headers["Authorization"].removeprefix("Bearer ")
    for name in ("token", "access_token", "api_key"):
        assert anybody.get(f"/c/demo/actors.json?{name}={token}").status_code == 401
    assert anybody.get("/c/demo/actors.json", {"X-Ray-Authorization": f"Bearer {token}"}).status_code == 200
    assert anybody.get("/c/demo/actors.json", {"Authorization": f"Basic {token}"}).status_code == 401


def test_every_answer_carries_the_headers(vera: Person, anybody: Person, cluster: BuiltCluster) -> None:
    answers = {
        200: vera.page("/c/demo/actors"),
        302: anybody.page("/account"),
        400: vera.page("/c/demo/actors?nonsense=1"),
        401: anybody.get("/account"),
        403: vera.open("POST", "/account/preferences"),
        404: vera.page("/nowhere"),
        405: vera.open("DELETE", "/account"),
        413: vera.open("POST", "/account/preferences", data={"theme": "x" * 300_000}),
        421: vera.get("/", {"Host": "evil.example"}),
    }
    static = vera.get("/static/vendor/htmx.min.js")
    for status, answer in [*answers.items(), (200, static)]:
        assert answer.status_code == status
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert "Referrer-Policy" in answer.headers
    for answer in answers.values():
        assert answer.headers["Cache-Control"] == "no-store"
        assert "Cookie" in answer.headers["Vary"]


def test_static_files_are_kept_for_long_only_under_their_hash(app: Flask, anybody: Person) -> None:
    with app.test_request_context("/", headers={"Host": HOST}):
        from flask import url_for

        hashed = url_for("static", filename="vendor/htmx.min.js")
    kept = anybody.get(hashed, {"Accept-Encoding": "gzip"})

    assert "?v=" in hashed
    assert kept.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert kept.headers["Content-Encoding"] == "gzip"
    plain = anybody.get("/static/vendor/htmx.min.js")
    assert plain.headers["Cache-Control"] == "public, no-cache"
    assert anybody.get("/static/vendor/htmx.min.js", {"If-None-Match": plain.headers["ETag"]}).status_code == 304


def test_static_files_are_those_of_the_folder_alone(anybody: Person) -> None:
    for path in (
        "../webapp/app.py",
        "..%2fwebapp/app.py",
        "%2e%2e/webapp/app.py",
        "/etc/passwd",
        "vendor",
        "css/../../README.md",
        ".git/config",
        "a%00b",
    ):
        assert anybody.get(f"/static/{path}").status_code in (400, 401, 404), path


def test_the_cookie_is_for_this_site_alone(vera: Person, make_app: Callable[..., Flask], users: Journal) -> None:
    flags = sign_in_cookie(Person(make_app().test_client()))
    assert flags.startswith("raydeck-8270=")
    assert "HttpOnly" in flags
    assert "SameSite=Lax" in flags
    assert "Path=/;" in flags + ";"
    assert "Domain" not in flags
    behind_tls = sign_in_cookie(
        Person(make_app(behind_tls_proxy=True, allowed_hosts=("ray.example",)).test_client()), "https", "ray.example"
    )
    assert behind_tls.startswith("__Host-raydeck=")
    assert "Secure" in behind_tls
    below = Person(make_app(behind_tls_proxy=True, url_prefix="/ray", allowed_hosts=("ray.example",)).test_client(), prefix="/ray")
    flags = sign_in_cookie(below, "https", "ray.example")
    assert flags.startswith("raydeck=")
    assert "Path=/ray/" in flags
    assert "Secure" in flags


def sign_in_cookie(person: Person, scheme: str = "http", host: str = HOST) -> str:
    person.headers["Host"] = host
    form = {"name": "vera", "password": PASSWORDS["vera"]}
    answer = person.post("/login", form, {"Origin": f"{scheme}://{host}"})
    assert answer.status_code == 303, answer.text
    return answer.headers.getlist("Set-Cookie")[-1]


def test_what_follows_signing_in_stays_on_this_site(app: Flask, anybody: Person, users: Journal) -> None:
    for target in (
        "https://e",
        "//e",
        "/\\e",
        "\\\\e",
        "/%2f/e",
        "/%252f/e",
        "https:e",
        "javascript:1",
        "/ok\r\nX:1",
        "/../e",
        "/%2e%2e/e",
        "http://[",
        " /ok",
        "/" + "x" * 3000,
    ):
        assert followed(app, target) is None, target
        assert followed(app, "/ray" + target, "/ray") is None or target.startswith("/%2"), target
    assert followed(app, "/c/demo/actors?state=DEAD") == "/c/demo/actors?state=DEAD"
    assert followed(app, "/c/demo/actors", "/ray") is None
    assert followed(app, "/ray/c/demo/actors", "/ray") == "/ray/c/demo/actors"
    for target, location in {"//e": "/", "/account": "/account"}.items():
        answer = anybody.post("/login", {"name": "vera", "password": PASSWORDS["vera"], "next": target})
        assert answer.headers["Location"] == location


def followed(app: Flask, target: str, prefix: str = "") -> str | None:
    with app.test_request_context("/login", environ_overrides={"SCRIPT_NAME": prefix}):
        return safe_next(target)


FORWARDED = {
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Prefix": "/evil",
    "X-Forwarded-Port": "1",
    "Forwarded": "for=203.0.113.9;host=evil.example;proto=https",
    "X-Real-IP": "203.0.113.9",
    "X-Original-URL": "/metrics",
    "X-Rewrite-URL": "/metrics",
    "Script-Name": "/evil",
}


def test_forwarded_headers_of_a_client_change_nothing(anybody: Person, users: Journal) -> None:
    answer = anybody.get("/account", {**FORWARDED, "Accept": "text/html"})
    assert answer.location == "/login?next=/account"

    signed_in = anybody.post("/login", {"name": "vera", "password": PASSWORDS["vera"]}, FORWARDED)
    assert "Secure" not in signed_in.headers["Set-Cookie"]
    [record] = [record for record in users.newest_audit_records() if record.action == "sign_in"]
    assert record.detail["peer"] == "127.0.0.1"


def test_a_declared_proxy_says_peer_scheme_and_prefix(make_app: Callable[..., Flask], users: Journal) -> None:
    app = make_app(trusted_proxies=("127.0.0.1", "10.0.0.0/8"), allowed_hosts=("ray.example",))
    said = {"X-Forwarded-Host": "ray.example", "X-Forwarded-Proto": "https", "X-Forwarded-Prefix": "/deck/"}
    person = Person(app.test_client(use_cookies=False), {**said, "X-Forwarded-For": "203.0.113.9, 198.51.100.4, 10.1.1.1"})

    assert person.page("/account").location == "/deck/login?next=/deck/account"
    form = person.page("/login")
    sent = {"Origin": "https://ray.example", "Cookie": form.headers["Set-Cookie"].partition(";")[0]}
    answer = person.post("/login", {"name": "vera", "password": PASSWORDS["vera"], "csrf_token": token_in(form.text)}, sent)
    assert answer.status_code == 303
    assert answer.location == "/deck/"
    assert "Path=/deck/" in answer.headers["Set-Cookie"]
    assert "Secure" in answer.headers["Set-Cookie"]
    [record] = [record for record in users.newest_audit_records() if record.action == "sign_in"]
    assert record.detail["peer"] == "198.51.100.4"


def test_a_declared_proxy_cannot_make_other_hosts_ours(make_app: Callable[..., Flask]) -> None:
    person = Person(make_app(trusted_proxies=("127.0.0.1",)).test_client(), {"X-Forwarded-Host": "evil.example"})

    assert person.get("/healthz").status_code == 421


def test_only_plain_paths_are_prefixes() -> None:
    assert clean_prefix("/a/b-c/") == "/a/b-c"
    for odd in ("", "/", "//a", "/a//b", "a", "/a/../b", "/a;b", "/a b", "/%2e", "/a\r\nX: 1", "/" + "/".join("a" * 20)):
        assert clean_prefix(odd) == "", odd


def test_trusted_peers_are_addresses_networks_and_sockets() -> None:
    trusted = trusted_peers(["10.0.0.0/8", "::1", "unix"])

    assert [peer for peer in ("10.1.2.3", "::1", "", "unix:", "11.0.0.1", "nonsense", "127.0.0.1") if trusted(peer)] == [
        "10.1.2.3",
        "::1",
        "",
        "unix:",
    ]
    with pytest.raises(ValueError, match="proxy"):
        trusted_peers(["proxy.example"])


@pytest.mark.parametrize("entry", ["127.0.0.1", "127.0.0.0/8", "::ffff:127.0.0.1", "::ffff:127.0.0.0/104"])
def test_an_address_is_the_same_however_the_socket_spells_it(entry: str) -> None:
    trusted = trusted_peers([entry])
    assert trusted("127.0.0.1")
    assert trusted("::ffff:127.0.0.1")
    assert trusted("::FFFF:7f00:1")
    assert not trusted("::ffff:128.0.0.1")
    assert not trusted("::1")


def test_peers_of_a_socket_for_both_families_are_recorded_as_people_write_them(make_app: Callable[..., Flask], users: Journal) -> None:
    app = make_app(trusted_proxies=("127.0.0.1", "10.0.0.0/8"))
    for remote, chain, peer in (
        ("::ffff:127.0.0.1", "::ffff:198.51.100.4, ::ffff:10.1.1.1", "198.51.100.4"),
        ("::ffff:203.0.113.7", "198.51.100.4", "203.0.113.7"),
        ("2001:db8::1", "", "2001:db8::1"),
    ):
        person = Person(app.test_client())
        sent = {"name": "vera", "password": PASSWORDS["vera"], "csrf_token": token_in(person.page("/login").text)}
        headers = {"X-Forwarded-For": chain, "Origin": f"http://{HOST}"}
        answer = person.open("POST", "/login", headers, data=sent, environ_base={"REMOTE_ADDR": remote})
        assert answer.status_code == 303
        record = next(record for record in users.newest_audit_records() if record.action == "sign_in")
        assert record.detail["peer"] == peer


@pytest.mark.parametrize("entry", ["proxy.example", "10.0.0.0/33", "10.0.0", "*", "unix:/run/x"])
def test_a_proxy_that_is_no_address_stops_the_start_with_a_sentence(entry: str) -> None:
    with pytest.raises(BadSetting, match=r"RAYDECK_TRUSTED_PROXIES has .* must be an IP address"):
        read_settings({"RAYDECK_TRUSTED_PROXIES": f"127.0.0.1,{entry}"})
    assert read_settings({"RAYDECK_TRUSTED_PROXIES": "unix, 10.0.0.1/8,::1"}).trusted_proxies == ("unix", "10.0.0.1/8", "::1")


def test_pages_live_below_the_prefix_alone(make_app: Callable[..., Flask], users: Journal, cluster: BuiltCluster) -> None:
    app = make_app(url_prefix="/ray")
    below = Person(app.test_client(), prefix="/ray").sign_in("vera")
    outside = Person(app.test_client())

    assert below.page("/c/demo/actors").status_code == 200
    assert below.get("/healthz").status_code == 200
    for path in ("/healthz", "/login", "/rayx/healthz", "/"):
        answer = outside.get(path)
        assert answer.status_code == 404, path
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_what_no_form_of_ours_sends_is_refused(vera: Person, anybody: Person) -> None:
    token = vera.csrf_token()
    many = "&".join(f"f{i}=1" for i in range(300))
    form = {"Content-Type": "application/x-www-form-urlencoded", "X-CSRF-Token": token}
    assert vera.open("POST", "/account/preferences", form, data=many).status_code == 413
    assert vera.open("POST", "/account/preferences", form, data="theme=" + "x" * 400_000).status_code == 413
    assert anybody.get("/healthz?" + many).status_code == 400
    assert anybody.get("/" + "x" * 3000).status_code == 400
