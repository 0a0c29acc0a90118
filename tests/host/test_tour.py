"""The tour, run top to bottom in a kernel of its own, on a tiny budget."""

import os
import sys
from pathlib import Path

import nbformat
import pytest
from documents import SMALL
from nbclient import NotebookClient

pytestmark = pytest.mark.xdist_group("tour")  # they share a kernel

TOUR = Path(__file__).parents[2] / "experiments" / "examples" / "tour.ipynb"
TINY = {
    '"env=matrix_game", "env.scenario=two_step"': '"env=matrix_game", *small',
    '"env_steps=60_000"': '"env_steps=2_000"',
    '"log_every=5_000", ': "",
    "evaluation.every=10_000": "evaluation.every=1_000",
    '"plasticity.interval=20_000"': '"plasticity.interval=1_500"',
    "algo=qmix": "algo=vdn",  # compiles in half of the time
    ', "recording.episodes=0"': "",
}
"""what is written in its place"""

INTERRUPTED = """
import os, signal, threading, time
from dataclasses import replace

def press():  # the interrupt button, once the first numbers are there
    metrics = folder / "long" / "metrics.jsonl"
    while not metrics.exists() or not metrics.stat().st_size:
        time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGINT)

long = replace(compose("long", "algo=vdn"), env_steps=10**8)
threading.Thread(target=press).start()
knife_jax.train(long)
"""
AFTER = """
stopped = knife_jax.Run(folder / "long")
print(stopped.status, knife_jax.load(stopped).env_steps == stopped.summary["checkpoint"] > 0)
"""


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """The code cells of the tour and, behind them, two of ours, with what each has put out."""
    tour = nbformat.read(TOUR, as_version=4)
    assert all(any(text in cell.source for cell in tour.cells) for text in TINY)
    for cell in tour.cells:
        for text, tiny in TINY.items():
            cell.source = cell.source.replace(text, tiny)
    tour.cells.insert(0, nbformat.v4.new_code_cell(f"small = {SMALL}"))
    ours = [nbformat.v4.new_code_cell(text) for text in (INTERRUPTED, AFTER)]
    ours[0].metadata["tags"] = ["raises-exception"]
    tour.cells += ours
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    folder = {"metadata": {"path": tmp_path_factory.mktemp("tour")}}
    NotebookClient(tour, timeout=300, resources=folder).execute(env=env)
    return [cell for cell in tour.cells if cell.cell_type == "code"][1:]


def printed(cell):
    return "".join(o["text"] for o in cell.outputs if o.get("name") == "stdout")


def shown(cell, kind):
    return [o["data"][kind] for o in cell.outputs if kind in o.get("data", {})]


def test_training_shows_one_table_that_is_redrawn(cells):
    live, *_ = shown(cells[0], "text/html")
    assert "env steps" in live and "100%" in live and "<pre" in live
    assert "units operated on per seed" in printed(cells[0])
    assert shown(cells[0], "text/plain")[-1].startswith("Run(")


def test_it_is_watched_and_looked_at(cells):
    assert "iframe srcdoc" in shown(cells[2], "text/html")[0]
    assert all(shown(cell, "image/png") for cell in (cells[1], cells[3], cells[5]))


def test_a_graft_by_hand_changes_nothing_and_a_cut_does(cells):
    graft, prune = printed(cells[4]).splitlines()
    assert graft.startswith("graft: 16 neurons") and graft.endswith(": 0")
    assert prune.startswith("prune: 16 neurons") and float(prune.rpartition(" ")[2]) > 0


def test_both_methods_play_their_stored_evaluation_again(cells):
    assert printed(cells[5]).count("as stored: True") == 2


def test_the_interrupt_button_saves_the_run_and_the_kernel_goes_on(cells):
    *_, stopped, after = cells
    (error,) = [o for o in stopped.outputs if o.output_type == "error"]
    assert error.ename == "KeyboardInterrupt"
    assert error.evalue.endswith("/long is saved, and goes on with resume=auto")
    assert printed(after) == "interrupted True\n"


def test_no_outputs_are_kept_in_the_repository():
    tour = nbformat.read(TOUR, as_version=4)
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in tour.cells)
