"""Load an exported model and run it. This folder needs torch and safetensors alone, and nothing else of the project:
copied beside an export it serves anywhere.

    model = exported.load("model.sparse.json")  # with model.sparse.safetensors beside it
    logits = model(images)                      # float [B, C, H, W], as the data set normalises them
    logits = model(texts)                       # anything with `ids` [N] and `offsets` [B], as torch's EmbeddingBag has
    state = model.begin(source, room=20)        # translation: token numbers [B, S], at most 20 tokens each
    tokens = model.likeliest_step(tokens, state)  # [B] -> [B], from the token that begins a sentence on

An export is a list of operations, or of a translator's sublayers, in JSON and their tensors in safetensors. A matrix is
stored "whole"; or as the values that are not zero, row by row, with a bit for each place ("bits") or a column for each
value ("columns"); or as the "block" of those rows and columns that are not all zero. However it is stored, it computes
in any of three forms: whole, as torch's sparse CSR, as its block. The JSON says which was the quickest where it was
exported, and in which "layout" of images, by examples at a time; also "classes", what the logits stand for, and the
"shape" of an input.
"""

from .forms import CONV, LINEAR, Form, block, links
from .loading import CHANNELS_FIRST, CHANNELS_LAST, KINDS, VERSION, build, channels_last, load, nearest
from .network import Network, spread
from .translator import Translator
from .unpacking import unpack

__all__ = [
    "CHANNELS_FIRST",
    "CHANNELS_LAST",
    "CONV",
    "KINDS",
    "LINEAR",
    "VERSION",
    "Form",
    "Network",
    "Translator",
    "block",
    "build",
    "channels_last",
    "links",
    "load",
    "nearest",
    "spread",
    "unpack",
]
