"""The page: a browser's view of the HTTP interface. Runs in an environment with Gradio."""
