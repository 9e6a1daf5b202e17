"""Write the data of any source as ArrayRecord files, which are read in any order from disk.

python scripts/make_array_record.py --source=folder:photos --option=image_size=64 --output=photos64 --shards=16
score-sde train --config=… --config.data.source=arrayrecord:photos64 --workdir=…
"""  # noqa: E501

import argparse
import ast
from pathlib import Path
from typing import Any

from score_sde.data import FILE_SOURCES, load_source, write_array_record


def option(text: str) -> tuple[str, Any]:
    """``key=value``, the value as a Python literal, or else a string."""
    key, _, value = text.partition("=")
    try:
        return key, ast.literal_eval(value)
    except (SyntaxError, ValueError):
        return key, value


def main(argv: list[str] | None = None) -> None:
    """Write the files, and print the flag that names them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument(
        "--source", required=True, help="a data source, such as folder:photos or hf:DIR"
    )
    parser.add_argument(
        "--option", type=option, action="append", default=[], help="of the source, as image_size=64"
    )
    parser.add_argument("--output", type=Path, required=True, help="a new folder")
    parser.add_argument("--shards", type=int, default=1, help="files of each split (default: 1)")
    parser.add_argument(
        "--png", action="store_true", help="PNG images: smaller, and slower to read"
    )
    values = parser.parse_args(argv)
    lazily = {"in_memory": False} if values.source.partition(":")[0] in FILE_SOURCES else {}
    try:
        source = load_source(values.source, **lazily | dict(values.option))
        write_array_record(source, values.output, num_shards=values.shards, png=values.png)
    except (ValueError, OSError) as error:
        parser.error(str(error))
    levels = (
        "" if source.num_levels in (None, 256) else f" --config.data.num_levels={source.num_levels}"
    )
    print(
        f"{len(source.train)} + {len(source.test)} examples: "
        f"--config.data.source=arrayrecord:{values.output}{levels}"
    )


if __name__ == "__main__":
    main()
