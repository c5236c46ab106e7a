"""The user's own data, described from its files: one module per form."""
