"""JaxMARL's environments without those that are not asked for."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from typing import Any


def jaxmarl_module(family: str) -> Any:
    """Import ``jaxmarl.environments.FAMILY`` alone.

    ``import jaxmarl`` imports every environment that it has, which takes seconds, computes with jax
    and prints. So its two outer packages are stood in for while this one is imported. A later
    ``import jaxmarl`` is a whole one, with the same environments.
    """
    outer = "jaxmarl"
    name = f"{outer}.environments.{family}"
    loaded = name in sys.modules or outer in sys.modules
    found = None if loaded else importlib.util.find_spec(outer)
    if found is None:
        return importlib.import_module(name)
    (folder,) = found.submodule_search_locations or [""]
    stand_ins = {outer: folder, f"{outer}.environments": f"{folder}/environments"}
    for package, place in stand_ins.items():
        sys.modules[package] = module = types.ModuleType(package)
        module.__path__ = [place]
    try:
        return importlib.import_module(name)
    finally:
        for package in stand_ins:
            del sys.modules[package]
