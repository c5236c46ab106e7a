"""CIFAR-100 (Krizhevsky 2009): photographs of a hundred kinds of things, 32 x 32 pixels in colour; fine labels."""

from Utils.data.sets import cifar

DATASET = cifar.dataset(
    name="cifar100",
    title="CIFAR-100",
    folder="cifar-100-python",
    archive="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
    md5={
        "train": "16019d7e3df5f24257cddd939b257f8d",
        "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
        "meta": "7973b15100ade9c7d40fb424638fde48",
    },
    classes=100,
    mean=(0.507, 0.487, 0.441),
    std=(0.267, 0.256, 0.276),
)
