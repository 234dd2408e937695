"""The outermost layer of an answer: HTML, JSON, redirects, compression."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator

from flask import Response, request
from htmx_flask import make_response

from webapp.exports import as_json
from webapp.fragment_cache import GZIP_LEVEL, compress
from webapp.htmx import headers_of
from webapp.security import vary

COMPRESSED_FROM_BYTES = 1000


def html(body: str, status: int = 200) -> Response:
    """A page, compressed when it is worth it."""
    return compressed(Response(body, status=status, content_type="text/html; charset=utf-8"))


def compressed(response: Response) -> Response:
    """The same answer, gzipped if the asker can read that."""
    vary(response, "Accept-Encoding")
    if response.is_streamed or "Content-Encoding" in response.headers or not reads_gzip():
        return response
    body = response.get_data()
    if len(body) >= COMPRESSED_FROM_BYTES:
        response.set_data(compress(body))
        response.headers["Content-Encoding"] = "gzip"
    return response


def streamed(pieces: Iterator[bytes], content_type: str) -> Response:
    """An answer that is made while it is sent. What goes wrong meanwhile ends the connection: half an answer is never a whole one."""
    zipped = reads_gzip()
    response = Response(_zipped(pieces) if zipped else pieces, content_type=content_type)
    if zipped:
        response.headers["Content-Encoding"] = "gzip"
    vary(response, "Accept-Encoding")
    return response


def _zipped(pieces: Iterator[bytes]) -> Iterator[bytes]:
    squeezer = zlib.compressobj(GZIP_LEVEL, wbits=zlib.MAX_WBITS | 16)
    for piece in pieces:
        if squeezed := squeezer.compress(piece):
            yield squeezed
    yield squeezer.flush()


def reads_gzip() -> bool:
    """Whether the asker says so."""
    return request.accept_encodings.quality("gzip") > 0


def json_response(value: object, status: int = 200) -> Response:
    return compressed(Response(as_json(value), status=status, content_type="application/json"))


def redirect_to(url: str, code: int = 303) -> Response:
    """After a POST, or to where something is. htmx is told by header, since it would follow a redirect inside a fetch."""
    if headers_of(request).is_partial:
        response: Response = make_response("", redirect=url)
        return response
    return Response(status=code, headers={"Location": url}, content_type="text/plain; charset=utf-8")


def html_from_gzip(body: bytes) -> Response:
    """A fragment as the cache keeps it."""
    response = Response(content_type="text/html; charset=utf-8")
    vary(response, "Accept-Encoding")
    if reads_gzip():
        response.set_data(body)
        response.headers["Content-Encoding"] = "gzip"
    else:
        response.set_data(gzip.decompress(body))
    return response
