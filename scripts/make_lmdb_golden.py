"""Write ``tests/golden/lsun.mdb`` by the LMDB library, for the tests of the reader; needs
lmdb, numpy and pillow.

90 images of 4 × 4, enough for branch pages; every 30th image has further bytes and so
pages of its own.
"""

import io
import shutil
import tempfile
from pathlib import Path

import lmdb
import numpy as np
from PIL import Image

GOLDEN = Path(__file__).resolve().parents[1] / "tests" / "golden" / "lsun.mdb"


def main() -> None:
    """Write the file in two transactions, so that one of its two descriptions is older."""
    pixels = np.random.default_rng(0).integers(256, size=(90, 4, 4, 3)).astype(np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        with lmdb.open(folder, map_size=2**20) as database:
            for rows in (range(0, 50), range(50, 90)):
                with database.begin(write=True) as transaction:
                    for row in rows:
                        stream = io.BytesIO()
                        Image.fromarray(pixels[row]).save(stream, "PNG")
                        rest = bytes(3000 if row % 30 == 7 else 0)  # a decoder ignores them
                        transaction.put(f"{row * 7919 % 90:040}".encode(), stream.getvalue() + rest)
        shutil.copy(Path(folder) / "data.mdb", GOLDEN)


if __name__ == "__main__":
    main()
