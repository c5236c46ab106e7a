"""Machine-dependent code: random streams, memory, clocks."""
