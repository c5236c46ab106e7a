"""Fashion-MNIST (Xiao, Rasul & Vollgraf 2017): ten kinds of clothing, 28 x 28 grey pixels."""

from Utils.data.sets import idx

CLASSES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
DATASET = idx.dataset("fashionmnist", "FashionMNIST", CLASSES)
