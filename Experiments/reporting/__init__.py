"""The parts of a report: tables, figures and the page."""
