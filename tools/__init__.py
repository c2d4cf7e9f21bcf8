"""Programs that made files of this repository. The service does not use them."""
