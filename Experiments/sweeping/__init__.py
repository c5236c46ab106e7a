"""The parts of a sweep: its grid, what is done of it, and who does the rest."""
