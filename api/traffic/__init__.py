"""Protection from load and from slow stores."""
