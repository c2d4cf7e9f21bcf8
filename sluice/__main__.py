from sluice.cli.app import app

app()
