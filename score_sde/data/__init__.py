"""Data sources, their scaling to model space, and the loader that batches them."""

from score_sde.data.array_record import arrayrecord, write_array_record
from score_sde.data.augmentation import Augmentation
from score_sde.data.catalogue import (
    DATA_SETS,
    FILE_SOURCES,
    SOURCES,
    is_function,
    load_source,
    source_function,
    source_options,
    with_absolute_paths,
)
from score_sde.data.digits import digits
from score_sde.data.examples import Examples, LazyExamples
from score_sde.data.files import npy, npz
from score_sde.data.fingerprint import data_fingerprint, examples_digest
from score_sde.data.folder import folder
from score_sde.data.hugging_face import hf
from score_sde.data.loader import Batch, BatchLoader, Example, Loader
from score_sde.data.moments import Statistics, standardization, statistics
from score_sde.data.read_ahead import ReadAheadLoader, make_loader
from score_sde.data.scaling import Scaling
from score_sde.data.source import DataSource, permutation
from score_sde.data.tfds_source import tfds
from score_sde.data.toy import checkerboard, mixture, moons, swiss_roll

__all__ = [
    "DATA_SETS",
    "FILE_SOURCES",
    "SOURCES",
    "Augmentation",
    "Batch",
    "BatchLoader",
    "DataSource",
    "Example",
    "Examples",
    "LazyExamples",
    "Loader",
    "ReadAheadLoader",
    "Scaling",
    "Statistics",
    "arrayrecord",
    "checkerboard",
    "data_fingerprint",
    "digits",
    "examples_digest",
    "folder",
    "hf",
    "is_function",
    "load_source",
    "make_loader",
    "mixture",
    "moons",
    "npy",
    "npz",
    "permutation",
    "source_function",
    "source_options",
    "standardization",
    "statistics",
    "swiss_roll",
    "tfds",
    "with_absolute_paths",
    "write_array_record",
]
