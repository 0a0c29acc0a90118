"""A planted key reaches no file, no line and no report."""

import fake_program
import pytest

from knife_jax import cli
from knife_jax.config.run import LoggerConfig
from knife_jax.config.schema import ConfigError
from knife_jax.console.messages import one_line
from knife_jax.console.scrub import leak, scrub
from knife_jax.host.loop import train

KEY = "planted-4f6c1d0e9b"
HEX = "0123456789abcdef0123456789abcdef01234567"
FORMS = [
    "github_pat_" + "11ABCDEFG0123456789_abcDEF",
    "ghs_" + "16C7e42F292c6912E7710c838347Ae178B4a",
    "wandb_v1_" + "Ab3dEf6hIj9kLm2nOp5q" * 3,
    f"key-{HEX}-of-wandb",
    f"my_{HEX}",
    "xoxe-" + "1-abcdefghijklmnopqrst",
    "SG." + "a" * 22 + "." + "b" * 43,
    "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxMjM0NTY3ODkwIn0.c2lnbmF0dXJl",
    "AIza" + "SyA-1234567890abcdefghijklmnopqrstu",
    "https://" + "me:pw@host/x",
    "https://" + "pw@host/x",
]
"""tokens in the forms of their services, in pieces: none is real"""
NAMED = [
    ("PGPASS", "swordfish"),
    ("DB_PWD", "s3cr3t"),
    ("MYSQL_PWD", "open"),
    ("SSHPASS", "12345678"),
    ("HF_AUTH", "a.b+c*d"),
    ("APIKEY", "zyxwvut"),
    ("SECRET_KEY_BASE", "correct horse"),
    ("DATABASE_URL", "postgres://me:pwd-of-db@host/x"),
]
"""variables that hold secrets, and their values; not in test ids, which are in a variable"""


@pytest.fixture(autouse=True)
def planted(monkeypatch):
    monkeypatch.setenv("FAKE_API_KEY", KEY)
    monkeypatch.setenv("SOME_TOKEN_MODE", "disabled")


def test_no_file_and_no_line_of_a_run_holds_it(tmp_path, monkeypatch, capfd):
    def fail(*_):
        raise RuntimeError(f"the service refused {KEY}")

    fake_program.install(monkeypatch)
    monkeypatch.setattr("knife_jax.sinks.plot.draw", fail)
    offline = LoggerConfig(wandb="offline", tensorboard=True)
    config = fake_program.config(
        run_dir=str(tmp_path / "run"), logger=offline, checkpoint_every=200
    )
    with pytest.raises(RuntimeError):
        train(config)
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert {"config.yaml", "summary.json", "metrics.jsonl"} <= {path.name for path in files}
    assert any(path.suffix == ".wandb" for path in files)
    assert any("tfevents" in path.name for path in files)
    assert any("checkpoints" in path.parts for path in files)
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []
    assert "the service refused ***" in (tmp_path / "run" / "summary.json").read_text()
    out, err = capfd.readouterr()
    assert KEY not in out and KEY not in err


@pytest.mark.parametrize(
    ("word", "told"),
    [
        (
            f"logger.project=my-{KEY}",
            "logger.project holds the secret of the environment variable ",
        ),
        (
            f"run_dir=runs/{KEY}",
            "run_dir holds the secret of the environment variable FAKE_",
        ),
        ("logger.entity=${oc.env:FAKE_API_KEY}", "logger.entity holds the secret of the "),
        (f"logger.entity=a-{HEX}", "logger.entity holds what looks like an access token"),
        (
            "logger.project=sk-abcdefghijklmnopqrst",
            "logger.project holds what looks like an ",
        ),
    ],
)
def test_a_configuration_that_holds_a_secret_is_refused(word, told):
    with pytest.raises(ConfigError) as error:
        cli.compose([word])
    assert told in str(error.value)
    assert KEY not in str(error.value) and HEX not in str(error.value)


@pytest.mark.parametrize("form", FORMS, ids=range(len(FORMS)))
def test_a_token_is_known_by_its_form(form):
    assert leak({"x": 1, "run_dir": form}) == "run_dir holds what looks like an access token"
    secret = HEX if HEX in form else form.partition("://")[2].partition("@")[0] or form
    assert secret not in scrub(f"refused: {form} of yours") and scrub(f"a {form} b")[-2:] == " b"


@pytest.mark.parametrize(("name", "value"), NAMED, ids=range(len(NAMED)))
def test_a_secret_is_known_by_the_name_of_its_variable(name, value, monkeypatch):
    monkeypatch.setenv(name, value)
    secret = value.partition("me:")[2].partition("@")[0] or value
    for held in (secret, f"my-{secret}", f"runs_{secret}.x"):
        assert leak({"x": held}) == f"x holds the secret of the environment variable {name}"
        assert scrub(f"no {held}, no") == f"no {held.replace(secret, '***')}, no"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PWD", "workshop"), ("OLDPWD", "workshop"), ("MAX_TOKENS", "workshop"),
        ("TOKEN_MODE", "workshop"), ("KEY_FILE", "workshop"), ("KEYBOARD", "workshop"),
        ("USE_TOKEN", "true"), ("PIN", "1024"), ("A_KEY", "ab"), ("A_KEY", "   "),
        ("PASSWORD", "work"), ("HOME_URL", "https://host/workshop"),
    ],
)  # fmt: skip
def test_other_variables_and_parts_of_words_are_no_secrets(name, value, monkeypatch):
    monkeypatch.setenv(name, value)
    text = "my workshop, true or 1024, ab   c"
    assert scrub(text) == text and leak({"x": text}) is None


def test_a_choice_is_no_secret(monkeypatch):
    monkeypatch.setenv("WANDB_PASS", "offline")
    assert cli.compose(["logger.wandb=offline"]).logger.wandb == "offline"


@pytest.mark.parametrize("word", [f"env.n_envs={KEY}", f"+logger.api_key={KEY}", f"{KEY}"])
def test_a_refused_word_is_shown_without_it(word, forks):
    done = forks.run(["python", "-m", "knife_jax.train", word])
    assert done.returncode == 2 and done.stderr.startswith("error: ")
    assert KEY not in done.stdout + done.stderr


def test_what_is_no_secret_is_left_as_it_is():
    assert scrub("logger.wandb=disabled at runs/0123abc") == "logger.wandb=disabled at runs/0123abc"
    path = f"runs/20261121-120000-{HEX[:32]}/APExperiment2026/192.168.0.1"
    assert scrub(path) == path
    assert cli.compose(["logger.wandb=disabled", f"run_dir={path}"]).run_dir == path


def test_text_is_scrubbed_of_secrets():
    assert scrub(f"key {KEY}, twice {KEY}") == "key ***, twice ***"
    assert scrub("https://me:pass-word@host/x") == "https://***@host/x"
    assert one_line(ValueError(f"bad\n{KEY}")) == "ValueError: bad ***"


@pytest.mark.parametrize("name", ["../out", "a/b", "", "..", "a b"])
def test_names_that_become_folders_hold_no_separators(name):
    with pytest.raises(ConfigError, match=r"algo.name=.* is refused: must be text, of letters"):
        cli.compose([f"algo.name='{name}'"])


def test_a_token_in_a_list_of_ones_own_is_refused():
    token = "ghp_" + "A1b2C3d4" * 4 + "E5f6"
    with pytest.raises(ConfigError, match="secrets do not belong in a configuration"):
        cli.compose(["env=custom", "env.target=mine:make", f"env.args.keys=[1,{token}]"])
