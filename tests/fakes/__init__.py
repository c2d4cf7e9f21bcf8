"""Outside systems in memory: tests hand them to constructors, and they pass the contract tests."""
