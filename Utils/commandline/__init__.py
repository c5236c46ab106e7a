"""The command line of every experiment, built from the rows of Utils/settings.py."""
