"""A report: one page for a browser that shows runs without the net."""
