"""From pixels to detections: letterbox, inference on Triton, heads, suppression."""
