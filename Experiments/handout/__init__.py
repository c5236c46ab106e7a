"""The parts of the assignment recipe: its questions, the runs that answer them, tables and figures."""
