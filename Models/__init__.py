"""Networks made of masked layers. They depend neither on data sets nor on pruners."""
