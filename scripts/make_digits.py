"""Write ``score_sde/data/digits.npz``, the digits of scikit-learn; needs scikit-learn.

python scripts/make_digits.py [FILE.npz]
"""

import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from score_sde.data.digits import FILE
from score_sde.runtime.atomic_files import write_arrays

images, labels = load_digits(return_X_y=True)
write_arrays(
    Path(sys.argv[1]) if sys.argv[1:] else FILE,
    images=np.asarray(images).reshape(-1, 8, 8).astype(np.uint8),
    labels=np.asarray(labels).astype(np.uint8),
)
