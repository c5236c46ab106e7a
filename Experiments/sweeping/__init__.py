"""The parts of a sweep: the grid of runs, the plan, and the processes or cluster that make the runs."""
