"""Value factorisation restated in NumPy, in float64 and plain loops over time: the agents' network,
mixers, goals and losses. Parameters are trees of arrays by the names of our layers."""

import numpy as np

GAMMA = 0.9


def dense(p, x):
    return x @ p["kernel"] + p["bias"]


def relu(x):
    return np.maximum(x, 0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def mlp(p, name, x):
    """Hidden ReLU layers, however many there are of the name, then a linear one."""
    if name in p:
        return dense(p[name], x)
    hidden = sorted(layer for layer in p if layer.startswith(f"{name}_hidden"))
    for layer in hidden:
        x = relu(dense(p[layer], x))
    return dense(p[f"{name}_out"], x)


def gru(p, x, h):
    r = sigmoid(dense(p["ir"], x) + h @ p["hr"]["kernel"])
    z = sigmoid(dense(p["iz"], x) + h @ p["hz"]["kernel"])
    n = np.tanh(dense(p["in"], x) + r * dense(p["hn"], h))
    return (1 - z) * n + z * h


def normal(z):
    """LayerNorm without scale and offset."""
    z = z - z.mean(axis=-1, keepdims=True)
    return z / np.sqrt(np.square(z).mean(axis=-1, keepdims=True) + 1e-6)


def histories(p, batch, carry, normalised=lambda z: z):
    """The recurrent state of every agent at every step [T + 1, B, N, H]."""
    encoder = sorted(name for name in p if name.startswith("encoder"))
    n_agents, n_actions = batch.avail_actions.shape[2:]
    last, out, h = batch.last_action, [], carry
    for t in range(len(batch.obs)):
        first = batch.first[t][:, None, None]
        seen = np.eye(n_actions)[last] * (last >= 0)[..., None] * ~first
        ids = np.broadcast_to(np.eye(n_agents), (*last.shape, n_agents))
        x = np.concatenate([batch.obs[t], seen, ids], axis=-1)
        for layer in encoder:
            x = relu(normalised(dense(p[layer], x)))
        h = gru(p["memory"], x, h * ~first)
        out.append(h)
        last = batch.action[t] if t < len(batch.action) else last
    return np.stack(out)


def utilities(p, batch, place=0, mask_dead=False):
    """The values of all actions, of the network whose memory is the one numbered ``place``; with
    ``mask_dead`` 0 for agents of which a single action is available."""
    width = len(p["memory"]["hr"]["kernel"])
    carry = batch.carry[..., place * width : (place + 1) * width]
    values = dense(p["head"], histories(p, batch, carry))
    alive = batch.avail_actions.sum(axis=-1, keepdims=True) > 1
    return np.where(alive, values, 0) if mask_dead else values


def at(values, action):
    return np.take_along_axis(values, action[..., None], axis=-1)[..., 0]


def greedy(values, batch):
    return np.argmax(np.where(batch.avail_actions, values, -np.inf), axis=-1)


def one_step(batch, ahead):
    """r + γ (1 - terminated) V, for values with further axes."""
    several = (..., *(None,) * (ahead.ndim - 2))
    return batch.reward[several] + GAMMA * ~batch.terminated[several] * ahead


def mean_over(batch, errors):
    return np.sum(errors * batch.valid) / np.sum(batch.valid)


def monotonic(p, q, s, positive=np.abs):
    """The mixing network of QMIX (Rashid et al. 2018, fig. 2)."""
    w1 = positive(mlp(p, "w1", s)).reshape(*q.shape, -1)
    hidden = np.sum(q[..., None] * w1, axis=-2) + dense(p["b1"], s)
    hidden = np.where(hidden > 0, hidden, np.exp(np.minimum(hidden, 0)) - 1)
    return np.sum(hidden * positive(mlp(p, "w2", s)), axis=-1) + mlp(p, "v", s)[..., 0]


def qplex(p, still, q, best, s, action, n_actions):
    """Wang et al. 2021, with what is free of gradients made of the parameters ``still``, and the
    values ``q`` and ``best`` given for both: ``(trained, still)``."""
    (q, q_still), (_, best_still) = q, best
    w, v = np.abs(mlp(p, "w", s)) + 1e-10, mlp(p, "v", s)
    advantage = (np.abs(mlp(still, "w", s)) + 1e-10) * (q_still - best_still)
    both = np.concatenate([s, np.eye(n_actions)[action].reshape(*s.shape[:-1], -1)], axis=-1)
    heads = len({name.split("_")[1] for name in p if name.startswith("key_")})
    importance = sum(
        (np.abs(mlp(p, f"key_{k}", s)) + 1e-10)
        * sigmoid(mlp(p, f"agent_{k}", s))
        * sigmoid(mlp(p, f"action_{k}", both))
        for k in range(1, heads + 1)
    )
    return np.sum(w * q + v, axis=-1) + np.sum(advantage * (importance - 1), axis=-1)


def qmix_loss(p, still, target, batch, mask_dead=False):
    def mix(m, _, q, s):
        return monotonic(m, q[0], s)

    return _squared(p, still, target, batch, mix, mask_dead)


def vdn_loss(p, still, target, batch):
    return _squared(p, still, target, batch, lambda m, _, q, s: np.sum(q[0], axis=-1))


def iql_loss(p, still, target, batch):
    """Tan 1993: each agent by itself, with the team's reward; the mean over agents."""
    q, q_target = utilities(p["agent"], batch), utilities(target["agent"], batch)
    best = greedy(utilities(still["agent"], batch), batch)
    goal = one_step(batch, at(q_target, best)[1:])
    errors = np.square(at(q[:-1], batch.action) - goal)
    return mean_over(batch, np.mean(errors, axis=-1))


def _squared(p, still, target, batch, mix, mask_dead=False):
    """The mean of (Q_tot - y)², y being the target network's value of the online network's greedy
    joint action, with ``still`` for the online network where it is free of gradients."""
    q, q_still, q_target = (
        utilities(x["agent"], batch, mask_dead=mask_dead) for x in (p, still, target)
    )
    best = greedy(q_still, batch)
    values = at(q[:-1], batch.action), at(q_still[:-1], batch.action)
    taken = mix(p.get("mixer"), still.get("mixer"), values, batch.state[:-1])
    chosen = at(q_target, best)[1:]
    goal = one_step(batch, mix(*(target.get("mixer"),) * 2, (chosen,) * 2, batch.state[1:]))
    return mean_over(batch, np.square(taken - goal))


def pqn_loss(p, still, target, batch, lam, reward_scale):
    """PQN on the sum of the agents' values (Gallici et al. 2025, eq. 7 with Peng's λ-returns): no
    target network, goals of the network itself, layer normalisation."""
    del target
    width = p["agent"]["memory"]["hr"]["kernel"].shape[0]
    q, q_still = (
        dense(x["agent"]["head"], histories(x["agent"], batch, batch.carry[..., :width], normal))
        for x in (p, still)
    )
    best = np.where(batch.avail_actions, q_still, -np.inf).max(axis=-1).sum(axis=-1)
    goal = np.zeros_like(batch.reward, dtype=np.float64)
    for t in reversed(range(len(goal))):
        goes_on = batch.valid[t + 1] if t + 1 < len(goal) else np.zeros(best.shape[1], bool)
        mixed = np.where(goes_on, lam * goal[min(t + 1, len(goal) - 1)], 0)
        ahead = np.where(goes_on, 1 - lam, 1) * best[t + 1] + mixed
        goal[t] = reward_scale * batch.reward[t] + GAMMA * ~batch.terminated[t] * ahead
    taken = at(q[:-1], batch.action).sum(axis=-1)
    return mean_over(batch, np.square(taken - goal))


def qplex_loss(p, still, target, batch, mask_dead=False):
    """The target network's own maxima are subtracted from its values of the online network's greedy
    actions."""
    n_actions = batch.avail_actions.shape[-1]
    q, q_still, q_target = (
        utilities(x["agent"], batch, mask_dead=mask_dead) for x in (p, still, target)
    )
    best = greedy(q_still, batch)

    def parts(values, action, steps):
        largest = np.where(batch.avail_actions, values, -np.inf).max(axis=-1)
        return at(values[steps], action), largest[steps]

    now, ahead = slice(None, -1), slice(1, None)
    (q, top), (q_still, top_still) = (parts(x, batch.action, now) for x in (q, q_still))
    taken = qplex(
        p["mixer"], still["mixer"], (q, q_still), (top, top_still), batch.state[now],
        batch.action, n_actions,
    )  # fmt: skip
    chosen, largest = parts(q_target, best[ahead], ahead)
    bootstrap = qplex(
        target["mixer"], target["mixer"], (chosen,) * 2, (largest,) * 2, batch.state[ahead],
        best[ahead], n_actions,
    )  # fmt: skip
    return mean_over(batch, np.square(taken - one_step(batch, bootstrap)))


def unrestricted(p, name, values, s):
    return (mlp(p, name, np.concatenate([s, values], axis=-1)) + mlp(p, f"{name}_v", s))[..., 0]


def of_star(target, batch, action, critic=1):
    """What the target network's Q* says of joint actions at all steps."""
    values = utilities(target["star"], batch, critic)
    return unrestricted(target["mixer"], "star", at(values, action), batch.state)


def _with_star(p, still, target, batch, error):
    """(Q* - y)², and what ``error`` makes of the agents' values q, those that are still, the goal y
    and the target's Q* of the greedy joint actions."""
    q, q_still = (utilities(x["agent"], batch) for x in (p, still))
    best = greedy(q_still, batch)
    expected = of_star(target, batch, best)
    goal = one_step(batch, expected[1:])
    star = of_star(p, batch, np.concatenate([batch.action, best[-1:]]))[:-1]
    errors = error(at(q[:-1], batch.action), best[:-1], goal, expected[:-1])
    return mean_over(batch, errors + np.square(star - goal))


def wqmix_loss(p, still, target, batch, weighting="cw", alpha=0.1):
    """Rashid et al. 2020, section 5. Weights are those at the parameters ``still``."""
    s = batch.state[:-1]
    before = monotonic(still["mixer"], at(utilities(still["agent"], batch)[:-1], batch.action), s)

    def error(q, best, goal, expected):
        if weighting == "ow":
            counts = before < goal
        else:
            counts = np.all(batch.action == best, axis=-1) | (goal > expected)
        return np.where(counts, 1, alpha) * np.square(monotonic(p["mixer"], q, s) - goal)

    return _with_star(p, still, target, batch, error)


def resq_loss(p, still, target, batch, residual=lambda q_r: -np.abs(q_r)):
    """Shen et al. 2022: the residual is at most 0 and counts where the action is not greedy."""
    s = batch.state[:-1]
    of_critic = at(utilities(p["residual"], batch, 2)[:-1], batch.action)
    q_r = residual(unrestricted(p["mixer"], "residual", of_critic, s))

    def error(q, best, goal, expected):
        w_r = ~np.all(batch.action == best, axis=-1)
        return np.square(monotonic(p["mixer"], q, s) + w_r * q_r - goal)

    return _with_star(p, still, target, batch, error)


def quantile_values(p, batch, levels):
    """Implicit quantile networks (Dabney et al. 2018): [T + 1, B, N, A, K] at the levels [K]."""
    h = histories(p, batch, batch.carry)
    phi = relu(dense(p["quantiles"], np.cos(np.pi * np.outer(levels, np.arange(64)))))
    return np.stack([dense(p["head"], h * one) for one in phi], axis=-1)


def quantile_huber(z, levels, goals, kappa=1):
    """Summed over the quantiles z [..., K], the mean over the samples of the goal [..., J]."""
    total = 0
    for i, level in enumerate(levels):
        u = goals - z[..., i, None]
        huber = np.where(
            np.abs(u) <= kappa, 0.5 * u * u, kappa * (np.abs(u) - 0.5 * kappa)
        )  # fmt: skip
        total = total + np.mean(np.abs(level - (u <= 0)) * huber / kappa, axis=-1)
    return total


def dmix_loss(p, still, target, batch, n_levels, samples):
    """Sun et al. 2021, at evenly spaced levels in place of random ones, of which the loss would
    have ``samples``; the target network chooses its own actions."""
    del still
    levels = (np.arange(n_levels) + 0.5) / n_levels

    def mixed(x, z, action, s):
        z = np.stack([at(z[..., k], action) for k in range(n_levels)], axis=-1)
        mean = np.mean(z, axis=-1)
        rest = np.sum(z, axis=2) - np.sum(mean, axis=2)[..., None]
        return rest + monotonic(x["mixer"], mean, s)[..., None]

    z, z_target = (quantile_values(x["agent"], batch, levels) for x in (p, target))
    best = greedy(np.mean(z_target, axis=-1), batch)
    goal = one_step(batch, mixed(target, z_target[1:], best[1:], batch.state[1:]))
    taken = mixed(p, z[:-1], batch.action, batch.state[:-1])
    return mean_over(batch, quantile_huber(taken, levels, goal) * samples / n_levels)


def lowest(atoms, n, divisor):
    """The sum of the n lowest atoms over the divisor."""
    return np.sum(np.sort(atoms, axis=-1)[..., :n], axis=-1) / divisor


def risk_values(p, still, batch, n_levels, mean):
    """Qiu et al. 2021: atoms [T + 1, B, N, A, K] and their CVaR, at levels chosen by ``still``."""
    width, n_actions = p["head"]["kernel"].shape[0], batch.avail_actions.shape[-1]
    risk = {"encoder": still["risk_encoder"], "memory": still["risk_memory"]}
    now = dense(p["head"], histories(p, batch, batch.carry[..., :width]))
    here = dense(still["head"], histories(still, batch, batch.carry[..., :width]))
    before = dense(still["head"], histories(risk, batch, batch.carry[..., width : 2 * width]))
    current = here @ still["risk_current"]["kernel"]
    history = before @ still["risk_history"]["kernel"]
    history = history.reshape(*current.shape, n_levels)
    scores = np.sum(current[..., None] * history, axis=-2) / np.sqrt(width)
    level = (np.argmax(scores, axis=-1) + 1) / n_levels
    atoms = now.reshape(*now.shape[:-1], n_actions, -1)
    values = np.zeros(atoms.shape[:-1])
    for place in np.ndindex(level.shape):
        n = int(np.ceil(round(level[place] * atoms.shape[-1], 9)))
        values[place] = mean(atoms[place], n)
    return atoms, values


def rmix_loss(
    p, still, target, batch, n_levels, weight, mean=lambda z, n: lowest(z, n, n), literal=False
):
    """1-step double Q-learning on QMIX's value of the CVaRs, and the agents' own returns, which the
    released code (``literal``) learns from the value in place of the reward."""
    atoms, values = risk_values(p["agent"], still["agent"], batch, n_levels, mean)
    _, before = risk_values(still["agent"], still["agent"], batch, n_levels, mean)
    theirs, lagging = risk_values(target["agent"], target["agent"], batch, n_levels, mean)
    best, s = greedy(before, batch), batch.state
    bootstrap = monotonic(target["mixer"], at(lagging, best)[1:], s[1:])
    taken = monotonic(p["mixer"], at(values[:-1], batch.action), s[:-1])
    errors = np.square(taken - one_step(batch, bootstrap))
    n_atoms = atoms.shape[-1]
    levels = (np.arange(n_atoms) + 0.5) / n_atoms

    def of(z, action):
        return np.stack([at(z[..., k], action) for k in range(n_atoms)], axis=-1)

    goals = one_step(batch, of(theirs, best)[1:])
    if literal:
        goals += (at(before[:-1], batch.action) - batch.reward[..., None])[..., None]
    own = quantile_huber(of(atoms[:-1], batch.action), levels, goals)
    return mean_over(batch, errors + weight * np.sum(own, axis=-1) / n_atoms)
