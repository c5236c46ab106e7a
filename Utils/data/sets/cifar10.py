"""CIFAR-10 (Krizhevsky 2009): photographs of ten kinds of animals and vehicles, 32 x 32 pixels in colour."""

from Utils.data.sets import cifar

DATASET = cifar.dataset(
    name="cifar10",
    title="CIFAR-10",
    folder="cifar-10-batches-py",
    archive="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    md5={
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
        "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
    },
    classes=10,
    mean=(0.491, 0.482, 0.447),
    std=(0.247, 0.243, 0.262),
)
