"""Initial weights of the `lottery` networks."""

from torch import nn


def assignment_weights(model: nn.Module) -> None:
    """Draw the initial weights of assignment one from the global generator.

    Every convolution and Linear starts from He's normal distribution by fan in (He et al. 2015, eq. 10), the classifier
    among them. Biases start from 0, BatchNorm from scale 1 and shift 0.
    """
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
