"""The `tinyimagenet` networks, for images of 64 x 64 pixels: no stride at the beginning, smaller Linears."""

from functools import partial

from Models.resnet import LargeResNet
from Models.vgg import LargeVGG

vgg11, vgg11_bn = partial(LargeVGG, depth=11, hidden=1024), partial(LargeVGG, depth=11, hidden=1024, batchnorm=True)
vgg13, vgg13_bn = partial(LargeVGG, depth=13, hidden=1024), partial(LargeVGG, depth=13, hidden=1024, batchnorm=True)
vgg16, vgg16_bn = partial(LargeVGG, depth=16, hidden=1024), partial(LargeVGG, depth=16, hidden=1024, batchnorm=True)
vgg19, vgg19_bn = partial(LargeVGG, depth=19, hidden=1024), partial(LargeVGG, depth=19, hidden=1024, batchnorm=True)
resnet18 = partial(LargeResNet, depth=18, stride=1)
resnet34 = partial(LargeResNet, depth=34, stride=1)
resnet50 = partial(LargeResNet, depth=50, stride=1)
resnet101 = partial(LargeResNet, depth=101, stride=1)
resnet152 = partial(LargeResNet, depth=152, stride=1)
wide_resnet18 = partial(LargeResNet, depth=18, stride=1, width=2)
wide_resnet34 = partial(LargeResNet, depth=34, stride=1, width=2)
wide_resnet50 = partial(LargeResNet, depth=50, stride=1, width=2)
wide_resnet101 = partial(LargeResNet, depth=101, stride=1, width=2)
wide_resnet152 = partial(LargeResNet, depth=152, stride=1, width=2)
