"""What is a secret in what a cluster says, and what is ordinary text."""

from __future__ import annotations

import base64
import time

import pytest

from clusterstate.masking import REDACTED, is_secret_name, mask_arguments, mask_mapping, mask_runtime_env, mask_text


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


MASKED_IN_MANY_WAYS = [
    "docker run --env=DB_PASSWORD={} image",
    "docker run -e DB_PASSWORD={} image",
    "docker run -eDB_PASSWORD={} image",
    "run --password = {} --x",
    "run --password {} --x",
    "run --password '{} with blanks' --x",
    "run --password={},more --x",
    "run --password=more,{} --x",
    "run --token \\\n    {}",
    "run -Password:{}",
    "password: [{}, other]",
    "password: {}",
    "password:={}",
    "password = {}",
    "dbPassword: {}",
    "DB_PASS={}",
    "my.password={}",
    "spark.hadoop.fs.s3a.secret.key={}",
    "  token: {}\n",
    "{{'password': '{}'}}",
    "{{'token': b'{}'}}",
    "{{'password': ['{}', 'b'], 'user': 'ann'}}",
    "{{'password': {{'first': '{}'}}, 'user': 'ann'}}",
    "Config(password='{}', user='ann')",
    "Config(token={}, n=3)",
    '{{"api_key":"{}"}}',
    r'"{{\"password\": \"{}\", \"user\": \"ann\"}}"',
    r'"{{\\\"password\\\": \\\"{}\\\"}}"',
    r'password="a\"{}"',
    "api_key='{}",
    '"password" => "{}"',
    '{{"name": "DB_PASSWORD", "value": "{}"}}',
    "- name: DB_PASSWORD\n  value: {}",
    '["train.py", "--api-key", "{}"]',
    "[('password', '{}')]",
    "x" * 1000 + "_password={}",
    'bash -c "export DB_PASSWORD={} && run"',
    "export PGPASSWORD={}; psql",
    "aws_secret_access_key = wJalr/{}",
    "AccountName=x;AccountKey={}==;EndpointSuffix=core.windows.net",
    "https://account.blob.core.windows.net/c/b?sv=2022-11-02&se=2026-01-01&sig={}%2Bab%3D&sp=r",
    "http://host/x?user=a&pass={}",
    "jdbc:mysql://host/db?user=a&password={}",
    "https://user:{}@host/x",
    "postgresql://user:{}/with-a-slash@host/db",
    "Authorization: {}",
    "Authorization: Token {}",
    "X-Api-Key: {}",
    'Proxy-Authorization: Digest username="ann", response="{}"',
    "Cookie: session={}; a=b",
    "mysql -u root -p{} db",
    "['mysql', '-u', 'root', '-p{}', 'db']",
    "mysqldump --host=x -p{} db",
    "sshpass -p {} ssh host",
    "sshpass -p{} ssh host",
    "redis-cli -h x -a {} ping",
    "curl -u ann:{} http://host",
    "curl --user=ann:{} http://host",
    "docker login -u ann -p {} registry",
    "post to https://hooks.slack.com/services/T000/B000/{}abcdefgh",
]
SECRET = "hunter2"  # letters and a digit, as weak as a password can be


@pytest.mark.parametrize("text", MASKED_IN_MANY_WAYS)
def test_no_way_of_writing_a_secret_down_lets_it_through(text: str) -> None:
    masked = mask_text(text.format(SECRET))

    assert SECRET not in masked
    assert REDACTED in masked
    assert mask_text(masked) == masked


@pytest.mark.parametrize(
    "text",
    ["Authorization: Basic {}", '{{"Authorization": "Basic {}"}}', "sent Basic {} to it", '{{"auths": {{"ghcr.io": {{"auth": "{}"}}}}}}'],
)
def test_user_and_password_in_base64_are_masked(text: str) -> None:
    assert "YW5u" not in mask_text(text.format(base64.b64encode(b"ann:hunter2").decode()))


@pytest.mark.parametrize(
    "token",
    [
        "ghp_" + "a1B2" * 9,
        "github_pat_" + "a1B2c3D4e5F6g7H8i9J0k1_" + "a1B2" * 10,
        "glpat-" + "a1b2" * 5,
        "AKIAIOSFODNN7EXAMPLE",
        "xoxb-123456789012-123456789012-abcdefABCDEF",
        "xapp-1-A0123-123-abcdefabcdefabcdef",
        "sk-" + "aB3d" * 12,
        "sk-proj-" + "aB3_" * 10,
        "sk-ant-api03-" + "aB3-" * 20 + "x",
        "hf_" + "abcdEFGH" * 4,
        "AIza" + "a1b2c3d" * 5,
        "sk_live_" + "a1b2" * 6,
        "npm_" + "a1B2" * 9,
        "nvapi-" + "a1b2" * 10,
        "gsk_" + "a1b2" * 12,
        "dapi" + "0af1" * 8,
        "SG." + "a1b2" * 5 + "." + "a1b2" * 10,
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abcdefghijk",
    ],
)
def test_tokens_of_services_are_known_by_their_look(token: str) -> None:
    assert mask_text(f"failed with {token} (no such thing)") == f"failed with {REDACTED} (no such thing)"


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
        "--num-tokens=5",
        "--num-token 5",
        "tokenizer=gpt2",
        "password_file=/x",
        "password_file: /x",
        "--password-file /x",
        "key=value",
        "max_tokens: 100",
        "max_token: 100",
        "eos_token: </s>",
        '{"max_tokens": 100, "pad_token_id": 0}',
        "pip install secret==1.0 token==2.1",
        'if password == "x":',
        "token::Type",
        "def login(user: str, password: str) -> Token:",
        "password: str | None = None",
        "api_key: Optional[str] = None",
        "--token-limit 5",
        "error: argument --token: expected one argument",
        "the option --token is required",
        "the following arguments are required: --password",
        "--no-password db",
        "--use-auth-token model",
        "token = get_token(x)",
        "token=get_token()",
        "    secret = config.secret",
        "Basic training finished",
        "Bearer certificates explained",
        "http://host:8080/users/@me",
        "http://[::1]:8265/x@y",
        "git+https://github.com/a/b@v1.0",
        "docker://registry:5000/img@sha256:abc",
        "psql -p5432 -h x",
        "ssh -p 22 ann@host",
        "mysql -P3306 -p",
        "mysql --port=3306 -p",
        "docker run -p 8080:80 nginx",
        "mkdir -p mysql/data",
        "curl -u ann http://x",
        "3 passed, pass=3 fail=1",
        "compass=1 bypass=on",
        "monkey=1 keyboard=us key: value keys: [a, b]",
        "KeyError: 'token'",
        "token: unexpected end",
        "invalid token: abc123",
        "unexpected token '<' in JSON",
        "expected one of 'password', 'token', 'key'",
        "('password', 'user')",
        "sk-learn-contrib-packages-extra",
        "task-01000000ffffffffffffffff",
        "hf_transformers_model_name_is_long",
        "risk-0123456789012345678901",
        "ray::Actor.sig(x)",
        "https://x/y?sig=1",
        "authorization: required",
        "Authorization failed for user",
        "password={{ pw }}",
        "password=${PW} token=$TOKEN x=$(cat y) --password=<your password>",
        '"password": null, "token": "", "secret": false',
        '"token": "$HF_TOKEN"',
        "file:///tmp/ray/session_2026/logs/worker-abc.log",
        "author=ann authority=x",
        "actor_id=0123456789abcdef key_id=5 partition_key=7 primary_key=id",
        "sort_key=name cache_key=abc foreign_key=7",
        "secret_name=x secret_arn=y credentials_provider=aws",
        "RAY_AUTH_TOKEN_PATH=/x/y",
        "token_count=5 n_tokens=8 tokens=100 tokens_per_s=5.5",
        "cookie_jar cookiecutter",
        "forward_pass=3 first_pass=1",
        "pwd=/home/ann PWD=/x",
        "2026-11-22 23:43:03,123 INFO token.py:17 -- 10 tokens",
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


def test_everything_below_a_secret_name_is_masked() -> None:
    shown = mask_runtime_env({"credentials": {"user": "ann", "parts": ["a", 5]}, "env": [{"name": "DB_PASSWORD", "value": "x"}]})

    assert shown["credentials"] == {"user": REDACTED, "parts": [REDACTED, REDACTED]}
    assert shown["env"] == [{"name": "DB_PASSWORD", "value": REDACTED}]


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
    "piece",
    [
        *("token=", "://", "--token ", "a=b:", '"key":', "Bearer ", "eyJ", "x" * 50 + "_", "-----BEGIN PRIVATE KEY-----", "://a@"),
        *("token=$", "token=[", "token={", r"token=\"", 'token="$A', "token='", "token=a,", "token=a&", "token=,", "token=$(", "token=a("),
        *("://a:", "://:b/", "a@b://c:d/", "mysql ", "mysql -p", "curl -u ", "docker login ", "cookie:", "authorization: ", "('token',"),
        *("name:x", "sk-", "xoxb-", "-eyJ", "-eyJaaaaaaaaa.", "&sig=", "token:", "--token \\\n", "[", "\\", '"', " basic ", "--a-"),
    ],
)
def test_hostile_text_is_masked_in_reasonable_time(piece: str) -> None:
    text = (piece * (300_000 // len(piece))) + " token mysql curl?pass"
    started = time.perf_counter()

    mask_text(text)

    assert time.perf_counter() - started < 30.0  # quadratic work would take minutes; a busy machine only seconds


def test_an_argument_that_holds_a_secret_is_masked_with_its_blanks() -> None:
    given = ["train.py", "--token", "a b c", "--note=two words", "DB_PASSWORD=d e f", "--password", "--no-token", "x", "--max_tokens=5", ""]
    shown = ["train.py", "--token", REDACTED, "--note=two words", f"DB_PASSWORD={REDACTED}", *given[5:]]

    assert mask_arguments(given) == shown
