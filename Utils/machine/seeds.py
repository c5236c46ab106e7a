"""Random streams: each purpose has a generator of its own, so that drawing for one never moves another."""

from __future__ import annotations

import hashlib

STREAMS = ("init", "data", "prune")


def derive(seed: int, *purpose: object) -> int:
    """A seed in [0, 2^63) for `purpose`, the same on every machine and unlike that of any other purpose."""
    digest = hashlib.sha256(repr((seed, *purpose)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def settle(device) -> None:
    """Make torch's choice of algorithms repeatable; on a GPU that needs asking for."""
    import os

    import torch

    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        # Half of all launches, for what nobody reads. A property of the module, which its source does not declare:
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.allow_tf32 = False  # what is not said to be of less precision is not
        # The fused kernels of attention sum gradients in any order, or plan anew for every length of a batch.
        for kernel in ("flash", "mem_efficient", "cudnn"):
            getattr(torch.backends.cuda, f"enable_{kernel}_sdp")(False)
