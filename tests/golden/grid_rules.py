"""The rules of the grid predator-prey stated once more: one game in plain NumPy, cell by cell.

It keeps an occupancy grid and lists of positions. Random numbers come from outside, so that
``knife_jax.envs.grid_predator_prey`` can be given the same ones.
"""

import numpy as np

WAYS = [(0, 1), (1, 0), (0, -1), (-1, 0)]
CATCH = 5


class StagHunt:
    def __init__(self, *, size, n_agents, n_stags, n_hares, view, time_limit,
                 stag, hare, miss, collision, time, rest, freeze):  # fmt: skip
        self.size, self.view, self.time_limit = size, view, time_limit
        self.n_agents, self.species = n_agents, [1] * n_stags + [2] * n_hares
        self.pay = {1: stag, 2: hare}
        self.miss, self.collision, self.time = miss, collision, time
        self.rest, self.freeze = rest, freeze

    def reset(self, cells):
        """``cells``: the (row, column) of every agent, stag and hare, in that order."""
        self.grid = np.zeros((self.size, self.size, 3), bool)
        self.agents = [tuple(cell) for cell in cells[: self.n_agents]]
        self.prey = [tuple(cell) for cell in cells[self.n_agents :]]
        self.frozen = [False] * self.n_agents
        self.alive = [True] * len(self.prey)
        for cell in self.agents:
            self.grid[cell][0] = True
        for cell, kind in zip(self.prey, self.species, strict=True):
            self.grid[cell][kind] = True
        self.steps = 0

    def on_grid(self, cell):
        return 0 <= cell[0] < self.size and 0 <= cell[1] < self.size

    def step(self, actions, agent_order, prey_order, rest, turn):
        """The reward, and whether the game terminated or was stopped."""
        reward = self.time
        for i in agent_order:
            if self.frozen[i]:
                continue
            here = self.agents[i]
            dr, dc = WAYS[actions[i]] if actions[i] < 4 else (0, 0)
            there = (here[0] + dr, here[1] + dc)
            if not self.on_grid(there) or self.grid[there].any():
                reward += self.collision
            else:
                self.grid[here][0], self.grid[there][0] = False, True
                self.agents[i] = there
        for p in prey_order:
            if self.alive[p]:
                reward += self.turn_of_prey(p, actions, rest[p], turn[p])
        self.steps += 1
        stopped = self.steps >= self.time_limit
        terminated = not stopped and (all(self.frozen) or not any(self.alive))
        return reward, terminated, stopped

    def turn_of_prey(self, p, actions, rest, turn):
        r, c = self.prey[p]
        kind = self.species[p]
        catchers = [
            i for i, (ar, ac) in enumerate(self.agents)
            if not self.frozen[i] and actions[i] == CATCH and abs(ar - r) + abs(ac - c) == 1
        ]  # fmt: skip
        if len(catchers) >= (2 if kind == 1 else 1):
            self.alive[p] = False
            self.grid[r, c, kind] = False
            if self.freeze:
                for i in catchers:
                    self.frozen[i] = True
                    self.grid[self.agents[i]][0] = False
            return self.pay[kind]
        free = [(r + dr, c + dc) for dr, dc in WAYS]
        free = [cell for cell in free if self.on_grid(cell) and not self.grid[cell].any()]
        if rest >= np.float32(self.rest) and free:
            there = free[int(np.float32(turn) * np.float32(len(free)))]
            self.grid[r, c, kind], self.grid[there][kind] = False, True
            self.prey[p] = there
        return self.miss if catchers else 0.0

    def observations(self):
        v = self.view
        padded = np.pad(self.grid, ((v, v), (v, v), (0, 0))).astype(np.float32)
        windows = [
            np.zeros((2 * v + 1, 2 * v + 1, 3), np.float32)
            if frozen
            else padded[r : r + 2 * v + 1, c : c + 2 * v + 1]
            for (r, c), frozen in zip(self.agents, self.frozen, strict=True)
        ]
        return np.stack([window.reshape(-1) for window in windows])

    def state(self):
        return self.grid.astype(np.float32).reshape(-1)

    def avail_actions(self):
        rows = []
        for (r, c), frozen in zip(self.agents, self.frozen, strict=True):
            sides = [(r + dr, c + dc) for dr, dc in WAYS]
            sides_on_grid = [self.on_grid(cell) for cell in sides]
            prey = any(
                ok and self.grid[cell][1:].any()
                for cell, ok in zip(sides, sides_on_grid, strict=True)
            )
            rows.append([False] * 4 + [True, False] if frozen else [*sides_on_grid, True, prey])
        return np.array(rows)
