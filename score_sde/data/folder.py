"""A folder of PNG and JPEG images."""

from pathlib import Path

from score_sde.checks import require
from score_sde.data.examples import in_memory_or_lazy
from score_sde.data.images import check_options, check_sizes, encoded_images, read_header
from score_sde.data.listing import walked
from score_sde.data.source import DataSource
from score_sde.runtime.damage import errors_in
from score_sde.runtime.object_cache import cached

_SUFFIXES = (".png", ".jpg", ".jpeg")


def folder(
    path: str | Path,
    image_size: int | None = None,
    *,
    test_fraction: float = 0.1,
    seed: int = 0,
    in_memory: bool | None = None,
) -> DataSource:
    """Read all PNG and JPEG images below a folder, in the order of their names; hidden
    files are skipped.

    Images are grey (one channel) where every file is, else RGB; an alpha channel is
    dropped. The headers of all are read here, so that a wrong size or kind is found
    before training.

    >>> import tempfile
    >>> import numpy as np
    >>> from PIL import Image
    >>> with tempfile.TemporaryDirectory() as path:
    ...     for name in ("a.png", "b.png"):
    ...         Image.fromarray(np.zeros((4, 6), np.uint8)).save(f"{path}/{name}")
    ...     folder(path).train.shape
    (1, 4, 6, 1)

    Args:
        path: the folder; in object storage, it is copied to this machine first.
        image_size: resize the middle square of each image to ``image_size`` ×
            ``image_size`` pixels (Lanczos, antialiased).
        test_fraction: fraction of the examples that is held out.
        seed: seed of the random split.
        in_memory: whether all examples are decoded at once, rather than each on access;
            by default, whether they have at most 1 GiB in all.

    Raises:
        FileNotFoundError: where there is no such folder.
        ValueError: where it has no images, one cannot be read, or sizes differ and no
            ``image_size`` is given.
    """
    root = cached(path)
    check_options(image_size)
    files = _image_files(root)
    names = [str(file) for file in files]
    headers = [read_header(file, name) for file, name in zip(files, names, strict=True)]
    if image_size is None:
        check_sizes(names, headers)
    images = encoded_images(
        len(files),
        files.__getitem__,
        lambda row: f"example {row}, {names[row]}",
        image_size=image_size,
        channels=1 if all(header.is_grey for header in headers) else 3,
        first=headers[0],
    )
    examples = in_memory_or_lazy(images, in_memory)
    with errors_in(root):
        return DataSource.from_examples(
            examples, num_levels=256, test_fraction=test_fraction, seed=seed
        )


def _image_files(root: Path) -> list[Path]:
    if not root.exists():
        raise FileNotFoundError(f"no such folder: {root}")
    require(root.is_dir(), f"{root} is not a folder")
    found = {}
    for folder, names in walked(root, hidden=False):
        images = [
            file
            for name in names
            if (file := folder / name).suffix.lower() in _SUFFIXES and file.is_file()
        ]
        found |= {file.relative_to(root).as_posix(): file for file in images}
    require(
        found,
        f"no images in {root}: looked for {', '.join(_SUFFIXES)} files in it and the folders below",
    )
    return [found[name] for name in sorted(found)]
