"""Recipes: modules that each have a function run(args)."""
