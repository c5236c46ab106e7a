"""What the experiments on conservation share: which weights meet in a unit, their scores, and the files of a result."""
