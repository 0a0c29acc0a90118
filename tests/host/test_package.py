"""The package as users get it: what is in it, what it needs, and that it runs anywhere."""

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import documents
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from knife_jax import __version__

pytestmark = pytest.mark.xdist_group("package")  # they share programs

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "configs").rglob("*.yaml"))
PAGES = sorted(str(path.relative_to(ROOT)) for path in documents.pages())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def run(*words, **options):
    return subprocess.run(
        [sys.executable, *map(str, words)],
        capture_output=True, text=True, timeout=300, check=True, **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Folder with the sdist and the wheel made from it."""
    folder = tmp_path_factory.mktemp("dist")
    run("-m", "build", "--no-isolation", "--outdir", folder, ROOT)
    return folder


def test_the_source_archive_holds_the_project_and_nothing_else(built):
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    assert names >= {*CONFIGS, *PAGES, "LICENSE", "constraints.txt"}
    assert "knife_jax/train.py" in names and "tests/host/test_package.py" in names
    top = {name.partition("/")[0] for name in names}
    assert top <= {
        "knife_jax", "configs", "experiments", "tests", "README.md", "LICENSE", "CHANGELOG.md",
        "CONTRIBUTING.md", "CITATION.cff", "constraints.txt", "pyproject.toml", "PKG-INFO",
        ".gitignore",
    }  # fmt: skip


def test_the_wheel_holds_the_configuration(built):
    (wheel,) = built.glob("*.whl")
    assert wheel.name == f"knife_jax-{__version__}-py3-none-any.whl"
    names = zipfile.ZipFile(wheel).namelist()
    assert sorted(name for name in names if name.endswith(".yaml")) == [
        f"knife_jax/{name}" for name in CONFIGS
    ]
    pages = (ROOT / "knife_jax").rglob("page/*")
    assert {*names} >= {str(path.relative_to(ROOT)) for path in pages}
    assert {name.partition("/")[0] for name in names} == {
        "knife_jax",
        f"knife_jax-{__version__}.dist-info",
    }


def test_the_installed_wheel_runs_from_another_folder(built, tmp_path):
    (wheel,) = built.glob("*.whl")
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    run("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", site, wheel)
    there = {"cwd": elsewhere, "env": {**os.environ, "PYTHONPATH": str(site)}}
    where = run("-c", "from knife_jax import cli; print(cli.configs_dir())", **there)
    assert Path(where.stdout.strip()) == site / "knife_jax" / "configs"
    told = run(site / "bin" / "knife-train", "--help", **there).stdout
    assert told == run("-m", "knife_jax.train", "--help", **there).stdout
    assert re.search(r"^ +qmix ", told, re.MULTILINE)
    composed = run(site / "bin" / "knife-train", "+algo=qmix", "--cfg", "job", **there).stdout
    assert "\n  name: qmix\n" in composed
    assert list(elsewhere.iterdir()) == []


def test_constraints_are_names_and_versions_only():
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        assert re.fullmatch(r"#.*|[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line), line
        assert "://" not in line


def test_constraints_pin_every_requirement_to_a_version_it_allows():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    pins = {canonicalize_name(name): version for name, version in pins.items()}
    extras = PROJECT["optional-dependencies"]
    for text in [
        *PROJECT["dependencies"],
        *extras["dev"],
        *extras["sweep"],
        *extras["smacv2"],
        *extras["report"],
        *extras["video"],
    ]:
        wanted = Requirement(text)
        if wanted.name == "knife_jax":
            continue
        assert pins[canonicalize_name(wanted.name)] in wanted.specifier, text


def test_extras_and_python_are_those_promised():
    assert set(PROJECT["optional-dependencies"]) == {
        "dev", "report", "sweep", "smacv2", "video", "cuda12", "cuda13", "tpu",
    }  # fmt: skip
    assert PROJECT["requires-python"] == ">=3.11"
    assert "jax>=0.10,<0.13" in PROJECT["dependencies"]


def test_the_check_script_can_be_run():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", script]).returncode == 0
