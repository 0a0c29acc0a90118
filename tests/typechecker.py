"""What checks types and shapes in the tests: beartype, for which a whole number is a number too."""

from beartype import BeartypeConf, beartype

typed = beartype(conf=BeartypeConf(is_pep484_tower=True))


def check(function):
    """Check a function, but not that which makes a dataclass: the sections of a configuration
    convert and refuse values themselves."""
    return function if function.__name__ == "__init__" else typed(function)
