"""Access: the keys of callers, and their rates."""
