"""The house: imports point one way, only the host does I/O, files stay small."""

import ast
import subprocess
import sys
from collections import defaultdict
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from statistics import median

import pytest

PACKAGE = Path(__file__).parents[1] / "knife_jax"
FILES = sorted(PACKAGE.rglob("*.py"))
SOURCES = [*FILES, *sorted((PACKAGE.parent / "experiments").rglob("*.py"))]

WINGS = (
    "console", "config", "checks", "types", "clock", "parallel", "nets", "mixers", "plasticity",
    "envs", "training", "diagnostics", "builders", "records", "sinks", "recordings", "report",
    "host", "api", "cli", "bench", "doors",
)  # fmt: skip
"""from the ground up: a wing imports from those before it and from itself"""
DOORS = {"train", "evaluate", "study", "watch"}
CORE = WINGS[WINGS.index("nets") : WINGS.index("builders")]
"""free of files, clocks, processes and of what only the trainer needs"""
OUTSIDE = {
    "wandb", "orbax", "hydra", "omegaconf", "os", "pathlib", "logging", "time", "subprocess",
    "rich", "matplotlib", "safetensors", "platformdirs", "detect_secrets", "yaml",
}  # fmt: skip

BATTLES = PACKAGE / "envs" / "smacv2"
"""games outside of jax: an outer wing of its own, which nothing of the package imports"""
WORKER = BATTLES / "worker"
"""what also runs alone, see its ``__init__``"""


def wing(dotted: str) -> str:
    """Of a module of the package: ``knife_jax.host.loop`` -> ``host``."""
    first = dotted.split(".")[1]
    return "doors" if first in DOORS else first


def own_name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)


@cache
def read(path: Path) -> tuple[list[str], set[str]]:
    """What a file imports, with the name of what is taken from it, and what it calls by name."""
    imports, calls = list[str](), set[str]()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imports += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 or path.parent == WORKER, f"{path}: relative import"
            imports += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            calls.add(node.func.id)
    return imports, calls


def imported(path: Path) -> list[str]:
    """What a file imports, with the name of what is taken from it."""
    return read(path)[0]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down_and_only_the_outer_wings_do_io(path):
    own = own_name(path)
    if path == PACKAGE / "__init__.py":
        return
    for name in imported(path):
        if name.startswith("knife_jax.") and name != "knife_jax.__version__":
            assert WINGS.index(wing(name)) <= WINGS.index(wing(own)), f"{own} imports {name}"
        elif wing(own) in CORE and not path.is_relative_to(BATTLES):
            assert name.split(".")[0] not in OUTSIDE, f"{own} imports {name}"


def test_games_outside_of_jax_are_a_wing_of_their_own():
    for path in FILES:
        names = {*imported(path)}
        if not path.is_relative_to(BATTLES):
            assert not [name for name in names if name.startswith("knife_jax.envs.smacv2")], path
        elif path.name != "make.py":
            assert not [name for name in names if name.split(".")[0] in ("jax", "jaxtyping")], path
            if path.parent == WORKER:
                assert not [name for name in names if name.startswith("knife_jax")], path


def test_no_module_imports_itself_by_way_of_others():
    modules = {own_name(path): path for path in FILES if path.name != "__init__.py"}
    graph = {
        own: {
            part
            for name in imported(path)
            for part in (name, name.rpartition(".")[0])
            if part in modules and part != own
        }
        for own, path in modules.items()
    }
    assert len([*TopologicalSorter(graph).static_order()]) == len(modules)


def test_the_top_of_the_package_has_few_doors_and_half_of_the_files_are_short():
    top = [path for path in PACKAGE.glob("*.py") if path.name != "__init__.py"]
    assert len(top) <= 8
    assert {path.stem for path in top} >= DOORS
    assert median(len(path.read_text().splitlines()) for path in FILES) <= 150


def test_nothing_is_written_twice():
    """No run of six lines, imports and brackets apart, stands in two places."""
    places = defaultdict(list)
    for path in SOURCES:
        lines = [line.strip() for line in path.read_text().splitlines()]
        said = [(n, line) for n, line in enumerate(lines, 1) if any(map(str.isalpha, line))]
        said = [(n, line) for n, line in said if not line.startswith(("import ", "from "))]
        for at in range(len(said) - 5):
            run = tuple(line for _, line in said[at : at + 6])
            places[run].append(f"{path.name}:{said[at][0]}")
    assert not [where for where in places.values() if len(where) > 1]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_are_small_and_named_after_things(path):
    assert len(path.read_text().splitlines()) <= 300
    assert path.stem not in {"utils", "util", "helpers", "common", "misc"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_only_messages_are_printed(path):
    assert "print" not in read(path)[1] or path.name == "messages.py"


@pytest.mark.parametrize("reader", ["records", "report", "sinks"])
def test_what_a_run_leaves_is_read_without_what_ran_it(reader):
    apart = {"host", "training", "builders"}
    for path in sorted((PACKAGE / reader).rglob("*.py")):
        ours = {name for name in imported(path) if name.startswith("knife_jax.")}
        assert not {name for name in ours if wing(name) in apart}, own_name(path)


WITHOUT_JAX = """
import sys
from importlib import import_module
sys.modules["jax"] = None  # importing it raises
for name in sys.argv[1:]:
    import_module(name)
"""


@pytest.mark.parametrize("name", ["config", "cli", "report"])
def test_configuration_command_line_and_report_import_no_jax(name):
    """Not at import, nor does anything that they import; a program imports it when it begins."""
    modules = [own_name(path) for path in FILES if wing(own_name(path)) == name]
    assert modules
    subprocess.run([sys.executable, "-c", WITHOUT_JAX, *modules], check=True)
