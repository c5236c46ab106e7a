"""Networks made of masked layers. They know neither data nor pruners."""
