"""Request bodies and headers, read within bounds."""
