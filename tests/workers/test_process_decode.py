"""What titles, command lines and files of /proc say of a process."""

from __future__ import annotations

import pytest

from workers.sources import processes_decode as decode
from workers.sources.processes_decode import ExpensiveMemory, TitleReading

NODE_ID = "9c85b656ac082ebc39c2aff85af9ef41d0af46c2a051c83db734fcf3"
RAYLET = [
    "/x/raylet",
    "--raylet_socket_name=/tmp/ray/session_1/sockets/raylet",
    f"--node_id={NODE_ID}",
    "--node_ip_address=10.0.0.7",
    "--static_resource_list=node:10.0.0.7,1.0,node:__internal_head__,1.0,CPU,2",
    "--session_dir=/tmp/ray/session_1",
    "--gcs-address=10.0.0.1:6379",
    "--session-name=session_1",
    "--python_worker_command=python default_worker.py --session-name=session_of_a_worker --node-id=1",
]


def test_a_name_with_blanks_and_brackets_does_not_shift_the_figures() -> None:
    words = b"S 7 8 9 0 -1 4194304 1 2 3 4 150 250 5 6 20 0 12 0 6789 1000 2000"
    stat = decode.parse_stat(b"42 (odd ) name (x) " + words)

    assert stat is not None
    assert (stat.pid, stat.name, stat.parent_pid, stat.session_id) == (42, "odd ) name (x", 7, 9)
    assert (stat.user_ticks, stat.system_ticks, stat.num_threads, stat.start_ticks) == (150, 250, 12, 6789)
    assert not stat.is_zombie
    assert decode.parse_stat(b"") is None
    assert decode.parse_stat(b"42 (cut") is None


@pytest.mark.parametrize(
    ("title", "is_actor", "reading"),
    [
        ("ray::IDLE", False, TitleReading()),
        ("ray::train_step", False, TitleReading(None, "train_step")),
        ("ray::my.module task", False, TitleReading(None, "my.module task")),
        ("ray::Counter", True, TitleReading("Counter")),
        ("ray::Counter.go", True, TitleReading("Counter", "Counter.go")),
        ("ray::main.<locals>.Counter.go", True, TitleReading("main.<locals>.Counter", "main.<locals>.Counter.go")),
        ("ray::DashboardAgent", False, TitleReading()),
        ("ray::SPILL_SpillWorker", False, TitleReading()),
        ("ray::IDLE_RestoreWorker", False, TitleReading()),
        ("ray::", False, TitleReading()),
        ("python", False, TitleReading()),
        ("ray::<script>alert(1)</script>", False, TitleReading(None, "<script>alert(1)</script>")),
    ],
)
def test_a_title_names_the_task_that_runs_and_the_actors_class(title: str, is_actor: bool, reading: TitleReading) -> None:
    assert decode.decode_title(title, is_actor) == reading


def test_a_class_with_a_dot_in_its_name_is_no_method_call() -> None:
    assert decode.decode_title("ray::Outer.Inner", True, is_idle=True) == TitleReading("Outer.Inner")
    assert decode.decode_title("ray::Outer.Inner.go", True, "Outer.Inner") == TitleReading("Outer.Inner", "Outer.Inner.go")


def test_a_class_that_was_guessed_too_long_is_corrected_by_the_next_title() -> None:
    guessed = decode.decode_title("ray::Counter.go", True, is_idle=True).class_name  # the raylet's word was older than the title
    assert decode.decode_title("ray::Counter", True, guessed) == TitleReading("Counter")


def test_an_actor_keeps_its_class_between_two_titles() -> None:
    assert decode.decode_title("ray::IDLE", True, "Counter") == TitleReading("Counter")


def test_a_raylet_is_known_by_its_own_flags_and_not_by_those_it_gives_its_workers() -> None:
    flags = decode.raylet_flags(RAYLET)

    assert flags is not None
    assert (flags.node_id, flags.session, flags.node_ip) == (NODE_ID, "session_1", "10.0.0.7")
    assert (flags.gcs_address, flags.session_dir, flags.is_head_node) == ("10.0.0.1:6379", "/tmp/ray/session_1", True)


@pytest.mark.parametrize("without", ["--node_id", "--session-name", "--raylet_socket_name"])
def test_what_is_only_called_raylet_is_none(without: str) -> None:
    assert decode.raylet_flags([word for word in RAYLET if not word.startswith(without)]) is None
    assert decode.raylet_flags([]) is None
    assert decode.raylet_flags([word.replace(NODE_ID, "../../etc") for word in RAYLET]) is None


def test_rays_helpers_belong_to_the_session_and_a_reader_of_its_logs_does_not() -> None:
    assert decode.belongs_to_session(["python", "log_monitor.py", "--logs-dir=/tmp/ray/session_1/logs"], "session_1")
    assert not decode.belongs_to_session(["python", "log_monitor.py", "--logs-dir=/tmp/ray/session_11/logs"], "session_1")
    assert not decode.belongs_to_session(["tail", "-f", "/tmp/ray/session_1/logs/raylet.out"], "session_1")


def test_a_title_is_what_ray_set_or_the_script_that_runs() -> None:
    assert decode.title_of(decode.parse_arguments(b"ray::Counter.go" + b"\0" * 300), "ray::Counter.go") == "ray::Counter.go"
    assert decode.title_of(["/usr/bin/python3", "-u", "/a/log_monitor.py", "--x=y.py"], "python3") == "log_monitor.py"
    assert decode.title_of(["/x/raylet", "--a"], "raylet") == "raylet"
    assert len(decode.title_of(["ray::" + "x" * 100_000], "x")) == decode.MAX_TITLE


def test_long_command_lines_are_cut() -> None:
    assert len(decode.command_line(["x" * 100_000])) == decode.MAX_COMMAND_LINE
    assert decode.short_command_line(["a", "b" * 500], 3) == "a bbb…"
    assert decode.parse_arguments(b"") == []


def test_bytes_that_are_no_text_do_no_harm() -> None:
    assert decode.parse_arguments(b"a\xff\0b\0\0\0") == ["a\ufffd", "b"]


def test_of_an_environment_only_what_is_asked_for_is_taken() -> None:
    raw = b"SECRET=1\0RAY_RAYLET_PID=77\0odd\0RAY_RAYLET_PID_X=5\0"
    assert decode.parse_environ(raw, ("RAY_RAYLET_PID",)) == {"RAY_RAYLET_PID": "77"}


def test_memory_that_is_shared_is_told_from_memory_that_is_not() -> None:
    rollup = b"5623-7ffc ---p 0 00:00 0 [rollup]\nRss: 80 kB\nPss: 40 kB\nPrivate_Clean: 8 kB\nPrivate_Dirty: 30 kB\n"
    assert decode.parse_smaps_rollup(rollup) == ExpensiveMemory(40 * 1024, 38 * 1024)
    assert decode.parse_smaps_rollup(b"") is None
    assert decode.parse_statm(b"100 20 5 1 0 30 0", 4096) == (20 * 4096, 5 * 4096)


@pytest.mark.parametrize(
    ("name", "title", "kind"),
    [
        ("raylet", "raylet", "RAYLET"),
        ("gcs_server", "gcs_server", "GCS_SERVER"),
        ("ray::DashboardAg", "ray::DashboardAgent", "AGENT"),
        ("ray::RuntimeEnv", "ray::RuntimeEnvAgent", "AGENT"),
        ("ray::IDLE", "ray::IDLE", "WORKER"),
        ("python", "log_monitor.py", "OTHER"),
        ("sleep", "sleep", "OTHER"),
    ],
)
def test_a_process_has_a_kind_even_when_its_raylet_says_nothing(name: str, title: str, kind: str) -> None:
    assert decode.own_kind(name, title) == kind
