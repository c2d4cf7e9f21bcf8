"""The HTTP interface: takes images, answers with ids, shows results. Touches no pixel."""
