"""What checks types and shapes in the tests: beartype, for which a whole number is a number too."""

from collections import defaultdict

from beartype import BeartypeConf, beartype

typed = beartype(conf=BeartypeConf(is_pep484_tower=True))
made = defaultdict(list)
"""(annotations, check) of every signature met, by module, name and arguments"""


def check(function):
    """Check a function, but not that which makes a dataclass: the sections of a configuration
    convert and refuse values themselves.

    What jaxtyping passes has a function's signature and none of its work, so one check serves a
    function that is defined anew in every call of another one.
    """
    if function.__name__ == "__init__":
        return function
    alike = made[function.__module__, function.__code__]
    for annotations, checked in alike:
        if annotations == function.__annotations__:
            return checked
    alike.append((function.__annotations__, typed(function)))
    return alike[-1][1]
