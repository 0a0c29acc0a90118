"""The names a configuration may use, kept free of imports so that they are there at once."""

SMAX_SCENARIOS = (
    "3m",
    "2s3z",
    "25m",
    "3s5z",
    "8m",
    "5m_vs_6m",
    "10m_vs_11m",
    "27m_vs_30m",
    "3s5z_vs_3s6z",
    "3s_vs_5z",
    "6h_vs_8z",
    "smacv2_5_units",
    "smacv2_10_units",
    "smacv2_20_units",
)

SMAX_RACES = tuple(
    f"{race}_{size}"
    for race in ("terran", "protoss", "zerg")
    for size in ("5_vs_5", "10_vs_10", "10_vs_11")
)
"""SMACv2's scenarios in SMAX, stepped by our batched rules alone"""

SMAX_DRAWN = ("smacv2_5_units", "smacv2_10_units", "smacv2_20_units", *SMAX_RACES)
"""those whose unit types and places are drawn"""

SMACV2_SCENARIOS = tuple(
    f"{race}_{size}"
    for race in ("terran", "protoss", "zerg")
    for size in ("5_vs_5", "10_vs_10", "10_vs_11", "20_vs_20", "20_vs_23")
)
"""the published ones of SMACv2 itself"""

N_PREDATORS = (3, 6, 9)

ONE_SHOT_GAMES = ("qtran", "qplex_narrow", "qplex_three_optima", "pymarl2")
"""one matrix, one joint action"""

MATRIX_GAMES = (
    *ONE_SHOT_GAMES,
    "qtran_two_states",
    "two_step",
    "mmdp",
    "n_step",
    "n_step_two_branches",
    "gaussian_squeeze",
    "gaussian_squeeze_two_modes",
)
