"""Tables in, figures out: a theme, then a file a figure. Never imports torch."""
