"""The logs of one of Ray's things, on its page: of a worker, of all lives of an actor, of a task, of a job's driver."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from flask import Response, request

from clusterstate import model
from clusterstate.log_answers import ListedFile, Listing, LogPart, Unreadable
from clusterstate.log_names import SERVE, serve_file
from clusterstate.probes import ListLogs, ReadLog
from clusterstate.query import BadQuery, NotFound
from clusterstate.resources import ACTORS, JOBS, NODES, PROCESSES, TASKS, WORKERS
from clusterstate.store.reader import SessionReader
from webapp.logs import scopes
from webapp.logs.driver_output import where_it_goes
from webapp.logs.lines import window_of
from webapp.pages.log_view import FileLinks, LogFile
from webapp.pages.logs import ask_node
from webapp.responses import page_response
from webapp.scope import Scope, href
from webapp.tabs import Tab
from webapp.task_texts import list_of

ARGUMENTS = frozenset({"worker", "actor", "task", "attempt", "job", "file", "theme"})
LINES_SHOWN = 150
FILES_SHOWN = 40
MOST_NODES = 8
"""Lives of an actor that are looked for, the newest first."""
STREAMS = {"stdout": 0, "stderr": 1, "system": 2}


@dataclass(frozen=True)
class Place:
    """Where files of a thing are."""

    node_id: str
    scope: scopes.LogScope
    group: str | None = None
    name: str = ""  # that a file's must hold


@dataclass(frozen=True)
class Slice:
    """The part of a file that is a task's."""

    name: str  # of the file, without folders
    start: int
    end: int | None  # None: it still writes


@dataclass(frozen=True)
class Thing:
    """What logs are asked for."""

    places: tuple[Place, ...]
    slices: tuple[Slice, ...] = ()
    note: str | None = None  # what one should know of these logs
    whose: tuple[str, str] = ("", "")  # worker, actor or job, and its id: as lists and searches take it

    @property
    def search(self) -> str:
        """The address of a search in all of them."""
        return href("log_search", **dict([self.whose]))

    @property
    def files(self) -> str:
        """The address of the list of them."""
        return href("logs", **dict([self.whose]))


@dataclass(frozen=True)
class ThingFile:
    node: model.Node
    file: ListedFile


@dataclass(frozen=True)
class ThingLogs:
    """All that logs/_of.html may use."""

    thing: Thing
    tabs: tuple[Tab, ...]
    shown: LogFile | None
    whole: str | None  # the address of the chosen file, where it stands by itself
    problems: tuple[str, ...]
    is_slice: bool
    is_lost: bool  # it is a slice of a file, and what was kept of that is not of it
    gone: tuple[model.Node, ...]  # nodes whose files are told by what the head kept of them


def show_logs_of(scope: Scope) -> Response:
    """The files of a thing as tabs, and the end of the chosen one: ?worker=, ?actor=, ?task= (&attempt=) or ?job=, and ?file=."""
    for name in request.args:
        if name not in ARGUMENTS:
            raise BadQuery(f"{name[:32]!r} is not known here; known are {', '.join(sorted(ARGUMENTS - {'theme'}))}.")
    thing = _thing(scope.reader)
    problems: list[str] = []
    gone: dict[str, model.Node] = {}
    files = _in_order(scope.reader, list(_files(scope, thing, problems, gone)))
    chosen = _chosen(files, thing)
    shown, cut = _shown(scope, chosen, thing, problems) if chosen else (None, None)
    page = ThingLogs(
        thing=thing,
        tabs=tuple(_tabs(files, chosen)),
        shown=shown,
        whole=_whole(chosen, cut) if chosen else None,
        problems=tuple(dict.fromkeys(problems)),
        is_slice=cut is not None,
        is_lost=shown is not None and cut is not None and _is_lost(shown, cut),
        gone=tuple(gone.values()),
    )
    return page_response("logs/of.html", "logs/_of.html", page=page, links=FileLinks(shown) if shown else None)


def _thing(reader: SessionReader) -> Thing:
    args = request.args
    if worker_id := args.get("worker"):
        return _of_worker(reader, worker_id)
    if actor_id := args.get("actor"):
        return _of_actor(reader, actor_id)
    if task_id := args.get("task"):
        return _of_task(reader, task_id, args.get("attempt", ""))
    if job_key := args.get("job"):
        return _of_job(reader, job_key)
    raise BadQuery("Name a worker, an actor, a task or a job.")


def _of_worker(reader: SessionReader, worker_id: str) -> Thing:
    worker: model.Worker | None = reader.get(WORKERS, worker_id)
    if worker is None:
        raise NotFound(f"No worker {worker_id[:64]!r} is remembered in this session.")
    places: tuple[Place, ...] = (Place(worker.node_id, scopes.of(reader, worker=worker_id)),) if worker.node_id else ()
    for actor in reader.find(ACTORS, "worker_id", worker_id, 1):
        places += _of_serve(actor)
    return Thing(places, whose=("worker", worker_id))


def _of_actor(reader: SessionReader, actor_id: str) -> Thing:
    actor: model.Actor | None = reader.get(ACTORS, actor_id)
    if actor is None:
        raise NotFound(f"No actor {actor_id[:64]!r} is remembered in this session.")
    lives = scopes.incarnations(reader, actor)
    on_nodes: dict[str, list[str]] = {}
    for worker_id, node_id in lives:
        if node_id:
            on_nodes.setdefault(node_id, []).append(worker_id)
    places = tuple(
        Place(node_id, scopes.LogScope(worker_ids=tuple(workers[: scopes.MOST_WORKERS]))) for node_id, workers in on_nodes.items()
    )
    note = f"It lived {len(lives)} times: the files of each life are here, the last life first." if len(lives) > 1 else None
    if not lives:
        note = "It has no process yet, so it has written nothing." if actor.state != "DEAD" else "No process of it is known."
    return Thing((*places[:MOST_NODES], *_of_serve(actor)), note=note, whose=("actor", actor_id))


def _of_serve(actor: model.Actor) -> tuple[Place, ...]:
    """The file that a replica, a proxy or the controller of Serve logs to, beside what its process printed."""
    name = serve_file(actor)
    return (Place(actor.node_id, scopes.LogScope(), SERVE, name),) if name and actor.node_id else ()


def _of_task(reader: SessionReader, task_id: str, attempt: str) -> Thing:
    attempts: list[model.Task] = sorted(reader.find(TASKS, "task_id", task_id, 1000), key=lambda one: one.attempt_number)
    if attempt:
        attempts = [one for one in attempts if str(one.attempt_number) == attempt]
    if not attempts:
        raise NotFound(f"No such attempt of task {task_id[:64]!r} is remembered in this session.")
    task = attempts[-1]
    if task.node_id is None or task.worker_id is None:
        return Thing((), note="It did not come to a worker (yet), so it has written nothing.")
    place = Place(task.node_id, scopes.LogScope(worker_ids=(task.worker_id,)))
    whose = ("worker", task.worker_id)
    slices = tuple(_slices(reader, task))
    if slices:
        return Thing((place,), slices, "Only what was written while this attempt ran is shown.", whose=whose)
    if task.actor_id:
        note = (
            "Ray does not note which lines are of which call of an actor (calls of async and threaded actors run side by side; for others"
            " RAY_ENABLE_RECORD_ACTOR_TASK_LOGGING=1 does). This is all that the actor's process wrote."
        )
    else:
        note = "Ray did not note which lines are of this task. This is all that its worker wrote."
    return Thing((place,), note=note, whose=whose)


def _slices(reader: SessionReader, task: model.Task) -> Iterator[Slice]:
    names = list_of(reader, task.log_files_id)
    for name, start, end in zip(names, (task.stdout_start, task.stderr_start), (task.stdout_end, task.stderr_end), strict=False):
        if isinstance(name, str) and name and start is not None:
            yield Slice(PurePosixPath(name).name, start, end)


def _of_job(reader: SessionReader, job_key: str) -> Thing:
    job: model.Job | None = reader.get(JOBS, job_key) or next(iter(reader.find(JOBS, "job_id", job_key, 1)), None)
    if job is None:
        raise NotFound(f"No job {job_key[:64]!r} is remembered in this session.")
    note = None
    if job.submission_id is None:
        note = where_it_goes(reader.get(PROCESSES, f"{job.driver_node_id}:{job.driver_pid}"))
    if job.driver_node_id is None:
        return Thing((), note=note or "Its driver has not started (yet).", whose=("job", job.job_key))
    scope = scopes.LogScope(job_ids=(job.job_id,) if job.job_id else (), submission_ids=(job.submission_id,) if job.submission_id else ())
    return Thing((Place(job.driver_node_id, scope, "driver"),), note=note, whose=("job", job.job_key))


def _files(scope: Scope, thing: Thing, problems: list[str], gone: dict[str, model.Node]) -> Iterator[ThingFile]:
    """Those of all places, as the nodes list them now."""
    for place in thing.places:
        node: model.Node | None = scope.reader.get(NODES, place.node_id)
        if node is None:
            problems.append(f"Node {place.node_id[:8]} is not remembered.")
            continue
        probe = ListLogs(place.node_id, place.group, place.name, *place.scope.ids, with_empty=True, limit=FILES_SHOWN)
        listing, problem = ask_node(scope, node, probe, Listing)
        if problem is not None:
            problems.append(f"Node {place.node_id[:8]}: {problem}" if len(thing.places) > 1 else problem)
        if listing is not None and listing.is_kept:
            gone[node.node_id] = node
        for file in listing.files if listing else ():
            yield ThingFile(node, file)


def _chosen(files: list[ThingFile], thing: Thing) -> ThingFile | None:
    wanted = request.args.get("file")
    if wanted:
        found = next((one for one in files if one.file.file_id == wanted), None)
        if found is not None:
            return found
    names = [cut.name for cut in thing.slices]
    of_slices = [one for one in files if one.file.name.rpartition("/")[2] in names]
    written = [one for one in of_slices or files if one.file.size]
    return next(iter(written or files), None)


def _in_order(reader: SessionReader, files: list[ThingFile]) -> list[ThingFile]:
    """The last life first; of one life what was printed, errors, Ray's own, and older parts after them."""
    began: dict[str, int] = {}
    for found in files:
        life = _life(found)
        began[life] = max(began.get(life, 0), found.file.modified_ms)
    for life in began:
        worker: model.Worker | None = reader.get(WORKERS, life)
        if worker is not None and worker.start_time_ms:
            began[life] = worker.start_time_ms
    if len(began) > 1 and "" in began:
        began[""] = 0  # Serve's own are of all lives

    def order(found: ThingFile) -> tuple[int, int, int, int]:
        return -began[_life(found)], found.file.rotation, _kind(found), -found.file.modified_ms

    return sorted(files, key=order)


def _life(found: ThingFile) -> str:
    """Files without a worker, of a driver, are of one."""
    return found.file.worker_id or ""


def _kind(found: ThingFile) -> int:
    """What was printed, errors, Ray's own, Serve's."""
    return len(STREAMS) if found.file.group == SERVE else STREAMS.get(found.file.stream, len(STREAMS))


def _tabs(files: list[ThingFile], chosen: ThingFile | None) -> Iterator[Tab]:
    lives = {found.file.pid for found in files if found.file.pid}
    for found in files:
        file = found.file
        if not file.size and found is not chosen and file.stream == "system" and file.group != SERVE:
            continue
        label = "Serve" if file.group == SERVE else file.stream if file.stream in STREAMS else "log"
        if len(lives) > 1 and file.pid:
            label += f" of pid {file.pid}"
        if file.rotation:
            label += f", rotated {file.rotation}"
        if not file.size:
            label += " (empty)"
        yield Tab(file.file_id, label, _same(file.file_id), found is chosen)


def _same(file_id: str) -> str:
    whose = {name: request.args.get(name) for name in ("worker", "actor", "task", "attempt", "job")}
    return href("log_of", **whose, file=file_id)


def _shown(scope: Scope, chosen: ThingFile, thing: Thing, problems: list[str]) -> tuple[LogFile | None, Slice | None]:
    """The end of the file; of a task's part the beginning of that."""
    cut = next((one for one in thing.slices if one.name == chosen.file.name.rpartition("/")[2]), None)
    probe = ReadLog(chosen.node.node_id, chosen.file.file_id, cut.start if cut else None, cut is None, LINES_SHOWN)
    part, problem = ask_node(scope, chosen.node, probe, LogPart)
    if problem is not None:
        problems.append(problem)
    if part is None:
        return None, cut
    try:
        window = window_of(part, raw=False, since=cut.start, until=cut.end) if cut else window_of(part, raw=False)
    except Unreadable as why:
        problems.append(str(why))
        return None, cut
    return LogFile(chosen.node, chosen.file.file_id, window, None, raw=False, times=False, wrap=True, time=""), cut


def _is_lost(shown: LogFile, cut: Slice) -> bool:
    window = shown.window
    wrote = cut.end is None or cut.end > cut.start
    return window is not None and window.is_kept and wrote and not window.lines and not window.first <= cut.start < window.size


def _whole(chosen: ThingFile, cut: Slice | None) -> str:
    return href("log", node_id=chosen.node.node_id, file_id=chosen.file.file_id, at=cut.start if cut else None)
