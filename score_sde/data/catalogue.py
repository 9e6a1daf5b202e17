"""Data sources by name: the tables from which a config chooses."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from score_sde.data.array_record import arrayrecord
from score_sde.data.digits import digits
from score_sde.data.files import npy, npz
from score_sde.data.folder import folder
from score_sde.data.hugging_face import hf
from score_sde.data.source import DataSource
from score_sde.data.tfds_source import tfds
from score_sde.data.toy import checkerboard, mixture, moons, swiss_roll
from score_sde.naming import check_arguments, did_you_mean, imported

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

FILE_SOURCES: Mapping[str, Callable[..., DataSource]] = MappingProxyType(
    {"npz": npz, "npy": npy, "folder": folder, "arrayrecord": arrayrecord, "hf": hf, "tfds": tfds}
)
"""Sources chosen as ``prefix:PATH``, or ``prefix:NAME`` of a data set that a library knows."""


def load_source(name: str, **options: Any) -> DataSource:
    """Load the data source of a name, with the options of its function.

    A name is one of ``SOURCES`` (``"digits"``), a prefix of ``FILE_SOURCES`` and a path or a name
    (``"npz:images.npz"``, ``"folder:photos"``, ``"tfds:mnist"``), or ``"package.module:function"`` for a function
    elsewhere that returns a ``DataSource``.

    >>> load_source("mixture", num_examples=100).train.shape
    (90, 2)

    Raises:
        ValueError: where the name or an option is unknown (with a suggestion), or the source itself is at fault.
        FileNotFoundError: where a path does not exist.
    """
    head, colon, tail = name.partition(":")
    known = [*SOURCES, *FILE_SOURCES]
    if not colon and name in SOURCES:
        function, arguments = SOURCES[name], {}
    elif head in FILE_SOURCES:
        if not tail.strip():
            raise ValueError(f"data source {name!r} needs a path: {head}:PATH")
        function, arguments = FILE_SOURCES[head], {"path": tail}
    elif colon:
        function, arguments = imported("data source", name, known), {}
    else:
        names = ", ".join([*SOURCES, *(f"{prefix}:PATH" for prefix in FILE_SOURCES), "package.module:function"])
        raise ValueError(f"unknown data source {name!r}{did_you_mean(name, known)}; known: {names}")
    check_arguments(f"data source {name!r}", function, options, given=arguments)
    source = function(**arguments, **options)
    if not isinstance(source, DataSource):
        raise ValueError(f"data source {name!r} returned {type(source).__name__} where a DataSource was expected")
    return source
