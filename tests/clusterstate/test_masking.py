"""What is a secret in what a cluster says, and what is ordinary text."""

from __future__ import annotations

import time

import pytest

from clusterstate.masking import REDACTED, is_secret_name, mask_mapping, mask_runtime_env, mask_text


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("python train.py --token=abc123 --lr=0.1", "python train.py --token=<redacted> --lr=0.1"),
        ("python train.py --api-key abc123 --lr 0.1", "python train.py --api-key <redacted> --lr 0.1"),
        ("AWS_SECRET_ACCESS_KEY=wJalr/XUtn python x.py", "AWS_SECRET_ACCESS_KEY=<redacted> python x.py"),
        ("AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE python x.py", "AWS_ACCESS_KEY_ID=<redacted> python x.py"),
        ("export HF_TOKEN='s3 cret' && run", "export HF_TOKEN='<redacted>' && run"),
        ('curl -H "Authorization: Bearer abcdefgh12345"', 'curl -H "Authorization: Bearer <redacted>"'),
        ("git clone https://me:pa55@example.org/x.git", "git clone https://<redacted>@example.org/x.git"),
        ("redis://:p@ss@10.0.0.1:6379/0", "redis://<redacted>@10.0.0.1:6379/0"),
        ("pip install git+https://ghp_0123456789abcdefghij0123456789@github.com/a/b", "pip install git+https://<redacted>@github.com/a/b"),
        ('{"password": "hunter2", "user": "ann"}', '{"password": "<redacted>", "user": "ann"}'),
        ("GET /x?user=ann&token=deadbeef&page=2", "GET /x?user=ann&token=<redacted>&page=2"),
        ("db_pwd=hunter2", "db_pwd=<redacted>"),
        ("dbPassword=hunter2", "dbPassword=<redacted>"),
        ("found eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abcdefghijk here", "found <redacted> here"),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----",
            "-----BEGIN RSA PRIVATE KEY-----<redacted>-----END RSA PRIVATE KEY-----",
        ),
    ],
)
def test_credentials_in_text_are_masked_and_the_rest_stays(text: str, masked: str) -> None:
    assert mask_text(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "python train.py --max_tokens=4096 --tokenizer gpt2 --eos_token='</s>'",
        "SyntaxError: invalid token: unexpected end",
        "KeyError: 'api'",
        "self.token = token",
        "Generator(token=token, n=3)",
        "--token=$HF_TOKEN",
        "PWD=/home/ann OLDPWD=/tmp",
        "ssh://git@example.org/a/b.git",
        "s3://bucket/key=1/part-0",
        "--password-file=/run/secrets/db --key=name --keys a b",
        "password: ",
        "The actor died because its owner has died. Owner Id: 0100. Author: a@b.org",
        "http://10.0.0.1:8265/#/jobs/01000000",
        "hello\x1b[31m <script>alert(1)</script> \u202e",
        "",
    ],
)
def test_ordinary_text_comes_out_as_it_went_in(text: str) -> None:
    assert mask_text(text) == text


def test_masking_twice_changes_nothing_more() -> None:
    text = "X_TOKEN=abc --password foo https://a:b@c/ Bearer abcdefghijkl"

    assert mask_text(mask_text(text)) == mask_text(text)


def test_a_runtime_environment_shows_the_names_of_its_variables_only() -> None:
    shown = mask_runtime_env(
        {
            "env_vars": {"OMP_NUM_THREADS": "4", "SECRET": "x"},
            "pip": {"packages": ["a==1"], "pip_install_options": ["--index-url https://u:p@example.org/simple"]},
            "working_dir": "gcs://_ray_pkg_0123.zip",
            "config": {"setup_timeout_seconds": 600, "eager_install": True},
            "custom": {"wandb_api_key": "k", "nested": [{"env_vars": {"A": "b"}}]},
        }
    )

    assert shown["env_vars"] == {"OMP_NUM_THREADS": REDACTED, "SECRET": REDACTED}
    assert shown["pip"] == {"packages": ["a==1"], "pip_install_options": ["--index-url https://<redacted>@example.org/simple"]}
    assert shown["working_dir"] == "gcs://_ray_pkg_0123.zip"
    assert shown["config"] == {"setup_timeout_seconds": 600, "eager_install": True}
    assert shown["custom"] == {"wandb_api_key": REDACTED, "nested": [{"env_vars": {"A": REDACTED}}]}


def test_env_vars_of_an_unexpected_shape_are_masked_whole() -> None:
    assert mask_runtime_env({"env_vars": ["A=secret"]}) == {"env_vars": REDACTED}
    assert mask_runtime_env({"env_vars": None}) == {"env_vars": None}


def test_metadata_values_of_secret_names_are_masked_whole() -> None:
    shown = mask_mapping({"job_name": "nightly", "slack_token": "abc def", "note": "use https://u:p@h/"})

    assert shown == {"job_name": "nightly", "slack_token": REDACTED, "note": "use https://<redacted>@h/"}


@pytest.mark.parametrize(
    "name", ["token", "RAY_AUTH_TOKEN", "api_key", "apiKey", "OPENAI_API_KEY", "client-secret", "X-Amz-Signature", "passphrase"]
)
def test_names_of_secrets(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name", ["max_tokens", "pad_token", "key", "monkey", "token_path", "secret_name", "author", "job_name", "keys", "PWD", ""]
)
def test_names_of_other_things(name: str) -> None:
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    "piece", ["token=", "://", "--token ", "a=b:", '"key":', "Bearer ", "eyJ", "x" * 50 + "_", "-----BEGIN PRIVATE KEY-----", "://a@"]
)
def test_a_megabyte_of_hostile_text_is_masked_in_reasonable_time(piece: str) -> None:
    text = (piece * (300_000 // len(piece))) + " token"
    started = time.perf_counter()

    mask_text(text)

    assert time.perf_counter() - started < 30.0  # quadratic work would take minutes; a busy machine only seconds
