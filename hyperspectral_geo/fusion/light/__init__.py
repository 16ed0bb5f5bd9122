"""Light models picked from a large one: directions for a task, layers cut to rank, and what was lost distilled."""
