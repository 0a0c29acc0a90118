"""With what programs exit."""

FAILED = 1
"""it broke off; what was computed until then is kept"""

REFUSED = 2
"""it was asked for what it cannot do; nothing has been written"""

DIVERGED = 3
"""all seeds of a run were lost"""


def of_signal(number: int) -> int:
    """The exit code of a program that a signal ended."""
    return 128 + number


def is_of_signal(code: int) -> bool:
    """Whether a signal ended the program."""
    return code > 128
