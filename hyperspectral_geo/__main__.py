"""``python -m hyperspectral_geo`` is the command ``hsgeo``."""

from __future__ import annotations

from hyperspectral_geo.cli import main

if __name__ == "__main__":
    main()
