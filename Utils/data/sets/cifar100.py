"""CIFAR-100 (Krizhevsky 2009): photographs of a hundred kinds of things, 32 x 32 pixels in colour; fine labels."""

from Utils.data.sets import cifar

DATASET = cifar.dataset("cifar100")
