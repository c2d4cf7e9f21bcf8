"""In-memory versions of the outside systems. They enter by constructors, and pass the same contract tests as the real ones."""
