"""Other people's frameworks, web and metrics: nothing else of the package imports them."""
