"""The house: imports point one way, only the host does I/O, files stay small."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "knife_jax"
FILES = sorted(PACKAGE.rglob("*.py"))

LAYERS = [
    {"types", "schedules", "losses", "schema", "checks", "shards"},
    {"nets", "factorisation", "plasticity", "envs", "replay", "explore"},
    {"rollout", "learner", "sequence", "joint", "chunk", "greedy", "probes"},
    {
        "config", "env_config", "plasticity_config", "budget", "make_env", "make_networks",
        "make_optimiser", "build", "host", "cli", "train", "study", "evaluate", "bench", "scrub",
        "messages", "program", "arguments", "report",
    },
]  # fmt: skip
OUTSIDE = {
    "wandb", "orbax", "hydra", "omegaconf", "os", "pathlib", "logging", "time", "subprocess",
    "rich", "matplotlib", "safetensors",
}  # fmt: skip


def module(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def layer(name: str) -> int:
    return next(i for i, names in enumerate(LAYERS) if name in names)


def imported(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_one_way_and_only_the_host_does_io(path):
    own = module(path)
    if own == "__init__":
        return
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "knife_jax" and len(parts) > 1 and parts[1] != "__version__":
            assert layer(parts[1]) <= layer(own), f"{own} imports {name}"
        elif layer(own) < len(LAYERS) - 1:
            assert parts[0] not in OUTSIDE, f"{own} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_are_small_and_named_after_things(path):
    assert len(path.read_text().splitlines()) <= 300
    assert path.stem not in {"utils", "util", "helpers", "common", "misc"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_only_messages_are_printed(path):
    calls = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
    names = {call.func.id for call in calls if isinstance(call.func, ast.Name)}
    assert "print" not in names or path.name == "messages.py"
