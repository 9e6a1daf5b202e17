"""Score-based generative modelling through stochastic differential equations, in JAX.

An SDE, a score function and a sampler are three independent values; sampling,
likelihood, encoding and conditioning are pure functions of them; a config file only
chooses the values.

`__init__.pyi` lists the public names. Each is imported when it is first used.
"""

import importlib
import importlib.util
import warnings
from typing import Any

import lazy_loader

_public, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

_RENAMED = {"DDPM": "DDPMLoss"}
"""Former public names, which work with a warning in this version only."""


def __getattr__(name: str) -> Any:
    """Import a public name, a former one, or a module of this package."""
    if name in _RENAMED:
        now = _RENAMED[name]
        message = f"score_sde.{name} is now score_sde.{now}; the former name goes with version 0.3"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        return _public(now)
    if name in __all__:
        return _public(name)
    module = f"score_sde.{name}"
    if not name.startswith("_") and importlib.util.find_spec(module) is not None:
        return importlib.import_module(module)
    raise AttributeError(f"module 'score_sde' has no attribute {name!r}")
