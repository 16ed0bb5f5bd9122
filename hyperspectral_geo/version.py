"""The version, where every floor may read it: the package itself names all floors and is imported by none."""

__all__ = ["__version__"]

__version__ = "0.1.0"
