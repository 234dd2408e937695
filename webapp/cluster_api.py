"""What a Ray cluster itself may speak with: the addresses that its agents push to and its clients ask, and nothing else.

An app of its own on a listener of its own (RAYDECK_CLUSTER_LISTEN): no pages, no cookies, no sign-in. Every path asks for the
cluster's own token or its ingest secret but `/api/gcs_healthz` and what Ray's clients ask to learn how to authenticate.
"""

from __future__ import annotations

import hmac
import json
import time
from collections.abc import Callable
from typing import Any

from flask import Blueprint, Flask, Response, abort, current_app, request
from werkzeug.exceptions import HTTPException

from clusterstate import ingest, paths
from clusterstate.settings import Settings, read_settings
from clusterstate.spool import JSON, PROTOBUF, SET_ASIDE, SpoolFull, SpoolWriter
from clusterstate.store import task_queries
from clusterstate.store.connection import StoreUnavailable, connect
from clusterstate.store.signins import Connect
from clusterstate.store.task_queries import MAX_QUESTION_BYTES, TaskQueryFailed

MAX_BODY_BYTES = 64 * 1024 * 1024
"""Ray's agents send a thousand events at once: 4 MB of JSON. What is bigger is read, counted and not kept."""
MAX_DRAINED_BYTES = 1024 * 1024 * 1024
CHUNK_BYTES = 256 * 1024
MAX_HELD_BYTES = 256 * 1024 * 1024
"""Of all bodies that are being read by this process."""
KNOWN_FOR_S = 5.0
"""How long a credential that was right is taken again without asking Redis: agents post several times a second."""
MAX_CREDENTIAL = 4096
NAME = "raydeck_cluster"
NOT_HERE = "Raydeck stands here in the place of Ray's dashboard. It takes task events, and answers nothing else but questions for them."


class Receiver:
    """Judges credentials and keeps bodies, for one cluster."""

    def __init__(self, settings: Settings, redis_connect: Connect, clock: Callable[[], float] = time.time) -> None:
        self.cluster = settings.cluster_name or "default"
        self._secret = ingest.secret_of(settings.state_dir, self.cluster)
        self._spool = SpoolWriter(paths.spool_dir(settings.state_dir, self.cluster), settings.spool_mb * 1024 * 1024, clock)
        self._connect = redis_connect
        self._client: Any = None
        self._right: tuple[str, float] | None = None
        self._held = 0  # bytes of bodies that have not come to their end

    def lets_in(self, secret_in_path: str | None) -> bool:
        """Whether this request shows the cluster's token or secret. Raises StoreUnavailable when only Redis could tell."""
        if secret_in_path is not None and self._is_secret(secret_in_path):
            return True
        authorization = request.authorization
        if authorization is not None and authorization.type == "basic" and self._is_secret(authorization.password or ""):
            return True
        token = _bearer()
        return token is not None and (self._is_secret(token) or self._is_ray_token(token))

    def keep(self, kind: int) -> None:
        """Appends the body. Raises SpoolFull."""
        body = self.read(MAX_BODY_BYTES)
        if body is None:
            self._spool.append(SET_ASIDE, str(request.content_length or 0).encode())
        else:
            self._spool.append(kind, body)

    def read(self, most: int) -> bytes | None:
        """The whole body; None for one of more than `most` bytes, which is read to its end so that the sender sees the answer.

        Raises SpoolFull when too much is being read already.
        """
        if (request.content_length or 0) > MAX_DRAINED_BYTES:
            abort(413, f"At most {most} bytes at once.")
        chunks: list[bytes] = []
        total = held = 0
        try:
            while chunk := request.stream.read(CHUNK_BYTES):
                total += len(chunk)
                if total > MAX_DRAINED_BYTES:
                    abort(413, f"At most {most} bytes at once.")
                if total > most:
                    chunks.clear()
                    self._held, held = self._held - held, 0
                    continue
                if self._held + len(chunk) > MAX_HELD_BYTES:
                    raise SpoolFull(f"More than {MAX_HELD_BYTES} bytes are being read.")
                self._held, held = self._held + len(chunk), held + len(chunk)
                chunks.append(chunk)
            return b"".join(chunks) if total <= most else None
        finally:
            self._held -= held

    def asks_for_token(self) -> bool:
        return ingest.asks_for_token(self._redis(), self.cluster)

    def query(self, body: bytes) -> bytes:
        """The GCS's reply. Raises TaskQueryFailed, StoreUnavailable."""
        return task_queries.ask(self._redis(), self.cluster, body)

    def _redis(self) -> Any:
        if self._client is None:
            self._client = self._connect()
        return self._client

    def _is_secret(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "replace"), self._secret.encode())

    def _is_ray_token(self, token: str) -> bool:
        now = time.monotonic()
        if self._right is not None and now < self._right[1] and hmac.compare_digest(self._right[0].encode(), token.encode()):
            return True
        if not ingest.is_ray_token(self._redis(), self.cluster, token):
            return False
        self._right = (token, now + KNOWN_FOR_S)
        return True


def create_cluster_api(settings: Settings, redis_connect: Connect) -> Flask:
    """The WSGI app."""
    app = Flask("webapp.cluster", static_folder=None)
    app.url_map.merge_slashes = False
    app.extensions[NAME] = Receiver(settings, redis_connect)
    for prefix in ("", "/r/<cluster>", "/r/<cluster>/k/<secret>"):
        app.register_blueprint(_ray_api(), url_prefix=prefix or None, name=f"ray{prefix.count('<')}")
    app.add_url_rule("/", "root", show_what_this_is, methods=["GET"], provide_automatic_options=False)
    app.add_url_rule("/ingest/<cluster>", "ingest", take_json, methods=["POST"], provide_automatic_options=False)
    app.register_error_handler(HTTPException, _refused)
    app.register_error_handler(StoreUnavailable, _redis_is_away)
    app.register_error_handler(SpoolFull, _no_room)
    app.register_error_handler(TaskQueryFailed, _not_answered)
    return app


def cluster_api_from_environment() -> Flask:
    """As gunicorn loads it."""
    settings = read_settings()
    return create_cluster_api(settings, lambda: connect(settings, timeout_s=2.0))


def _ray_api() -> Blueprint:
    """Ray's own paths, which may stand below a prefix that names the cluster."""
    api = Blueprint("ray", __name__)
    for rule, name, view, methods in (
        (ingest.EVENTS_PATH, "events", take_protobuf, ["POST"]),
        (ingest.QUERY_PATH, "query", answer_query, ["POST"]),
        ("/api/gcs_healthz", "health", show_health, ["GET"]),
        ("/api/authentication_mode", "mode", show_authentication_mode, ["GET"]),
    ):
        api.add_url_rule(rule, name, view, methods=methods, provide_automatic_options=False)
    return api


def show_what_this_is() -> Response:
    """For whoever opens the address that Ray prints."""
    return Response("Raydeck receives this cluster's events here. Its pages are at another address.\n", content_type="text/plain")


def take_protobuf(cluster: str | None = None, secret: str | None = None) -> Response:
    """An AddEventsRequest of a dashboard agent. Answered as Ray's own dashboard does."""
    receiver = _let_in(cluster, secret)
    receiver.keep(PROTOBUF)
    return _ray_answer(True, "")


def take_json(cluster: str) -> Response:
    """A list of events, as the aggregator's HTTP export sends them."""
    receiver = _let_in(cluster, None)
    receiver.keep(JSON)
    return Response(status=200)


def answer_query(cluster: str | None = None, secret: str | None = None) -> Response:
    """A GetTaskEventsRequest, answered by the GCS: `ray timeline` and the state API ask here when events are pushed."""
    receiver = _let_in(cluster, secret)
    question = receiver.read(MAX_QUESTION_BYTES)
    if question is None:
        abort(413, "The question is too long.")
    return Response(receiver.query(question), content_type="application/octet-stream")


def show_health(cluster: str | None = None, secret: str | None = None) -> Response:
    """KubeRay asks this of a head node."""
    _receiver(cluster)
    return Response("success", content_type="text/plain; charset=utf-8")


def show_authentication_mode(cluster: str | None = None, secret: str | None = None) -> Response:
    """Whether clients must send the cluster's token."""
    return _json({"authentication_mode": "token" if _receiver(cluster).asks_for_token() else "disabled"}, 200)


def _receiver(cluster: str | None) -> Receiver:
    receiver: Receiver = current_app.extensions[NAME]
    if cluster not in (None, receiver.cluster):
        abort(404, f"This Raydeck collects the cluster {receiver.cluster}.")
    return receiver


def _let_in(cluster: str | None, secret: str | None) -> Receiver:
    receiver = _receiver(cluster)
    if not receiver.lets_in(secret):
        abort(401, "Send the cluster's token, or the secret that raydeck env prints.")
    return receiver


def _bearer() -> str | None:
    """The token, as Ray's clients send it: in either of two headers."""
    for name in ("Authorization", "X-Ray-Authorization"):
        value = request.headers.get(name, "")
        if value[:7].lower() == "bearer " and len(value) <= MAX_CREDENTIAL:
            return value[7:].strip()
    return None


def _ray_answer(result: bool, message: str, status: int = 200) -> Response:
    """The envelope of Ray's dashboard."""
    return _json({"result": result, "msg": message, "data": {}}, status)


def _json(content: Any, status: int) -> Response:
    response = Response(json.dumps(content), content_type="application/json; charset=utf-8")
    response.status_code = status
    return response


def _refused(error: HTTPException) -> Response:
    said = NOT_HERE if request.routing_exception is error and error.code == 404 else error.description or error.name
    answer = _ray_answer(False, said, error.code or 500)
    if error.code == 401:
        answer.headers["WWW-Authenticate"] = "Bearer"
    return answer


def _redis_is_away(error: StoreUnavailable) -> Response:
    return _later("Redis is away: the token cannot be checked.")


def _no_room(error: SpoolFull) -> Response:
    return _later(str(error))


def _not_answered(error: TaskQueryFailed) -> Response:
    return _later(str(error))


def _later(sentence: str) -> Response:
    answer = _ray_answer(False, sentence, 503)
    answer.headers["Retry-After"] = "2"
    return answer
