from sluice.cli import app

app()
