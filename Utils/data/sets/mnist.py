"""MNIST (LeCun et al. 1998): handwritten digits, 28 x 28 grey pixels."""

from Utils.data.dataset import Prepared
from Utils.data.sets import idx


def sample() -> Prepared:
    """Generate and prepare the sample."""
    from Utils.data.samples import digits

    return idx.prepare(digits.generate())


DATASET = idx.dataset("mnist", "MNIST", tuple("0123456789"), sample, commonest=11.35)  # the digit 1
