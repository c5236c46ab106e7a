"""A small vision transformer whose attention is pruned as tutorials do it. The audit tells what that is worth.

python main.py --experiment audit --model notebooks/attention.py:Attention --dataset mnist
"""

from torch import nn
from torch.nn.utils import prune

PATCH, WIDTH = 7, 32  # pixels of a side, features


class Attention(nn.Module):
    """Patches of an image, a layer of torch.nn's encoder, a classifier. Nine of ten weights of matrices are pruned."""

    def __init__(self, input_shape, num_classes):
        super().__init__()
        self.patches = nn.Conv2d(input_shape[0], WIDTH, PATCH, stride=PATCH)
        self.encoder = nn.TransformerEncoderLayer(WIDTH, 4, 64, dropout=0.0, batch_first=True)
        self.classifier = nn.Linear(WIDTH, num_classes)
        for layer in (self.encoder.self_attn.out_proj, self.encoder.linear1, self.encoder.linear2, self.classifier):
            prune.l1_unstructured(layer, "weight", amount=0.9)

    def forward(self, images):
        tokens = self.patches(images).flatten(2).transpose(1, 2)
        return self.classifier(self.encoder(tokens).mean(1))
