"""CIFAR-10 (Krizhevsky 2009): photographs of ten kinds of animals and vehicles, 32 x 32 pixels in colour."""

from Utils.data.sets import cifar

DATASET = cifar.dataset("cifar10")
