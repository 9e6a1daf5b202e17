"""Parameters, any pytree of arrays, as arrays by name and back.

The name of an array is its path, such as ``conv_in/kernel``. Nested dictionaries are
built again from the names alone. For other trees the file also holds their containers:
``{"layers": "list"}`` says that ``layers/0`` and ``layers/1`` are in a list.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from score_sde.checks import require
from score_sde.runtime.bounded_reading import MAX_DEPTH
from score_sde.runtime.damage import need
from score_sde.runtime.fingerprints import path_of
from score_sde.typing import Params

NONE, LIST, TUPLE, NUMBERED, EMPTY = "none", "list", "tuple", "numbered", "empty"
KINDS = (NONE, LIST, TUPLE, NUMBERED, EMPTY)
"""The containers besides dictionaries of texts: None, lists, tuples, dictionaries with whole
numbers as keys, and empty dictionaries.
"""


def named(params: Params) -> dict[str, np.ndarray]:
    """The arrays of a tree by name.

    In a key, ``~`` is written ``~0`` and ``/`` is written ``~1``, as in JSON pointers
    (RFC 6901), and an empty key ``~``.

    >>> list(named({"a/b": np.zeros(1), "a": {"b": np.zeros(2)}}))
    ['a/b', 'a~1b']

    Raises:
        ValueError: where they are nested too deeply.
    """
    leaves = jax.tree_util.tree_leaves_with_path(params)
    depth = max((len(path) for path, _ in leaves), default=0)
    require(
        depth <= MAX_DEPTH,
        f"the parameters are nested {depth} levels deep, a file can hold {MAX_DEPTH}",
    )
    return {_name(path): np.asarray(leaf, order="C") for path, leaf in leaves}


def containers_of(params: Params) -> dict[str, str] | None:
    """The containers of a tree by name, each one of `KINDS`; None where it consists of
    dictionaries whose keys have no ``~`` and ``/``, which `nested` needs no help to build.

    Named tuples and modules count as dictionaries of their fields.

    >>> containers_of({"layers": [np.zeros(1), (np.zeros(1), None)]})
    {'layers': 'list', 'layers/1': 'tuple', 'layers/1/1': 'none'}

    Raises:
        ValueError: where a key of a dictionary is neither a text nor a whole number.
    """
    found = dict(_containers(params, ()))
    names = [_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    is_plain = not found and all(name and "~" not in name for name in names)
    return None if is_plain else found


def nested(tensors: Mapping[str, np.ndarray], containers: Any = None) -> Params:
    """The tree with these arrays and containers.

    Args:
        tensors: the arrays of `named`.
        containers: the containers of `containers_of`, from a file.

    Raises:
        ValueError: where a name has too many parts, or leads both to an array and to a
            container, or the containers do not fit the names.
    """
    is_map = containers is None or isinstance(containers, Mapping)
    need(is_map, "the containers of its tensors are not given by name")
    root: dict[str, Any] = {}
    for name, value in tensors.items():
        place, last = _parent(root, _keys(name, escaped=containers is not None), name)
        need(last not in place, f"{name!r:.200} lies above another tensor")
        place[last] = value
    kinds = [(_keys(name, escaped=True), name, kind) for name, kind in (containers or {}).items()]
    for keys, name, kind in sorted(kinds, key=lambda item: -len(item[0])):
        place, last = _parent(root, keys, name)
        place[last] = _converted(place.get(last, {}), kind, name)
    return root.get("", {})


def _containers(tree: Any, path: tuple[Any, ...]) -> Iterator[tuple[str, str]]:
    """The containers at a place and below it."""
    children = jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda node: node is not tree)
    is_leaf = [key for key, _ in children] == [()]
    if is_leaf:
        return
    kind = _kind(tree, _name(path)) if children or tree is None or _is_sequence(tree) else EMPTY
    if kind:
        yield _name(path), kind
    for key, child in children:
        yield from _containers(child, (*path, *key))


def _kind(node: Any, name: str) -> str | None:
    if node is None:
        return NONE
    if _is_sequence(node):
        return LIST if isinstance(node, list) else TUPLE
    if isinstance(node, Mapping):
        wrong = [key for key in node if type(key) not in (str, int)]
        require(
            not wrong,
            f"the parameters have the keys {wrong!r:.100} in {name or 'their dictionary'}: a file "
            "holds keys that are texts or whole numbers",
        )
        return NUMBERED if all(type(key) is int for key in node) else None
    return None


def _is_sequence(node: Any) -> bool:
    """Whether a container is a list or a tuple, and not a named one."""
    return type(node) in (list, tuple)


def _converted(node: Any, kind: Any, name: str) -> Any:
    """A dictionary of texts as the container that it stands for."""
    need(kind in KINDS, f"{name!r:.200} is a container of an unknown kind, {kind!r:.50}")
    fits = isinstance(node, dict) and not (kind in (NONE, EMPTY) and node)
    if kind in (LIST, TUPLE):
        fits = fits and node.keys() == {str(i) for i in range(len(node))}
    if kind == NUMBERED:
        fits = fits and all(_is_whole(key) for key in node)
    need(fits, f"the tensors below {name!r:.200} do not make a {kind}")
    match kind:
        case "none":
            return None
        case "list":
            return [node[str(i)] for i in range(len(node))]
        case "tuple":
            return tuple(node[str(i)] for i in range(len(node)))
        case "numbered":
            return {int(key): value for key, value in node.items()}
    return node


def _is_whole(key: str) -> bool:
    return len(key) < 20 and key.removeprefix("-").isdecimal() and str(int(key)) == key


def _parent(root: dict[str, Any], keys: list[str], name: str) -> tuple[dict[str, Any], str]:
    """The dictionary that holds the last of some keys, made where it is missing, and that
    key; the whole tree is the value of ``""`` in ``root``.
    """
    need(len(keys) <= MAX_DEPTH + 1, f"the name of a tensor has more than {MAX_DEPTH} parts")
    *parents, last = ["", *keys]
    place: Any = root
    for parent in parents:
        place = place.setdefault(parent, {})
        need(isinstance(place, dict), f"{name!r:.200} lies below another tensor")
    return place, last


def _name(path: tuple[Any, ...]) -> str:
    return "/".join(_escaped(path_of((key,))) for key in path)


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1") or "~"


def _keys(name: str, *, escaped: bool) -> list[str]:
    """The keys in a name. In files without containers, names have no escapes."""
    if not escaped:
        return name.split("/")
    parts = name.split("/") if name else []
    return ["" if part == "~" else part.replace("~1", "/").replace("~0", "~") for part in parts]
