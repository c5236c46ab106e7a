"""The `imagenet` networks, for images of 224 x 224 pixels, as in torchvision."""

from functools import partial

from Models.resnet import LargeResNet
from Models.vgg import LargeVGG

vgg11, vgg11_bn = partial(LargeVGG, depth=11), partial(LargeVGG, depth=11, batchnorm=True)
vgg13, vgg13_bn = partial(LargeVGG, depth=13), partial(LargeVGG, depth=13, batchnorm=True)
vgg16, vgg16_bn = partial(LargeVGG, depth=16), partial(LargeVGG, depth=16, batchnorm=True)
vgg19, vgg19_bn = partial(LargeVGG, depth=19), partial(LargeVGG, depth=19, batchnorm=True)
resnet18 = partial(LargeResNet, depth=18)
resnet34 = partial(LargeResNet, depth=34)
resnet50 = partial(LargeResNet, depth=50)
resnet101 = partial(LargeResNet, depth=101)
resnet152 = partial(LargeResNet, depth=152)
wide_resnet50 = partial(LargeResNet, depth=50, width=2)
wide_resnet101 = partial(LargeResNet, depth=101, width=2)
