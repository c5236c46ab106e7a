"""One file a data set: what it is, how its raw files are read, what stands in for them."""
