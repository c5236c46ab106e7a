"""Generators of the stand-in corpora used when the real ones are not there."""
