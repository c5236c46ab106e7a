"""Recipes: each has run(args)."""
