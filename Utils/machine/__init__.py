"""What depends on the machine: random streams, memory, clocks."""
