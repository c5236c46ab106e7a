"""Where runs are kept, and files that are whole or not there."""
