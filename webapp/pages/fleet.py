"""Fleet: every cluster that Raydeck watches or remembers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Response

from webapp import background
from webapp.parts import parts
from webapp.responses import page_response, redirect_to
from webapp.scope import href

RELOADED_EACH_S = 1


def show_fleet() -> Response:
    """All clusters; the only cluster's overview when there is one."""
    fleet = parts().fleet
    names = background.run(fleet.names)
    if len(names) == 1:
        return redirect_to(href("overview", cluster=names[0]))
    now = parts().now()

    def load() -> Mapping[str, Any]:
        return {"clusters": fleet.clusters(now), "past": {name: fleet.sessions(name) for name in names}}

    return page_response("fleet/index.html", "fleet/_index.html", ("fleet", int(now // RELOADED_EACH_S)), load)
