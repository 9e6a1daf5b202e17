"""Data sources by name: the tables from which a config chooses."""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from score_sde.checks import require
from score_sde.data.array_record import arrayrecord
from score_sde.data.digits import digits
from score_sde.data.files import npy, npz
from score_sde.data.folder import folder
from score_sde.data.hugging_face import hf
from score_sde.data.named.celeba import celeba
from score_sde.data.named.cifar import cifar10
from score_sde.data.named.faces import celebahq, ffhq
from score_sde.data.named.idx import fashion_mnist, mnist
from score_sde.data.named.imagenet import imagenet32, imagenet64
from score_sde.data.named.lsun import lsun
from score_sde.data.named.svhn import svhn
from score_sde.data.source import IN_MEMORY, DataSource, in_memory
from score_sde.data.tfds_source import tfds
from score_sde.data.toy import checkerboard, mixture, moons, swiss_roll
from score_sde.runtime.naming import check_arguments, did_you_mean, imported
from score_sde.runtime.trust import EVERYTHING, Trust, is_code

SOURCES: Mapping[str, Callable[..., DataSource]] = MappingProxyType(
    {
        "digits": digits,
        "mixture": mixture,
        "swiss_roll": swiss_roll,
        "checkerboard": checkerboard,
        "moons": moons,
    }
)
"""Sources chosen by their name alone."""

DATA_SETS: Mapping[str, Callable[..., DataSource]] = MappingProxyType(
    {
        "cifar10": cifar10,
        "svhn": svhn,
        "celeba": celeba,
        "lsun": lsun,
        "ffhq": ffhq,
        "celebahq": celebahq,
        "imagenet32": imagenet32,
        "imagenet64": imagenet64,
        "mnist": mnist,
        "fashion_mnist": fashion_mnist,
    }
)
"""Data sets by name, each read from a folder of its name, or from its option ``path``."""

FILE_SOURCES: Mapping[str, Callable[..., DataSource]] = MappingProxyType(
    {"npz": npz, "npy": npy, "folder": folder, "arrayrecord": arrayrecord, "hf": hf, "tfds": tfds}
)
"""Sources chosen as ``prefix:PATH``, or ``prefix:NAME`` for a data set of a library."""

OF_LIBRARIES = ("hf", "tfds")
"""The prefixes whose data sets are named too."""


def load_source(name: str, trust: Trust = EVERYTHING, /, **options: Any) -> DataSource:
    """Load the data source of a name, with the options of its function.

    Args:
        name: one of ``SOURCES`` (``"digits"``) or ``DATA_SETS`` (``"cifar10"``); a prefix
            of ``FILE_SOURCES`` and a path or a name (``"npz:images.npz"``,
            ``"folder:photos"``, ``"tfds:mnist"``); or ``"package.module:function"`` for
            any function that returns a ``DataSource``.
        trust: the modules that may be imported; all, for a name that the caller chose.
        options: the keyword arguments of the function.

    >>> load_source("mixture", num_examples=100).train.shape
    (90, 2)

    Raises:
        ValueError: where the name or an option is unknown (the message suggests the
            nearest), or the data are wrong.
        FileNotFoundError: where a path or a data set does not exist.
    """
    function, arguments = source_function(name, trust)
    check_arguments(f"data source {name!r}", function, options, given=arguments)
    source = function(**arguments, **options)
    require(
        isinstance(source, DataSource),
        f"data source {name!r} returned {type(source).__name__} where a DataSource was expected",
    )
    return source


def source_options(name: str) -> set[str]:
    """The names of the options of a data source; none where there is no such source.

    The module of ``"package.module:function"`` is imported, so the name must be one that
    the caller chose.

    >>> sorted(source_options("moons"))
    ['noise', 'num_examples', 'seed']
    """
    try:
        function, arguments = source_function(name, EVERYTHING)
    except ValueError:
        return set()
    return set(inspect.signature(function).parameters) - set(arguments)


def with_absolute_paths(data: Mapping[str, Any]) -> dict[str, Any]:
    """The section ``data`` of a config with the paths of files made absolute, so that it
    names the same data in any folder.

    The names of data sets of a library, and paths that begin with ``~`` or are URLs, stay
    as they are.

    >>> with_absolute_paths({"source": "npz:~/a.npz"}), with_absolute_paths({"source": "digits"})
    ({'source': 'npz:~/a.npz'}, {'source': 'digits'})
    """
    name = data.get("source")
    if not isinstance(name, str):
        return dict(data)
    head, _, tail = name.partition(":")
    found = dict(data)
    if head in FILE_SOURCES and (head not in OF_LIBRARIES or Path(tail).exists()):
        found["source"] = f"{head}:{_absolute(tail)}"
    keys = ["path"] if name in DATA_SETS else ["data_dir"] if head in OF_LIBRARIES else []
    return found | {key: _absolute(data[key]) for key in keys if isinstance(data.get(key), str)}


def _absolute(path: str) -> str:
    is_free = path.startswith("~") or "://" in path
    return path if is_free else str(Path(path).absolute())


def is_function(name: str) -> bool:
    """Whether a data source is named as ``"package.module:function"``.

    >>> is_function("my_package.data:photos"), is_function("folder:photos")
    (True, False)
    """
    return is_code(name) and name.partition(":")[0] not in FILE_SOURCES


def source_function(name: str, trust: Trust) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The function of the name of a data source, and the arguments that are part of it.

    >>> function, arguments = source_function("npz:images.npz", EVERYTHING)
    >>> function.__name__, arguments
    ('npz', {'path': 'images.npz'})

    Raises:
        ValueError: where there is no such source.
    """
    head, colon, tail = name.partition(":")
    named = {**SOURCES, **DATA_SETS}
    known = [*named, *FILE_SOURCES]
    if name == IN_MEMORY:
        return in_memory, {}
    if not colon and name in named:
        return named[name], {}
    if head in FILE_SOURCES:
        require(tail.strip(), f"data source {name!r} needs a path: {head}:PATH")
        return FILE_SOURCES[head], {"path": tail}
    if colon:
        return imported("data source", name, known, trust=trust), {}
    names = ", ".join(
        [*named, *(f"{prefix}:PATH" for prefix in FILE_SOURCES), "package.module:function"]
    )
    raise ValueError(f"unknown data source {name!r}{did_you_mean(name, known)}; known: {names}")
