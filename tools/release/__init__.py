"""Building a release: the packages, their checks, and the bills of materials."""
