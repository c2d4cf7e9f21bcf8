"""Other ways to serve the same model, under the same load: LitServe, BentoML, Celery, Ray Serve."""
