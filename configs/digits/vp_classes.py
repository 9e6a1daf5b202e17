"""VP SDE on the digits, conditioned on their labels.

After a minute on two CPU cores the held-out digits have 1.92 bits/dim given their
labels (``digits/vp.py``: 1.99). A logistic regression, which recognises 99 of 100
held-out digits, assigns 98 of 100 samples to the class they were conditioned on.

score-sde train --config=configs/digits/vp_classes.py --workdir=runs/digits_classes
score-sde sample --workdir=runs/digits_classes --classes=0,1,2
"""

from ml_collections import ConfigDict

from score_sde.configs.digits import vp


def get_config() -> ConfigDict:
    """The recipe of ``digits/vp.py``, with a learned class embedding added to the time
    embedding.
    """
    config = vp.get_config()
    config.model.num_classes = 10
    return config
