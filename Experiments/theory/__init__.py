"""Parts of the experiments on conservation: the units of a network, their scores, and the files of a result."""
