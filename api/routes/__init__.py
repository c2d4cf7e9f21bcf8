"""The routes, a file for each noun. A route imports no other route."""
