"""One figure a file: `draw(records) -> (figure, plotted numbers)`."""
