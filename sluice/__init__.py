"""The library that the api and the workers share. `ARCHITECTURE.md` is the map."""

__version__ = "0.1.0"
