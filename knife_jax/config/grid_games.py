"""The named games of the grid predator-prey, free of jax: a configuration checks itself by them."""

from __future__ import annotations

from typing import NamedTuple


class Game(NamedTuple):
    """The numbers of one game, all of which may differ from task to task."""

    size: int = 10
    """rows, and columns"""
    n_agents: int = 8
    n_stags: int = 8
    n_hares: int = 0
    view: int = 2
    """cells that an agent sees to each side"""
    time_limit: int = 200
    stag: float = 10.0
    """reward for catching one"""
    hare: float = 1.0
    miss: float = 0.0
    """reward for each prey that too few agents tried to catch"""
    collision: float = 0.0
    """reward for each agent that did not move, whether it was blocked or chose to stay"""
    time: float = 0.0
    """reward of each step"""
    rest: float = 0.0
    """probability that a prey does not move"""
    freeze: bool = True
    """agents leave the grid with the prey that they caught"""

    @property
    def population(self) -> int:
        """How many cells are taken at the start."""
        return self.n_agents + self.n_stags + self.n_hares


SCENARIOS = {
    "small": Game(7, 4, 2, 2, 2, 40, hare=2.0, freeze=False),
    "stag_hunt": Game(),
    "punish": Game(miss=-2.0),
    **{
        f"gradps_{name}": Game(size, n, n, n, 3, 150, hare=2.0, freeze=False)
        for name, n, size in (("small", 6, 20), ("medium", 10, 25), ("large", 15, 30))
    },
    **{
        f"reborn_{name}": Game(size, n, 2 * n, 0, 1, time=-0.1, freeze=False)
        for name, n, size in (("small", 6, 20), ("middle", 12, 30), ("large", 18, 40))
    },
}
"""``small`` is ours, for short runs. PyMARL2's stag hunt (no punishment) and WQMIX's (-2 a miss;
Böhmer et al. have others, too); the sizes of GradPS; those of ReBorn, where time limit, kinds of
prey and freezing are not published: 200 steps, stags only and no freezing are ours."""
