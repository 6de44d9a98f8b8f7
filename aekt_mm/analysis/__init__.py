"""What the tools measure, draw and tabulate."""
