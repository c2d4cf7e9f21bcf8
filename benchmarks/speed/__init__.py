"""The speed of the whole service, from image to result over HTTP, as ratios to a bare loop."""
