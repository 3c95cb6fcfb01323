"""Files that stages hand to each other: where they come from, and whether they belong together."""
