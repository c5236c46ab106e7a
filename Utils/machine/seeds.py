"""Random streams: each purpose has its own generator, so drawing for one never changes another."""

import hashlib

STREAMS = ("init", "data", "prune")


def derive(seed: int, *purpose: object) -> int:
    """Return a seed in [0, 2^63) for `purpose`, the same on every machine and different for every purpose."""
    digest = hashlib.sha256(repr((seed, *purpose)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def settle(device) -> None:
    """Make torch's algorithms deterministic; only a GPU needs it."""
    import os

    import torch

    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        # Half of all launches, for what nobody reads. A property of the module, which its source does not declare:
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.allow_tf32 = False  # full precision unless --amp asks for less
        # The fused attention kernels sum gradients in any order, or are tuned anew for every batch length.
        for kernel in ("flash", "mem_efficient", "cudnn"):
            getattr(torch.backends.cuda, f"enable_{kernel}_sdp")(False)
