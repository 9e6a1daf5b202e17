"""What people get wrong in configs, drawn at random: values, names, keys and sections,
in the file or by flags.
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

import tiny
from hypothesis import strategies as st

from score_sde.cli.config_file import read_config
from score_sde.experiments.tables import FUNCTIONS, NAMED

Keys: TypeAlias = tuple[str, ...]
"""Where a value is: the keys that lead to it."""

GONE: Any = ...
"""In place of a value, for a key that is taken away."""

VALUES: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 2, 3, 7, 2**31, 2**63, -(2**63), 10**30),
    *(-0.5, 0.5, 1.5, 1e300, -1e300, 1e-320, math.nan, math.inf, -math.inf),
    *(
        "",
        " ",
        "none",
        "None",
        "1",
        "nope",
        "vp",
        "heun",
        "uniform",
        "digits",
        "math:sin",
        "math:nope",
        "a:b:c",
        ":",
        "é",
    ),
    *((), (0,), (-1,), (1, 2), (2, 2, 2), ("a",), (0.5, 0.25), (math.nan,), ((1,),), (None,)),
    *(
        {},
        {"name": "nope"},
        {"name": None},
        {"name": 3},
        {"name": "uniform"},
        {"x": 1},
        {"name": {"name": "vp"}},
    ),
)
"""Of every type: negative, zero, tiny, huge, not finite, empty, wrong."""

MOST, HOPELESS = 64, 2**60
"""What only costs time and memory is at most the one, or at least the other, for which
no memory is enough.
"""

LOOPS = {
    "blocks_per_group",
    "n_jitted_steps",
    "num_blocks",
    "num_couplings",
    "num_res_blocks",
    "order",
    "snr_steps",
}
"""Keys whose work is repeated while a program is traced."""

COSTLY = {
    *(
        "batch_size",
        "channel_mult",
        "channel_multiplier",
        "channels",
        "embedding_dim",
        "features",
        "hidden_sizes",
    ),
    *(
        "num_classes",
        "num_examples",
        "num_levels",
        "num_microbatches",
        "num_modes",
        "num_probes",
        "num_scales",
    ),
    *("num_steps", "num_times", "corrector_steps"),
}
"""Keys of sizes."""

OTHERS = (
    "digits/edm",
    "digits/flow",
    "digits/ve",
    "vp/ddpm/cifar10",
    "ve/ncsn/cifar10",
    "ve/ncsnv2/cifar10",
)
"""Configs whose sections stand in for those of another."""


@dataclass(frozen=True)
class Mutated:
    """A config file and flags; ``words`` are names of which a line about them must have one."""

    file: str
    flags: tuple[str, ...]
    words: tuple[str, ...]


@cache
def bases() -> dict[str, dict[str, Any]]:
    """The configs that are mutated, as plain dictionaries."""
    found = {name: _config_of(text) for name, text in (("toy", tiny.TOY), ("digits", tiny.DIGITS))}
    for name in ("classifier/digits", "digits/edm", "toy/moons"):
        found[name] = read_config(name).to_dict()
    small = found["digits"]["model"]
    found["digits/edm"]["model"].update({key: small[key] for key in ("channels", "channel_mult")})
    return found


def _config_of(text: str) -> dict[str, Any]:
    namespace: dict[str, Any] = {}
    exec(text, namespace)
    return namespace["get_config"]().to_dict()


@cache
def others() -> tuple[dict[str, Any], ...]:
    """Configs to take sections from."""
    return (*bases().values(), *(read_config(name).to_dict() for name in OTHERS))


def paths(tree: Any, path: Keys = ()) -> list[Keys]:
    """Every key of a config, those of sections included."""
    if not isinstance(tree, dict):
        return []
    return [
        found
        for key, value in tree.items()
        for found in ((*path, key), *paths(value, (*path, key)))
    ]


def value_at(tree: Any, path: Keys) -> Any:
    """What a config has there."""
    for key in path:
        tree = tree[key]
    return tree


def is_costly(path: Keys, value: Any) -> bool:
    """Whether a value would only take long."""
    if isinstance(value, dict | tuple | list):
        items = value.values() if isinstance(value, dict) else value
        return any(is_costly(path, item) for item in items)
    if isinstance(value, bool) or not isinstance(value, int) or value <= MOST:
        return False
    return not LOOPS.isdisjoint(path) or (value < HOPELESS and not COSTLY.isdisjoint(path))


def affordable(path: Keys, values: Sequence[Any]) -> st.SearchStrategy[Any]:
    """One of the values that do not only take long."""
    return st.sampled_from([value for value in values if not is_costly(path, value)] or [None])


def nearly(name: str) -> st.SearchStrategy[str]:
    """A name with a slip in it."""
    slips = [
        name[:-1],
        name[1:],
        name + "s",
        name.upper(),
        f" {name}",
        name[1:2] + name[:1] + name[2:],
    ]
    return st.sampled_from([slip for slip in slips if slip != name] or ["x"])


def like(value: Any) -> list[Any]:
    """Other values of the type of one."""
    if isinstance(value, bool) or value is None:
        return [not value]
    if isinstance(value, int):
        return [0, 1, -value, value - 1, value + 1, 2 * value, 3 * value, value // 2, 10**9]
    if isinstance(value, float):
        return [
            0.0,
            -value,
            value / 2,
            2 * value,
            value + 1,
            1 - value,
            value * 1e6,
            value * 1e-6,
            1.0,
            1e30,
            1e-30,
        ]
    if isinstance(value, tuple | list):
        return [
            (),
            (*value, 1),
            (*value, 2),
            (*value, *value),
            tuple(value[1:]),
            (0, *value),
            (-1,),
            (2,),
            (1, 1, 1),
        ]
    return [
        "none",
        "silu",
        "relu",
        "elu",
        "float16",
        "bfloat16",
        "float64",
        "positional",
        "fourier",
        "log_snr",
        *NAMES,
    ]


CHOICES = {
    **{(*path.split("."), "name"): tuple(table) for path, table in NAMED.items()},
    ("objective", "weighting"): tuple(FUNCTIONS["weighting"]),
    ("parameterization", "time_label"): tuple(FUNCTIONS["time_label"]),
    ("sampling", "grid"): tuple(FUNCTIONS["grid"]),
    ("sampling", "predictor"): tuple(FUNCTIONS["predictor"]),
    ("sampling", "corrector"): tuple(FUNCTIONS["corrector"]),
    ("data", "source"): (
        "digits",
        "mixture",
        "moons",
        "swiss_roll",
        "checkerboard",
        "cifar10",
        "npz:none.npz",
    ),
}
"""What can be chosen by a name, and the names."""

NAMES = tuple(sorted({name for table in NAMED.values() for name in table}))
"""Every name of every family."""


def _near(draw: st.DrawFn, config: dict[str, Any], path: Keys) -> tuple[Keys, Any]:
    leaves = [found for found in paths(config) if not isinstance(value_at(config, found), dict)]
    path = draw(st.sampled_from(leaves or [path]))
    return path, draw(affordable(path, like(value_at(config, path)) if leaves else VALUES))


def _value(draw: st.DrawFn, config: dict[str, Any], path: Keys) -> tuple[Keys, Any]:
    return path, draw(affordable(path, VALUES))


def _chosen(draw: st.DrawFn, config: dict[str, Any], path: Keys) -> tuple[Keys, Any]:
    path = draw(
        st.sampled_from([found for found in CHOICES if found[:-1] in paths(config)] or [path])
    )
    return path, draw(st.sampled_from(CHOICES.get(path, NAMES)))


def _named(draw: st.DrawFn, config: dict[str, Any], path: Keys) -> tuple[Keys, Any]:
    names = [found for found in paths(config) if isinstance(value_at(config, found), str)]
    path = draw(st.sampled_from(names or [path]))
    return path, draw(st.one_of(st.sampled_from(NAMES), nearly(str(value_at(config, path)))))


def _slip(draw: st.DrawFn, config: dict[str, Any], path: Keys) -> tuple[Keys, Any]:
    return (*path[:-1], draw(nearly(path[-1]))), value_at(config, path)


def _added(draw: st.DrawFn, config: dict[str, Any], path: Keys) -> tuple[Keys, Any]:
    path = (
        *path[:-1],
        draw(st.sampled_from(("x", "name", "num_steps", "channels", "sigma_max", "t_min", "a b"))),
    )
    return path, draw(affordable(path, VALUES))


def _section(draw: st.DrawFn, config: dict[str, Any], path: Keys) -> tuple[Keys, Any]:
    other = draw(st.sampled_from(others()))
    return path[:1], other.get(draw(st.sampled_from((path[0], path[0], *sorted(other)))))


def _nested(draw: st.DrawFn, config: dict[str, Any], path: Keys) -> tuple[Keys, Any]:
    return path, {path[-1]: value_at(config, path)}


def _deleted(draw: st.DrawFn, config: dict[str, Any], path: Keys) -> tuple[Keys, Any]:
    return path, GONE


KINDS = (_near,) * 3 + (_value, _chosen, _section) * 2 + (_named, _slip, _added, _nested, _deleted)
"""What is done to a config, the likelier the more often it is here: each gives a path
and its new value.
"""


@st.composite
def mutated(draw: st.DrawFn) -> Mutated:
    """A config with one or two mutations, each in its file or by a flag."""
    config = copy.deepcopy(bases()[draw(st.sampled_from(sorted(bases())))])
    flags: list[str] = []
    words: list[str] = []
    for _ in range(draw(st.sampled_from((1, 1, 2)))):
        kind, before = draw(st.sampled_from(KINDS)), draw(st.sampled_from(paths(config)))
        path, value = kind(draw, config, before)
        words += [*path, *([value] if isinstance(value, str) and len(value) > 3 else [])]
        if value is not GONE and draw(st.booleans()):
            flags.append(f"--config.{'.'.join(path)}={value}")
        else:
            _put(config, path, copy.deepcopy(value), gone=before if kind is _slip else None)
    text = f"from math import inf, nan\n\n\ndef get_config():\n    return {config!r}\n"
    return Mutated(text, tuple(flags), tuple(words))


def _put(config: dict[str, Any], path: Keys, value: Any, *, gone: Keys | None) -> None:
    """Set a value, or take it away; and take away the key that it was under."""
    parent = config
    for key in path[:-1]:
        if not isinstance(parent[key], dict):  # a name or None, in place of a section
            parent[key] = {}
        parent = parent[key]
    if gone is not None:
        del parent[gone[-1]]
    if value is GONE:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
