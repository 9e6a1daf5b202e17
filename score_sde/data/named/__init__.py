"""The data sets of the published experiments, read from disk in the forms in which they
are distributed.

By default a data set is read from ``$SCORE_SDE_DATA/NAME``, or ``~/data/score_sde/NAME``
where there is no such variable; the option ``path`` names another folder.
"""

from score_sde.data.named.celeba import celeba
from score_sde.data.named.cifar import cifar10
from score_sde.data.named.faces import celebahq, ffhq
from score_sde.data.named.idx import fashion_mnist, mnist
from score_sde.data.named.imagenet import imagenet32, imagenet64
from score_sde.data.named.lsun import lsun
from score_sde.data.named.svhn import svhn

__all__ = [
    "celeba",
    "celebahq",
    "cifar10",
    "fashion_mnist",
    "ffhq",
    "imagenet32",
    "imagenet64",
    "lsun",
    "mnist",
    "svhn",
]
