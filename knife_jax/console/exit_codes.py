"""With what programs exit. One that a signal ended exits with 128 + the signal's number."""

FAILED = 1
"""it broke off; what was computed until then is kept"""

REFUSED = 2
"""it was asked for what it cannot do; nothing has been written"""

DIVERGED = 3
"""all seeds of a run were lost"""
