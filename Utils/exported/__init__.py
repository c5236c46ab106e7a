"""Loading and running of exported models.

This folder needs only torch and safetensors and nothing else of the project, so a copy of it runs an export anywhere.

    model = exported.load("model.sparse.json")  # needs model.sparse.safetensors in the same directory
    logits = model(images)                      # float [B, C, H, W], normalised like the data set
    logits = model(texts)                       # any object with `ids` [N] and `offsets` [B], like torch's EmbeddingBag
    state = model.begin(source, room=20)        # translation: token numbers [B, S], at most 20 tokens each
    tokens = model.likeliest_step(tokens, state)  # [B] -> [B]; the first tokens are those that begin a sentence

An export consists of operations, or a translator's sublayers, as JSON, and of their tensors as safetensors. A matrix is
stored "whole"; or as its values that are not zero, with a bit for each entry ("bits") or the gaps between their
positions ("gaps"); or as the "block" of the rows and columns that are not all zero. It computes in one of four forms,
whichever way it is stored: whole, as torch's sparse CSR, as its block, or with each weight that is left ("scattered"),
for which kernel.c is compiled; without a C compiler CSR takes its place. Of an embedding, rows that are all zero are
left out; the gaps between the words that have a row are stored beside it. Numbers are stored in float32, or in what the
JSON names as "values", and become float32 when they are loaded; those of int8 have a scale for each row, and matrices
of linear layers compute in int8 on a CPU. The JSON says, by batch size, which form was
the quickest on the machine of the export, and which "layout" of images. It also holds the names of the "classes" and
the "shape" of an input.
"""

from .compiled import SPARSE
from .form import Form, block, links
from .forms import CONV, LINEAR, available
from .loading import CHANNELS_FIRST, CHANNELS_LAST, KINDS, VERSION, build, channels_last, load, nearest
from .lookup import Lookup
from .network import Network, spread
from .rounded import split
from .translator import Translator
from .unpacking import positions, unpack

__all__ = [
    "CHANNELS_FIRST",
    "CHANNELS_LAST",
    "CONV",
    "KINDS",
    "LINEAR",
    "SPARSE",
    "VERSION",
    "Form",
    "Lookup",
    "Network",
    "Translator",
    "available",
    "block",
    "build",
    "channels_last",
    "links",
    "load",
    "nearest",
    "positions",
    "split",
    "spread",
    "unpack",
]
