"""The project's figures, one module a table; peers run in the same process on the same data."""

__all__: list[str] = []
