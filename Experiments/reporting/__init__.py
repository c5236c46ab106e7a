"""What a study looks like: tables, figures, the page."""
