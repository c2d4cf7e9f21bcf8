"""The library that the api and the workers share. `ARCHITECTURE.md` is the map."""
