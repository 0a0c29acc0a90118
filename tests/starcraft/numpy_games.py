"""Games in NumPy alone, for the worker: a row is a function of order, time and actions.

Faults are drawn with the order's own random numbers: ``settings["faults"]`` is the probability of
one at a step, ``settings["kinds"]`` which they are.
"""

import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np

try:
    from worker.rows import Row, Sizes
except ImportError:  # in the trainer's process
    from knife_jax.envs.smacv2.worker.rows import Row, Sizes

SIZES = Sizes(n_agents=2, n_actions=3, obs_size=5, state_size=4, horizon=9)
KINDS = ("raise", "exit", "kill", "hang", "garbage", "close")


class Guessing:
    """Agent 1 is to choose the episode's number; agent 0 may not choose it until the end."""

    sizes = SIZES

    def __init__(self, settings):
        self.settings, self.recycled, self.steps = settings, 0, 0
        self.child = None
        if settings.get("missing") and os.path.exists(settings["missing"]):
            raise FileNotFoundError("no game")
        while settings.get("begin") and not os.path.exists(settings["begin"]):
            time.sleep(0.01)
        if settings.get("child"):
            self.child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])

    def reset(self, order):
        limit = self.settings.get("limit")
        if limit and self.steps + SIZES.horizon > limit:
            self.steps, self.recycled = 0, self.recycled + 1
        stumbles = self.settings.get("stumbles")
        if stumbles and not os.path.exists(stumbles):
            open(stumbles, "w").close()
            raise RuntimeError("stumbled")
        self.order, self.time = order, 0
        self.random = np.random.default_rng([order.task, order.key, order.game, order.episode])
        self.secret = int(self.random.integers(1000))
        self.total = 0
        return self.row(0.0)

    def step(self, action):
        self.steps += 1
        if self.settings.get("limit") and self.steps > self.settings["limit"]:
            raise RuntimeError("the game has ended")
        if self.settings.get("meeting"):
            self.meet(*self.settings["meeting"])
        if self.random.random() < self.settings.get("faults", 0):
            kinds = self.settings.get("kinds", KINDS)
            self.fault(kinds[self.random.integers(len(kinds))])
        self.time += 1
        self.total += int(action.sum())
        return self.row(float(action[1] == self.secret % 3))

    def meet(self, folder, n):
        """Wait until n games have come to this step."""
        here = os.path.join(folder, str(self.steps))
        os.makedirs(here, exist_ok=True)
        open(os.path.join(here, str(os.getpid())), "w").close()
        while len(os.listdir(here)) < n:
            time.sleep(0.01)

    def fault(self, kind):
        if kind == "raise":
            raise ValueError("a fault of\nthe game")
        if kind == "exit":
            os._exit(3)
        if kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == "hang":
            time.sleep(600)
        if kind == "garbage":
            os.write(int(sys.argv[1]), b"!\xff\xfe garbage\n")
            time.sleep(600)
        if kind == "close":
            socket.socket(fileno=int(sys.argv[1])).shutdown(socket.SHUT_RDWR)
            time.sleep(600)

    def row(self, reward):
        numbers = [self.secret / 1000, self.time / 10, self.order.task, self.total / 10]
        last = self.time == 4 + self.secret % 6
        avail = np.ones((2, 3), bool)
        avail[0, self.secret % 3] = last
        obs = np.array([[*numbers, agent] for agent in range(2)], np.float32)
        cut = last and self.secret % 2 == 1
        won = last and self.secret % 5 == 0
        return Row(obs, np.array(numbers, np.float32), avail, reward, last and not cut, cut, won)

    def close(self):
        if self.child:
            self.child.kill()
